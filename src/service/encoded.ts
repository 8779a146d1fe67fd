import type { Parts } from './parts.js';
import type { AggregateSpec } from '../analysis/aggregate/index.js';
import { invalid } from '../base/errors.js';
import { inTurns, turns } from '../base/turn.js';
import { nowText } from '../event/clock.js';
import { Missing } from '../event/missing.js';
import { aggregateSheet, type Encoder } from '../formats/index.js';

/** What exports of one session and of a range of time have in common. */

const MAX_FIELDS = 200;

export interface Download {
  readonly contentType: string;
  readonly filename: string;
  /** Whether it becomes smaller by compression: Parquet is compressed in itself. */
  readonly compressible: boolean;
  /** Whether it goes on with what comes: a reader wants each part at once. */
  readonly live: boolean;
  /** Bytes of the body, where they are known before. */
  readonly length?: number;
  /** Aborts, with an EunomiaError, when the reader is too slow to be waited for. */
  readonly tooSlow?: AbortSignal;
  /** Made piece by piece as they are asked for; the caller's signal ends it. */
  readonly body: AsyncGenerator<string | Uint8Array, void>;
}

/** Throws BAD_USER_INPUT for fields that these trackers do not have. */
export function checkFields(
  fields: readonly string[],
  trackers: readonly string[],
  { catalog }: Pick<Parts, 'catalog'>,
): void {
  if (fields.length > MAX_FIELDS)
    throw invalid('fields', `has ${fields.length} fields; at most ${MAX_FIELDS} are allowed`);
  fields.forEach((field, i) => catalog.checkField(field, trackers, `fields[${i}]`));
}

/** What the first line, or the metadata, of each file tells. */
export function fileFacts(
  trackers: readonly string[],
  { server, catalog }: Pick<Parts, 'server' | 'catalog'>,
): Record<string, unknown> {
  return {
    version: server.version,
    exportedAt: nowText(),
    host: { hostname: server.hostname, kernel: server.kernel.release, architecture: server.kernel.architecture },
    clock: { time: 'CLOCK_REALTIME, UTC, as RFC 3339 with nanoseconds', bootNs: 'CLOCK_BOOTTIME, in nanoseconds' },
    trackers: trackers.map((tracker) => ({
      name: tracker,
      fields: catalog.need(tracker).fields.map(({ path, type, onDemand }) => ({ path, type, onDemand })),
    })),
  };
}

/** Rows of an aggregate as a sheet. */
export function sheetOf({ groupBy, measures, window }: AggregateSpec): ReturnType<typeof aggregateSheet> {
  return aggregateSheet({
    groupBy: groupBy.map(({ path }) => path),
    measures: measures.map((measure) => ({ name: measure.name, kind: columnOf(measure) })),
    windows: window !== null,
  });
}

/** How a measure's value is written in a column. */
function columnOf({ fn, time }: AggregateSpec['measures'][number]): 'DOUBLE' | 'TIME' | 'JSON' {
  if (fn === 'HISTOGRAM' || fn === 'TOP_K') return 'JSON';
  return time ? 'TIME' : 'DOUBLE';
}

export interface EncodedPart<Item> {
  readonly items: readonly Item[];
  /** What is missing before them. */
  readonly gap: Parameters<Encoder<Item>['items']>[1];
  /** How the session was changed behind them. */
  readonly change?: Parameters<Encoder<Item>['change']>[0];
}

/** A file, made as it is read. `state`: the session's, at its end. */
export async function* encoded<Item>(
  encoder: Encoder<Item>,
  parts: AsyncGenerator<EncodedPart<Item>>,
  state: () => string | undefined,
  signal: AbortSignal,
  missing = new Missing(),
): AsyncGenerator<string | Uint8Array, void> {
  let count = 0;
  const long = async (work: ReturnType<NonNullable<typeof encoder.due>> | undefined) =>
    work ? inTurns(work, undefined, turns, 'FILE') : '';
  yield encoder.head();
  for await (const { items, gap, change } of parts) {
    if (gap) missing.add(gap);
    for (let at = 0; at === 0 || at < items.length; at += encoder.most) {
      if (!turns.isOpen) await turns.next('FILE');
      const piece = encoder.items(items.slice(at, at + encoder.most), at === 0 ? gap : null);
      if (piece.length) yield piece;
      const due = await long(encoder.due?.());
      if (due.length) yield due;
      if (signal.aborted) return;
    }
    count += items.length;
    if (change) yield encoder.change(change);
  }
  const rest = await long(encoder.rest?.());
  if (rest.length) yield rest;
  const { lost, dropped, complete } = missing;
  const end = encoder.end({ items: count, lost, dropped, complete, state: state() });
  if (end.length) yield end;
}
