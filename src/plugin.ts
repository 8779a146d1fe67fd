import type { ResolversParentTypes, TrackerInput } from './generated/schema.js';

/**
 * `eunomia/plugin`: what an analysis plugin is written against. One file, whose default export is `definePlugin({ … })`. The same
 * source runs trusted (a worker thread of the server) and in the sandbox (QuickJS in WebAssembly); it may import this module only.
 */

export type TrackerName = keyof TrackerInput & string;

/** 64-bit integers are decimal strings in an event. */
type Plain<Value> = [bigint] extends [NonNullable<Value>]
  ? null extends Value
    ? string | null
    : string
  : Value extends readonly (infer Item)[]
    ? readonly Item[]
    : Exclude<Value, undefined>;
type EventType<Name extends TrackerName> = `${Capitalize<Name>}Event` extends infer Type extends
  keyof ResolversParentTypes
  ? ResolversParentTypes[Type]
  : never;
type First<Path> = Path extends `${infer Head}.${string}` ? Head : Path;

/** What acted. */
export interface PluginProcess {
  readonly pid: number;
  readonly tid: number;
  readonly ppid: number;
  readonly uid: number;
  readonly gid: number;
  readonly comm: string;
  /** RFC 3339 with nanoseconds. */
  readonly startTime: string;
}

/** The container of the process that acted; labels by their names. */
export interface PluginContainer {
  readonly id: string;
  readonly name: string | null;
  readonly image: string | null;
  readonly imageId: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly composeProject: string | null;
  readonly composeService: string | null;
  readonly runtime: string;
}

/** An event, with the fields that the plugin reads. Valid during the call that it was handed to: copy values out to keep them. */
export type PluginEvent<Reads extends PluginReads = PluginReads> = {
  [Name in keyof Reads & TrackerName]: { readonly tracker: Name } & {
    readonly [Field in Extract<First<NonNullable<Reads[Name]>[number]>, keyof EventType<Name>>]: Field extends 'process'
      ? PluginProcess
      : Field extends 'container'
        ? PluginContainer | null
        : Plain<EventType<Name>[Field]>;
  };
}[keyof Reads & TrackerName];

/** Tracker → paths of fields, as one would select them: "args", "process.comm", "container.labels.tier"; "process" and "container" are all of theirs. */
export type PluginReads = { readonly [Name in TrackerName]?: readonly string[] };

/** An option that whoever attaches the plugin may set. */
export type OptionDefinition =
  | {
      readonly type: 'number' | 'integer';
      readonly default: number;
      readonly min?: number;
      readonly max?: number;
      readonly description: string;
    }
  | {
      readonly type: 'string';
      readonly default: string;
      readonly enum?: readonly string[];
      readonly description: string;
    }
  | { readonly type: 'boolean'; readonly default: boolean; readonly description: string }
  | { readonly type: 'strings'; readonly default: readonly string[]; readonly description: string };

type OptionValue<Type> = Type extends 'number' | 'integer'
  ? number
  : Type extends 'string'
    ? string
    : Type extends 'boolean'
      ? boolean
      : readonly string[];
export type OptionValues<Options> = {
  readonly [Name in keyof Options]: Options[Name] extends { readonly type: infer Type } ? OptionValue<Type> : never;
};

/** A metric that the plugin keeps: at most 100 series each, the rest is counted under the label value "other". Never label by pid or path. */
export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds of a histogram's buckets, ascending. */
  readonly buckets?: readonly number[];
}

export type Severity = 'INFO' | 'LOW' | 'MEDIUM' | 'HIGH' | 'CRITICAL';

export interface PluginAlert {
  readonly severity: Severity;
  /** What was found, the same text for the same finding; up to 200 characters. */
  readonly title: string;
  /** The finding's facts, for a person; up to 2000 characters. */
  readonly message: string;
  /** The event that shows it: its time, process and container become the alert's. */
  readonly event?: object;
  /** An alert with the key of one less than five minutes old only raises that one's count. */
  readonly key?: string;
}

/** How a plugin speaks. There is nothing else: no files, no network, no timers. */
export interface PluginContext<Options = Readonly<Record<string, unknown>>> {
  /** Complete: with defaults. */
  readonly options: Options;
  readonly session: { readonly id: string; readonly name: string | null };
  /** Events of this session that are missing just before this batch; null when none is. */
  readonly gap: { readonly lost: number; readonly dropped: number } | null;
  /** A result: anything that JSON can say, up to 64 KiB. Beyond 1000 a second, or 1 MiB a second, results are left out and counted. */
  emit(kind: string, value: object): void;
  alert(alert: PluginAlert): void;
  /** Adds to a counter. Throws for a metric or label that was not declared, as `gauge` and `observe` do. */
  count(metric: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  gauge(metric: string, value: number, labels?: Readonly<Record<string, string>>): void;
  observe(metric: string, value: number, labels?: Readonly<Record<string, string>>): void;
  /** A line of the server's log. */
  log(text: string): void;
}

export interface PluginDefinition<
  Reads extends PluginReads,
  Options extends Readonly<Record<string, OptionDefinition>>,
> {
  /** Lower-case letters, digits and hyphens, up to 50. */
  readonly name: string;
  readonly version: string;
  /** One sentence. */
  readonly summary: string;
  readonly options?: Options;
  readonly metrics?: Readonly<Record<string, MetricDefinition>>;
  /** What it reads is captured while it is attached. Events of other trackers never reach it. */
  readonly reads: Reads;
  /** A CEL expression: only events that match reach it. Judged by the server, before the plugin's thread. */
  readonly where?: string;
  /** Milliseconds between two calls of `onInterval`; 100 to 3,600,000. */
  readonly every?: number;
  /** Hooks are synchronous. A hook that throws is counted; ten in a row stop the plugin. */
  onStart?(context: PluginContext<OptionValues<Options>>): void;
  /** Each event exactly once, in order; up to 4096 at once (1024 in the sandbox). */
  onBatch(events: readonly PluginEvent<Reads>[], context: PluginContext<OptionValues<Options>>): void;
  onInterval?(context: PluginContext<OptionValues<Options>>): void;
  /** The session has ended, or the plugin is detached or replaced. */
  onStop?(context: PluginContext<OptionValues<Options>>): void;
}

/** Declares a plugin. Everything in it is checked when the server loads it; the error says what would be right. */
export function definePlugin<
  const Reads extends PluginReads,
  const Options extends Readonly<Record<string, OptionDefinition>>,
>(definition: PluginDefinition<Reads, Options>): PluginDefinition<Reads, Options> {
  return definition;
}
