import type { Container } from '../../inventory/container.js';
import {
  LabelValues,
  OTHER,
  type Exemplar,
  type HistogramSample,
  type MetricFamily,
  type MetricsSource,
  type Sample,
} from '../../event/metric.js';
import { errnoName } from '../../linux/linux.js';
import { cursorOf } from '../../session/cursor.js';
import { headerOffsets, initAt, type RecordBatch } from '../../record/batch.js';
import type { SessionSpec } from '../../session/spec.js';
import { containerLabel, sessionLabel, type LabelledSession } from './label.js';
import { countedFields, DURATION_BOUNDS_NS, type CountedFields, type CountedTracker } from './reader.js';
import { CountRow, type Durations, type NewestObservation } from './row.js';

export interface EventCountsOptions {
  readonly trackers: ReadonlyMap<string, CountedTracker>;
  /** Containers with a label of their own. */
  readonly maxContainers: number;
  /** Names of sessions with a label of their own. */
  readonly maxSessions: number;
  /** How long nothing must have come from a container before another one may take its place. */
  readonly idleMs: number;
}

/** What is read of a session; the same object each time, for the same session. */
export interface CountedSession extends LabelledSession {
  readonly spec: Pick<SessionSpec, 'name' | 'trackers'>;
}

interface Place {
  readonly label: string;
  readonly row: CountRow;
}

/** A session's way to its rows: by index of its tracker, then by container. */
interface Access {
  readonly label: string;
  readonly trackers: readonly {
    readonly name: string;
    readonly fields: CountedFields;
    places: Map<object | null, Place>;
  }[];
}

/**
 * Events by tracker, container and session: exactly what sessions delivered, since it counts in the turn in which they deliver. It reads
 * the records' bytes, some ten nanoseconds an event, and demands nothing: what is not captured is not counted.
 */
export class EventCounts implements MetricsSource {
  readonly #options: EventCountsOptions;
  readonly #fields = new Map<string, CountedFields>();
  readonly #containers: LabelValues;
  readonly #sessions: LabelValues;
  /** Session label → tracker → container label. */
  readonly #rows = new Map<string, Map<string, Map<string, CountRow>>>();
  #access = new WeakMap<CountedSession, Access>();

