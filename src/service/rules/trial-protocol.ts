import type { RuleSource } from '../../rules/format.js';
import type { Severity } from '../../event/severity.js';

/** What goes between the server and a thread that runs tests of rules. A type, as a channel's protocol has to be. */
export type RuleTrialProtocol = {
  readonly asks: {
    /** Replies when the thread has what all tests need: it takes longer to make than most of them run. */
    readonly prepare: { readonly ask: null; readonly reply: null };
    /** Refuses with BAD_RULES, BAD_USER_INPUT or LIMIT_EXCEEDED. */
    readonly test: { readonly ask: RuleTrialAsk; readonly reply: RuleTrial };
  };
  readonly posts: Readonly<Record<never, never>>;
  readonly notes: Readonly<Record<never, never>>;
};

export interface RuleTrialAsk {
  /** All files of the set. */
  readonly rules: readonly RuleSource[];
  readonly tests: RuleSource;
  /** Only tests that name this rule; null for all. */
  readonly rule: string | null;
  /** Of the server. */
  readonly webhooks: readonly string[];
}

/** What became of the tests of a file. */
export interface RuleTrial {
  readonly tests: readonly RuleTrialOutcome[];
  /** Rules that no test names. */
  readonly untested: readonly { readonly name: string; readonly file: string }[];
}

export interface RuleTrialOutcome {
  readonly name: string;
  readonly line: number;
  readonly rules: readonly string[];
  readonly events: number;
  readonly alerts: readonly RuleTrialAlert[];
  readonly problems: readonly string[];
}

export interface RuleTrialAlert {
  readonly rule: string;
  readonly severity: Severity;
  readonly message: string;
  readonly times: number;
  readonly event: number;
}
