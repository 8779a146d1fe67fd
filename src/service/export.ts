import type { Caller } from '../access/caller.js';
import type { AggregateInput } from '../analysis/aggregate/index.js';
import { invalid } from '../base/errors.js';
import type { Demand, TraceEvent } from '../event/event.js';
import { Missing } from '../event/missing.js';
import type { EventFilter } from '../filter/index.js';
import {
  createEncoder,
  eventSheet,
  packetFields,
  packetTracker,
  pcapng,
  RECORDING,
  rootsOf,
  type Encoder,
  type ExportFormat,
  type SheetFormat,
} from '../formats/index.js';
import { checkFields, encoded, fileFacts, sheetOf, type Download, type EncodedPart } from './encoded.js';
import { RangeExports, type RangeRequest } from './export-range.js';
import type { Histories } from './history.js';
import type { Parts } from './parts.js';
import type { SessionHandle } from './session/handle.js';
import type { Origin } from './session/origin.js';
import { changesOf } from '../session/asked.js';
import { placeOf } from '../record/place.js';
import { aggregateFor, filterFor } from './session/request.js';
import type { Sessions } from './sessions.js';

export type { AggregateInput } from '../analysis/aggregate/index.js';
export type { Download } from './encoded.js';
export type { RangeRequest } from './export-range.js';
export type { ExportFormat } from '../formats/index.js';
export { formats as exportFormats } from '../formats/index.js';

/** A session as a file: its events, or an aggregate of them. */
export interface ExportRequest {
  readonly session: string;
  readonly format: ExportFormat;
  /** In CEL; all events when null. */
  readonly where: string | null;
  readonly content:
    | {
        readonly kind: 'EVENTS';
        /** Paths of fields; all when null. */
        readonly fields: readonly string[] | null;
        /** Go on with what comes, until the session ends. */
        readonly follow: boolean;
      }
    | { readonly kind: 'AGGREGATE'; readonly input: AggregateInput };
}

/** Events in one piece. */
const PART = 512;

interface Job {
  readonly session: SessionHandle;
  readonly where: string | null;
  readonly filter: EventFilter | null;
  readonly signal: AbortSignal;
}

/** Sessions, and ranges of time, as files. */
export class Exports {
  readonly #parts: Parts;
  readonly #sessions: Sessions;
  readonly #ranges: RangeExports;

  constructor(parts: Parts, sessions: Sessions, histories: Histories) {
    this.#parts = parts;
    this.#sessions = sessions;
    this.#ranges = new RangeExports(parts, histories);
  }

  /** Checks the request and begins the file. Rejects with UNKNOWN_SESSION, BAD_USER_INPUT or STORE_UNAVAILABLE. */
  open(caller: Caller, request: ExportRequest | RangeRequest): Promise<Download> {
    return 'range' in request ? this.#ranges.open(caller, request) : this.#session(caller, request);
  }

  async #session(caller: Caller, { session: id, format, where, content }: ExportRequest): Promise<Download> {
    const session = await this.#sessions.need(caller, id);
    const filter = filterFor(session, where === null ? null : { expr: where }, this.#parts);
    const job: Job = { session, where, filter, signal: caller.signal };
    if (format === 'pcapng') return this.#packets(job, content);
    return content.kind === 'EVENTS' ? this.#events(job, format, content) : this.#aggregate(job, format, content.input);
  }

