import type { Config } from '../base/config.js';
import type { Log } from '../base/log.js';
import type { LocalServer } from '../client/client.js';
import type { Output } from './output.js';

/** A server that listens. */
export interface LocalListener {
  /** Where clients reach it. */
  readonly url: string;
  /** Resolves when it can do no more than end. */
  readonly died: Promise<Error>;
  close(): Promise<void>;
}

/** What the commands are given: main.ts has the real one, a test its own. */
export interface World extends Servers {
  readonly output: Output;
  /** A line for the person at the terminal, on stderr. */
  tell(line: string): void;
  /** Aborts when the command shall end (Ctrl-C). */
  readonly signal: AbortSignal;
}

/** A plugin and a recording; as the server takes them. */
export interface PluginTest {
  readonly plugin: string;
  readonly realm: 'TRUSTED' | 'SANDBOX';
  readonly events: string;
  readonly options: unknown;
}

export interface PluginOutcome {
  readonly results: readonly { readonly kind: string; readonly json: string }[];
  readonly alerts: readonly object[];
  readonly logs: readonly string[];
}

export interface PluginSummary {
  readonly name: string;
  readonly version: string;
  readonly events: number;
  readonly discarded: number;
  readonly failed: number;
  readonly suppressed: number;
  readonly errors: readonly { readonly message: string; readonly at: string | null }[];
}

export type TestPlugin = (
  test: PluginTest,
  onOutcome: (outcome: PluginOutcome) => Promise<void>,
) => Promise<PluginSummary>;

/** Files of rules of another system, by their names; as the server takes them. */
export interface RuleImport {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** A file as /etc/passwd. */
  readonly users: { readonly name: string; readonly text: string } | null;
  /** A file as /etc/hosts. */
  readonly hosts: string | null;
  readonly approximate: boolean;
}

/** A rule file, what became of each rule, for a person, and the number of rules in the file. */
export type ImportRules = (
  request: RuleImport,
) => Promise<{ readonly text: string; readonly report: string; readonly count: number }>;

/** A test of rules that was run. */
export interface RuleTestOutcome {
  readonly file: string;
  readonly line: number;
  readonly name: string;
  readonly events: number;
  readonly alerts: readonly {
    readonly alert: { readonly rule: string; readonly severity: string; readonly message: string };
    readonly times: number;
    /** Which event it is of, from 0. */
    readonly event: number;
  }[];
  /** With their places; empty where it passed. */
  readonly problems: readonly string[];
}

export interface RuleExplanation {
  readonly name: string;
  readonly description: string;
  readonly severity: string;
  readonly enabled: boolean;
  readonly conditions: readonly {
    readonly role: string;
    readonly condition: string;
    readonly readsProcesses: boolean;
    readonly trackers: readonly {
      readonly tracker: string;
      readonly inKernel: string | null;
      readonly inServer: string | null;
      readonly lookup: string | null;
      readonly captured: readonly string[];
    }[];
  }[];
  readonly alerts: readonly string[];
}

/** What can be done with rule files without a server. Each rejects with BAD_RULES and the places of all that is wrong. */
export interface RuleTools {
  check(
    paths: readonly string[],
  ): Promise<{ readonly files: number; readonly rules: number; readonly lists: number; readonly macros: number }>;
  /** `rule`: only tests that name it. */
  test(
    paths: readonly string[],
    rule: string | null,
    onOutcome: (outcome: RuleTestOutcome) => Promise<void>,
  ): Promise<{ readonly outcomes: readonly RuleTestOutcome[]; readonly untested: readonly string[] }>;
  explain(paths: readonly string[], rule: string | null): Promise<readonly RuleExplanation[]>;
}

export interface Servers {
  readonly testPlugin: TestPlugin;
  readonly importRules: ImportRules;
  readonly rules: RuleTools;
  /** Starts a server that listens. */
  serve(config: Config, log: Log): Promise<LocalListener>;
  /** Starts a server for this process alone; it listens nowhere. */
  local(config: Config, log: Log): Promise<LocalServer>;
}
