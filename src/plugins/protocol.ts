import type { AlertContainer, AlertProcess } from '../event/alert.js';
import type { Severity } from '../plugin.js';
import type { BatchMessage } from '../record/wire.js';
import type { PluginFacts } from './definition.js';

/** What goes between the server and a plugin's thread. */

export type RealmKind = 'TRUSTED' | 'SANDBOX';

export interface RealmLimits {
  /** Processor time of one call of a hook, or of the evaluation of the source. A machine that is busy with others does not end a plugin. */
  readonly callMs: number;
  /** What loading and the start of a session may take beyond `callMs`: code is compiled, and caches are cold. */
  readonly loadMs: number;
  readonly memoryBytes: number;
}

/** `workerData` of the thread. */
export interface PluginThreadSpec {
  readonly file: string;
  readonly code: string;
  readonly realm: RealmKind;
  readonly limits: RealmLimits;
  /** Of a test: reading a field that is not declared, misspelt, or missing in the recorded event is an error. */
  readonly strict: boolean;
}

export interface PluginSession {
  readonly id: string;
  readonly name: string | null;
}

export type PluginGap = { readonly lost: number; readonly dropped: number } | null;

/** Something that a hook threw. */
export interface PluginError {
  readonly message: string;
  /** "FILE:LINE" of the plugin's source; null when the error has no place there. */
  readonly at: string | null;
}

/** An alert as it leaves the plugin's thread. */
export interface OutgoingAlert {
  readonly severity: Severity;
  readonly title: string;
  readonly message: string;
  readonly key: string | null;
  readonly tracker: string | null;
  /** Of its event; null when it has none. */
  readonly time: string | null;
  readonly process: AlertProcess | null;
  readonly container: AlertContainer | null;
  /** Of the event that it is about, in the session; null where it names none that is of the session. */
  readonly place: number | null;
}

/** A result as it leaves the plugin's thread. */
export interface EmittedResult {
  readonly kind: string;
  readonly json: string;
  /** As of an alert. */
  readonly place: number | null;
}

/** What a series of a metric gained, or became, during a call. */
export interface MetricChange {
  readonly metric: string;
  /** In the order of the definition's labels. */
  readonly labels: readonly string[];
  /** Added to a counter, the new value of a gauge; of a histogram the sum of what was observed. */
  value: number;
  /** Of a histogram: observations in each bucket, the last is beyond all bounds. */
  readonly buckets: number[];
}

export interface CallOutcome {
  readonly results: readonly EmittedResult[];
  readonly alerts: readonly OutgoingAlert[];
  readonly metrics: readonly MetricChange[];
  readonly logs: readonly string[];
  /** Results, alerts and log lines that were over a limit. */
  readonly suppressed: number;
}

/** What became of a call. */
export interface Done {
  readonly outcome: CallOutcome;
  readonly error: PluginError | null;
  readonly busyMs: number;
  readonly memoryBytes: number;
}

/** A type, as a channel's protocol has to be. Calls are handled in order. */
export type PluginProtocol = {
  readonly asks: {
    /** Evaluates the source. Asked once, before all others. */
    readonly load: { readonly ask: null; readonly reply: { readonly definition: unknown } };
    /** `trackers` are the session's, in their order. */
    readonly start: {
      readonly ask: {
        readonly facts: PluginFacts;
        readonly options: Readonly<Record<string, unknown>>;
        readonly session: PluginSession;
        readonly trackers: readonly string[];
      };
      readonly reply: Done;
    };
    readonly batch: {
      readonly ask: {
        readonly message: BatchMessage;
        readonly from: number;
        readonly to: number;
        readonly gap: PluginGap;
      };
      readonly reply: Done;
    };
    readonly interval: { readonly ask: null; readonly reply: Done };
    readonly stop: { readonly ask: null; readonly reply: Done };
  };
  readonly posts: Record<never, never>;
  readonly notes: {
    /** The kernel's id of the thread, before the source is evaluated; null where /proc does not tell. */
    readonly began: number | null;
    /** The source did not evaluate, or the realm has ended: there is nothing to call any more. */
    readonly dead: PluginError;
  };
};

export type CallKind = Exclude<keyof PluginProtocol['asks'], 'load'>;
