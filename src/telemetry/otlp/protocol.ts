import type { Gap } from '../../event/event.js';
import type { Severity } from '../../plugin.js';
import type { MetricFamily } from '../../event/metric.js';
import type { BatchMessage } from '../../record/wire.js';

/** What goes between the server and the thread that exports. */

/** Attributes of the server itself, by OpenTelemetry's names. */
export type ResourceFacts = Readonly<Record<string, string>>;

/** A field of a tracker's events: its path in the schema, and whether it is a 64-bit number, which reads as text. */
export interface ExportedField {
  readonly path: string;
  readonly wide: boolean;
}

/** `workerData` of the thread. */
export interface OtlpThreadSpec {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** PEM. */
  readonly ca: string | null;
  readonly resource: ResourceFacts;
  readonly version: string;
  /** When counters began to count: milliseconds since the epoch. */
  readonly startedAtMs: number;
  readonly fields: Readonly<Record<string, readonly ExportedField[]>>;
}

export interface ExportedSession {
  readonly id: string;
  readonly name: string | null;
  readonly trackers: readonly string[];
}

/** An alert, as plain data. */
export interface ExportedAlert {
  readonly id: string;
  readonly severity: Severity;
  readonly title: string;
  readonly message: string;
  readonly source: string;
  readonly session: string | null;
  readonly time: string;
  readonly raisedAt: string;
  readonly tracker: string | null;
  readonly process: object | null;
  readonly container: object | null;
  /** Of alerts that a rule raised. */
  readonly rule?: string | null;
  readonly tags?: readonly string[];
  readonly attack?: readonly string[];
}

/** Counts of one signal since the thread began. Of logs these are records, of metrics points. */
export interface SignalCounts {
  readonly sent: number;
  /** The collector did not want them, and would not if they came again. */
  readonly refused: number;
  /** Requests that failed and are made again. */
  readonly failures: number;
  readonly queued: number;
  readonly queuedBytes: number;
  /** Why nothing goes out at the moment; null while all is well. */
  readonly problem: string | null;
}

export type Signal = 'logs' | 'metrics';

/** A type, as a channel's protocol has to be. Asks are handled in order, and get their reply once there is room for more. */
export type ExportProtocol = {
  readonly asks: {
    readonly events: {
      readonly ask: {
        readonly session: ExportedSession;
        readonly message: BatchMessage;
        readonly from: number;
        readonly to: number;
      };
      readonly reply: void;
    };
    readonly gap: { readonly ask: { readonly session: ExportedSession; readonly gap: Gap }; readonly reply: void };
    readonly alert: { readonly ask: ExportedAlert; readonly reply: void };
    /** Sends what waits, as far as the collector takes it at once. */
    readonly flush: { readonly ask: null; readonly reply: void };
  };
  readonly posts: { readonly metrics: { readonly families: readonly MetricFamily[]; readonly atMs: number } };
  readonly notes: { readonly counts: Readonly<Record<Signal, SignalCounts>> };
};
