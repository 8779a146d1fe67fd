import type { PluginEvents } from './generated/plugin-event.js';

/**
 * `eunomia/plugin`: the API for analysis plugins. A plugin is one file whose default export is `definePlugin({ … })`. The same source
 * runs trusted (in a worker thread of the server) and in the sandbox (QuickJS in WebAssembly). It may import only this module.
 */

export type TrackerName = keyof PluginEvents;

type First<Path> = Path extends `${infer Head}.${string}` ? Head : Path;

/** What an event tells of the process that caused it, and of the container of that process. */
export type { PluginContainer, PluginProcess } from './generated/plugin-event.js';

/**
 * An event, with the fields that the plugin declares in `reads`. Reading any other field throws. An event is valid only during the call
 * to which it is passed: copy values to keep them. `id` is that of `TraceEvent` in the schema: it finds the event again, also after a
 * restart of the server if the session is stored. It is not declared, and no part of the event's JSON.
 */
export type PluginEvent<Reads extends PluginReads = PluginReads> = {
  [Name in keyof Reads & TrackerName]: { readonly tracker: Name; readonly id: string } & {
    readonly [
      Field in Extract<First<NonNullable<Reads[Name]>[number]>, keyof PluginEvents[Name]>
    ]: PluginEvents[Name][Field];
  };
}[keyof Reads & TrackerName];

/**
 * Maps trackers to field paths, as in a selection: "args", "process.comm", "container.labels.tier". "process" and "container" stand for
 * all of their fields.
 */
export type PluginReads = { readonly [Name in TrackerName]?: readonly string[] };

/** An option that can be set when the plugin is attached. */
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

/**
 * A metric of the plugin. It has at most 100 series; the rest is counted under the label value "other". Do not use pids
 * or paths as labels.
 */
export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels?: readonly string[];
  /** For a histogram: the upper bounds of its buckets in ascending order. */
  readonly buckets?: readonly number[];
}

export type Severity = 'INFO' | 'LOW' | 'MEDIUM' | 'HIGH' | 'CRITICAL';

export interface PluginAlert {
  readonly severity: Severity;
  /** What was found. Use the same text for the same kind of finding. Up to 200 characters. */
  readonly title: string;
  /** Human-readable details. Up to 2000 characters. */
  readonly message: string;
  /**
   * The event that caused it: one of the batch, or an object with fields that were copied from one, for example `{ id, time, process }`.
   * The alert gets its time, process and container, and leads to it by its `id`.
   */
  readonly event?: object;
  /** If an alert with the same key is less than five minutes old, only the count of that alert is increased. */
  readonly key?: string;
}

/** The functions available to a plugin. It has no access to files, network or timers. */
export interface PluginContext<Options = Readonly<Record<string, unknown>>> {
  /** All options, with defaults filled in. */
  readonly options: Options;
  readonly session: { readonly id: string; readonly name: string | null };
  /** Numbers of events that are missing immediately before this batch. Null if none are missing. */
  readonly gap: { readonly lost: number; readonly dropped: number } | null;
  /**
   * Emits a result: any JSON object of up to 64 KiB. Results beyond 1000 or 1 MiB per second are suppressed and counted. It leads to
   * `event`, as an alert does.
   */
  emit(kind: string, value: object, about?: { readonly event?: object }): void;
  alert(alert: PluginAlert): void;
  /** Adds `by` (default 1) to a counter. Throws if the metric or a label was not declared; so do `gauge` and `observe`. */
  count(metric: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  gauge(metric: string, value: number, labels?: Readonly<Record<string, string>>): void;
  observe(metric: string, value: number, labels?: Readonly<Record<string, string>>): void;
  /** Writes a line to the server's log. */
  log(text: string): void;
}

export interface PluginDefinition<
  Reads extends PluginReads,
  Options extends Readonly<Record<string, OptionDefinition>>,
> {
  /** Lower-case letters, digits and hyphens, up to 50. */
  readonly name: string;
  readonly version: string;
  /** What the plugin does, in one sentence. */
  readonly summary: string;
  readonly options?: Options;
  readonly metrics?: Readonly<Record<string, MetricDefinition>>;
  /** The fields that it reads. They are captured while it is attached. It receives no events of other trackers. */
  readonly reads: Reads;
  /** A CEL expression: the plugin receives only matching events. Evaluated in the server, before the plugin's thread. */
  readonly where?: string;
  /** Interval between calls of `onInterval` in milliseconds, 100 to 3,600,000. */
  readonly every?: number;
  /** Called before the first event. Hooks are synchronous. A hook that throws is counted; ten in a row stop the plugin. */
  onStart?(context: PluginContext<OptionValues<Options>>): void;
  /** Receives each event exactly once, in order, up to 1024 per call. */
  onBatch(events: readonly PluginEvent<Reads>[], context: PluginContext<OptionValues<Options>>): void;
  onInterval?(context: PluginContext<OptionValues<Options>>): void;
  /** Called when the session has ended, or the plugin is detached or replaced. */
  onStop?(context: PluginContext<OptionValues<Options>>): void;
}

/** Declares a plugin. The server checks the definition when it loads the plugin; the error message says what would be correct. */
export function definePlugin<
  const Reads extends PluginReads,
  const Options extends Readonly<Record<string, OptionDefinition>>,
>(definition: PluginDefinition<Reads, Options>): PluginDefinition<Reads, Options> {
  return definition;
}