  constructor(options: EventCountsOptions) {
    this.#options = options;
    this.#containers = new LabelValues(options.maxContainers, options.idleMs, (container) =>
      this.#forgetContainer(container),
    );
    this.#sessions = new LabelValues(options.maxSessions, options.idleMs, (session) => this.#forgetSession(session));
  }

  add(session: CountedSession, batch: RecordBatch): void {
    const { view, offsets } = batch;
    const nowMs = Date.now();
    const access = this.#accessOf(session, nowMs);
    let tracker = -1;
    let low = -1;
    let high = -1;
    let mountNs = -1;
    let init = -1;
    let since = 0;
    let row: CountRow | null = null;
    for (let i = 0; i < offsets.length; i++) {
      const at = offsets[i] ?? 0;
      const itsTracker = view.getUint16(at + headerOffsets.tracker, true);
      const itsLow = view.getUint32(at + headerOffsets.cgroupId, true);
      const itsHigh = view.getUint32(at + headerOffsets.cgroupId + 4, true);
      const itsMountNs = view.getUint32(at + headerOffsets.mountNs, true);
      const itsInit = initAt(view, at);
      if (itsTracker !== tracker || itsLow !== low || itsHigh !== high || itsMountNs !== mountNs || itsInit !== init) {
        row?.add(batch, since, i, session.id, nowMs);
        since = i;
        tracker = itsTracker;
        low = itsLow;
        high = itsHigh;
        mountNs = itsMountNs;
        init = itsInit;
        row = this.#rowOf(access, tracker, batch.containerAt(at) as Container | null, nowMs);
      }
    }
    row?.add(batch, since, offsets.length, session.id, nowMs);
  }

  metrics(): MetricFamily[] {
    const events: Sample[] = [];
    const errors: Sample[] = [];
    const bytes: Sample[] = [];
    const sums: Sample[] = [];
    const kinds: Sample[] = [];
    const durations: HistogramSample[] = [];
    for (const [session, trackers] of this.#rows) {
      for (const [tracker, containers] of trackers) {
        const fields = this.#fieldsOf(tracker);
        for (const [container, row] of fields ? containers : []) {
          const labels = { tracker, container, session };
          events.push({ labels, value: row.events });
          fields?.errors.forEach((_field, i) => {
            for (const [errno, value] of row.errors[i] ?? [])
              errors.push({ labels: { ...labels, errno: errnoName(errno) ?? String(errno) }, value });
          });
          fields?.bytes.forEach(({ name }, i) =>
            bytes.push({ labels: { ...labels, field: name }, value: row.bytes[i] ?? 0 }),
          );
          fields?.sums.forEach(({ name }, i) =>
            sums.push({ labels: { ...labels, field: name }, value: row.sums[i] ?? 0 }),
          );
          fields?.kinds.forEach(({ name, values }, i) => {
            for (const [code, value] of row.kinds[i] ?? [])
              // 0 is null where the enum does not name it.
              if (code !== 0 || values.has(0))
                kinds.push({ labels: { ...labels, field: name, value: values.get(code) ?? OTHER }, value });
          });
          fields?.durations.forEach(({ name }, i) => {
            const from = row.durations[i];
            if (from) durations.push(histogram({ ...labels, field: name }, from));
          });
        }
      }
    }
    return [
      {
        name: 'eunomia_events_total',
        type: 'counter',
        help: 'Events that sessions delivered. Two sessions that see the same event both count it: select one `session`.',
        samples: events,
      },
      {
        name: 'eunomia_event_errors_total',
        type: 'counter',
        help: 'Events of calls that failed, by the symbol of the error.',
        samples: errors,
      },
      {
        name: 'eunomia_event_kinds_total',
        type: 'counter',
        help: 'Events by the value of an enumerated field, for example `tcpOperation` of tcp.',
        samples: merged(kinds),
      },
      {
        name: 'eunomia_event_bytes_total',
        type: 'counter',
        help: 'Sum of a field of bytes over all events, for example `sentBytes` of tcp: each connection counts when it closes.',
        samples: bytes,
      },
      {
        name: 'eunomia_event_sums_total',
        type: 'counter',
        help:
          'Sum of what a tracker counts in the kernel, for example `count` of syscount: calls, where an event is a ' +
          'row. In the unit of the field.',
        samples: sums,
      },
      {
        name: 'eunomia_event_duration_seconds',
        type: 'histogram',
        help: 'Durations that events tell, by field; only of events for which it was captured.',
        bounds: DURATION_BOUNDS_NS.map((ns) => ns / 1e9),
        samples: durations,
      },
      {
        name: 'eunomia_metrics_label_values',
        type: 'gauge',
        help: 'Values that a label has now; at `eunomia_metrics_label_limit` new ones are counted as `other`.',
        samples: this.#sizes(),
      },
      {
        name: 'eunomia_metrics_label_limit',
        type: 'gauge',
        help: 'Values that a label may have.',
        samples: [
          { labels: { label: 'container' }, value: this.#options.maxContainers },
          { labels: { label: 'session' }, value: this.#options.maxSessions },
        ],
      },
    ];
  }

  #sizes(): Sample[] {
    return [
      { labels: { label: 'container' }, value: this.#containers.size },
      { labels: { label: 'session' }, value: this.#sessions.size },
    ];
  }

  /** Read when it is first counted: thirty trackers' objects are not, at a start. */
  #fieldsOf(name: string): CountedFields | undefined {
    const known = this.#fields.get(name);
    const tracker = this.#options.trackers.get(name);
    if (known || !tracker) return known;
    const made = countedFields(tracker);
    this.#fields.set(name, made);
    return made;
  }

  #accessOf(session: CountedSession, nowMs: number): Access {
    const label = this.#sessions.of(sessionLabel(session), nowMs);
    const known = this.#access.get(session);
    if (known?.label === label) return known;
    const made: Access = {
      label,
      trackers: session.spec.trackers.map(({ name }) => ({
        name,
        fields: this.#fieldsOf(name) ?? { errors: [], bytes: [], sums: [], durations: [], kinds: [] },
        places: new Map<object | null, Place>(),
      })),
    };
    this.#access.set(session, made);
    return made;
  }

  #rowOf(
    { label: session, trackers }: Access,
    index: number,
    container: Container | null,
    nowMs: number,
  ): CountRow | null {
    const tracker = trackers[index];
    if (!tracker) return null;
    const label = this.#containers.of(containerLabel(container), nowMs);
    // A container may get its name later, or lose its label while it is idle.
    const known = tracker.places.get(container);
    if (known?.label === label) return known.row;
    const byTracker = entry(this.#rows, session, () => new Map<string, Map<string, CountRow>>());
    const byContainer = entry(byTracker, tracker.name, () => new Map<string, CountRow>());
    const row = entry(byContainer, label, () => new CountRow(tracker.fields));
    if (tracker.places.size > 2 * this.#options.maxContainers) tracker.places = new Map(); // of containers that are gone
    tracker.places.set(container, { label, row });
    return row;
  }

  #forgetContainer(container: string): void {
    for (const trackers of this.#rows.values())
      for (const containers of trackers.values()) containers.delete(container);
    this.#access = new WeakMap();
  }

  #forgetSession(session: string): void {
    this.#rows.delete(session);
    this.#access = new WeakMap();
  }
}

function entry<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

/** Values without a name stand together as `other`. */
function merged(samples: readonly Sample[]): Sample[] {
  const sums = new Map<string, Sample>();
  for (const sample of samples) {
    const key = JSON.stringify(sample.labels);
    sums.set(key, { labels: sample.labels, value: (sums.get(key)?.value ?? 0) + sample.value });
  }
  return [...sums.values()];
}

function histogram(labels: HistogramSample['labels'], { counts, newest, sumNs }: Durations): HistogramSample {
  return {
    labels,
    counts,
    sum: sumNs / 1e9,
    exemplars: newest.map((observation) => observation && exemplarOf(observation)),
  };
}

/** Leads from a bucket to an event in it: `session(id: …) { events(after: CURSOR, first: 1) }`. */
function exemplarOf({ ns, session, place, atMs }: NewestObservation): Exemplar {
  return { labels: { session_id: session, cursor: cursorOf(session, place) }, value: ns / 1e9, atMs };
}
