import type { ConfigFile, Path } from '../base/config-file.js';
import type { Scalar } from '../filter/index.js';
import type { Severity } from '../event/severity.js';
import type { ActionDefinition } from './action.js';

/** Where in which file something is written. */
export interface RulePlace {
  readonly file: ConfigFile;
  readonly path: Path;
}

/** CEL, as it is written. */
export interface Expression extends RulePlace {
  readonly text: string;
}

/** A condition: the first expression, and what overrides have joined to it, from left to right. */
export interface Condition {
  readonly first: Expression;
  readonly joined: readonly { readonly join: 'and' | 'or'; readonly expression: Expression }[];
}

/** One event that a rule looks for. */
export interface StepDefinition extends RulePlace {
  readonly trackers: readonly string[];
  readonly condition: Condition;
}

/** What events of several steps have in common. */
export type Bond = 'process' | 'tree' | 'container';
export const bonds: readonly Bond[] = ['process', 'tree', 'container'];

export interface Exception {
  readonly name: string;
  readonly condition: Expression;
}

/** So many events within a time, of those with equal values of `by`. */
export interface RuleRate {
  readonly count: number;
  readonly withinMs: number;
  readonly by: readonly string[];
  /** Different values of this field are counted instead of events. */
  readonly distinct: string | null;
}

/** Values that were not seen before for the same values of `for`, once that was watched for `learnMs`. */
export interface FirstSeen {
  readonly values: readonly string[];
  readonly for: readonly string[];
  readonly learnMs: number;
  /** At the rule's first start, what the history has of so long ago counts as seen; null: nothing. */
  readonly baselineMs: number | null;
}

export interface Absence {
  readonly step: StepDefinition;
  readonly withinMs: number;
  readonly by: Bond;
}

export interface Throttle {
  readonly alerts: number;
  readonly withinMs: number;
}

/** A rule with its overrides, as it is written: nothing of it is compiled. */
export interface RuleDefinition extends RulePlace {
  readonly name: string;
  readonly description: string;
  readonly severity: Severity;
  readonly tags: readonly string[];
  /** ATT&CK: techniques and tactics, "T1059.004". */
  readonly attack: readonly string[];
  readonly enabled: boolean;
  /** One, unless it is a sequence. */
  readonly steps: readonly StepDefinition[];
  /** Null where one event is enough. */
  readonly sequence: { readonly withinMs: number; readonly by: Bond } | null;
  readonly absence: Absence | null;
  readonly rate: RuleRate | null;
  readonly firstSeen: FirstSeen | null;
  readonly exceptions: readonly Exception[];
  /** A template as `Tracker.details` is one. */
  readonly message: string;
  /** Alerts with equal values of these fields are combined for the interval. */
  readonly key: readonly string[];
  readonly intervalMs: number;
  readonly throttle: Throttle;
  readonly actions: readonly ActionDefinition[];
  /** What gets around it. Null where nobody has written it. */
  readonly evades: string | null;
  readonly falsePositives: string | null;
}

/** The lists, macros and rules of a set of files, with the overrides in them. */
export interface RuleSetDefinition {
  readonly lists: ReadonlyMap<string, readonly Scalar[]>;
  readonly macros: ReadonlyMap<string, Condition>;
  readonly rules: readonly RuleDefinition[];
}