  #packets(job: Job, content: ExportRequest['content']): Promise<Download> {
    const { trackers } = job.session;
    if (!trackers.includes(packetTracker))
      throw invalid(
        'format',
        `pcapng has packets, which are events of the tracker ${packetTracker}; the session has ${trackers.join(', ')}: ` +
          'ask for ndjson, csv or parquet',
      );
    if (content.kind === 'AGGREGATE')
      throw invalid('format', 'pcapng has packets and no aggregates; ask for ndjson, csv or parquet');
    if (content.fields) throw invalid('fields', 'is not for pcapng, whose packets are always whole; leave it out');
    const { server } = this.#parts;
    const encoder = pcapng({ version: server.version, kernel: server.kernel.release });
    return download(job, encoder, 'pcapng', new Map([[packetTracker, new Set(packetFields)]]), content.follow);
  }

  #events(
    job: Job,
    format: SheetFormat,
    { fields, follow }: { readonly fields: readonly string[] | null; readonly follow: boolean },
  ): Promise<Download> {
    const { session, where } = job;
    const { trackers } = session;
    if (fields) checkFields(fields, trackers, this.#parts);
    const sheet = eventSheet(this.#parts.schema, trackers, fields);
    const encoder = createEncoder(format, sheet, { ...this.#facts(session), fields, where, aggregate: false });
    const roots = rootsOf(sheet.columns);
    return download(job, encoder, format, new Map(trackers.map((name) => [name, roots])), follow);
  }

  #aggregate({ session, where, signal }: Job, format: SheetFormat, input: AggregateInput): Download {
    const spec = aggregateFor(session, input, this.#parts);
    const groupBy = spec.groupBy.map(({ path }) => path);
    const facts = { ...this.#facts(session), fields: groupBy, where, aggregate: true };
    const encoder = createEncoder(format, sheetOf(spec), facts);
    const missing = new Missing();
    const rows = async function* () {
      yield { items: await session.aggregate(input, where === null ? null : { expr: where }), gap: null };
      await addMissing(missing, session);
    };
    return {
      contentType: encoder.contentType,
      filename: filenameOf(session, 'aggregate', format),
      compressible: format !== 'parquet',
      live: false,
      body: encoded(encoder, rows(), () => session.state, signal, missing),
    };
  }

  /** The session as the file's first line, or its metadata, tells it. */
  #facts(session: SessionHandle): Record<string, unknown> {
    const { id, name, labels, trackers, options, capture, state, createdAt, startedAt, stoppedAt, stopReason } =
      session;
    const { asked, exported } = session;
    const known = { id, name, labels, trackers, options, capture, state, createdAt, startedAt, stoppedAt, stopReason };
    return {
      recording: RECORDING,
      ...fileFacts(trackers, this.#parts),
      session: { ...known, spec: asked, exported },
    };
  }
}

async function download(
  { session, where, filter, signal }: Job,
  encoder: Encoder<TraceEvent>,
  format: ExportFormat,
  demand: Demand,
  follow: boolean,
): Promise<Download> {
  const origin = await session.events();
  const ended = session.state === 'STOPPED' || session.state === 'FAILED';
  const live = follow && !ended;
  const parts = live ? following(session, where, demand, signal) : held(origin, filter);
  return {
    contentType: encoder.contentType,
    filename: filenameOf(session, 'events', format),
    compressible: format !== 'parquet',
    live,
    body: encoded(encoder, changing(parts, session), () => session.state, signal),
  };
}

/** The same events, divided where the session was changed. */
async function* changing(
  parts: AsyncGenerator<EncodedPart<TraceEvent>>,
  session: SessionHandle,
): AsyncGenerator<EncodedPart<TraceEvent>> {
  let count = 0;
  const untold = (): ReturnType<typeof changesOf> => changesOf(session.asked).slice(count);
  for await (const part of parts) {
    let { items, gap } = part;
    const last = items.at(-1);
    for (const change of last ? untold().filter(({ seq }) => seq <= seqOf(last)) : []) {
      const to = items.findIndex((event) => seqOf(event) >= change.seq);
      yield { items: items.slice(0, to), gap, change };
      [items, gap] = [items.slice(to), null];
      count++;
    }
    yield { items, gap };
  }
  for (const change of untold()) yield { items: [], gap: null, change };
}

function seqOf(event: TraceEvent): number {
  return placeOf(event)?.seq ?? 0;
}

/** What is missing of all events of a session, of which an aggregate has no gaps. */
async function addMissing(missing: Missing, session: SessionHandle): Promise<void> {
  const { lost, evicted } = await session.stats();
  const { persistence, error, stopReason } = session;
  // What memory let go of is in the store, unless that has not got it.
  const unstored = persistence && persistence.dropped + persistence.removed + persistence.omitted;
  const dropped = unstored === null ? evicted : Math.min(unstored, evicted);
  if (lost || dropped) missing.add({ lost, dropped });
  if (error !== null || stopReason === 'INTERRUPTED') missing.add({ lost: 0, dropped: 0 });
}

/** All that there is of it by now. */
async function* held(origin: Origin, filter: EventFilter | null): AsyncGenerator<EncodedPart<TraceEvent>> {
  await filter?.ready?.();
  for await (const { events, gap } of origin.parts({ filter }, 'FILE')) {
    if (!events.length && gap) yield { items: [], gap };
    for (let at = 0; at < events.length; at += PART)
      yield { items: events.slice(at, at + PART), gap: at === 0 ? gap : null };
  }
}

/**
 * What it holds, and then what comes, until it ends, and last what nobody counted: a session failed, a recording was cut. A reader that is
 * too slow loses the oldest, and is told.
 */
async function* following(
  session: SessionHandle,
  where: string | null,
  demand: Demand,
  signal: AbortSignal,
): AsyncGenerator<EncodedPart<TraceEvent>> {
  const stream = session.subscribe({ replay: 'ALL', demand, where: where === null ? null : { expr: where } });
  const leave = (): void => void stream.return();
  let last: string | null = null;
  signal.addEventListener('abort', leave, { once: true });
  try {
    for await (const { slices, gap } of stream) {
      if (gap) yield { items: [], gap };
      for (const { batch, from, to } of slices) {
        for (let at = from; at < to; at += PART)
          yield { items: Array.from({ length: Math.min(to - at, PART) }, (_, i) => batch.event(at + i)), gap: null };
        if (to > from) last = batch.event(to - 1).time;
      }
    }
    for (const gap of session.uncounted(last)) yield { items: [], gap };
  } finally {
    signal.removeEventListener('abort', leave);
    leave();
  }
}

function filenameOf({ id }: SessionHandle, what: string, format: ExportFormat): string {
  return `eunomia-${id}-${what}.${format}`;
}
