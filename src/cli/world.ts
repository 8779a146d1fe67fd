import type { Config } from '../base/config.js';
import type { Log } from '../base/log.js';
import type { LocalServer } from '../client/client.js';
import type { Output } from './output.js';

/** A server that listens. */
export interface Listener {
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

export interface Servers {
  readonly testPlugin: TestPlugin;
  readonly importRules: ImportRules;
  /** Starts a server that listens. */
  serve(config: Config, log: Log): Promise<Listener>;
  /** Starts a server for this process alone; it listens nowhere. */
  local(config: Config, log: Log): Promise<LocalServer>;
}
