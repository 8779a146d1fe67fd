import { EunomiaError, invalid } from '../base/errors.js';
import { nanosOf, textOfNanos } from '../record/nanos.js';
import type { EventQuery, Store, StoredRecord } from '../storage/store.js';
import type { Parts } from './parts.js';
import { upToDate } from './session/recorded.js';

/** Which stored sessions a range of time is about. */

const MAX_SESSIONS = 1000;

/** RFC 3339 with nanoseconds; `from` is in it, `to` is not. */
export interface TimeSpan {
  readonly from: string | null;
  readonly to: string;
}

export function spanOf({ from, to }: Pick<EventQuery, 'from' | 'to'>): TimeSpan {
  return {
    from: from === null ? null : textOfNanos(from),
    to: textOfNanos(to ?? BigInt(Date.now()) * 1_000_000n),
  };
}

/**
 * Sessions that ran in this time with one of these trackers, oldest first, once what running ones have seen is stored. `reader` is who
 * asks, for messages: "a report". Rejects with UNKNOWN_SESSION, or BAD_USER_INPUT for too many of them and for those without events.
 */
export async function recordsIn(
  span: TimeSpan,
  { store, query }: { readonly store: Store; readonly query: EventQuery },
  parts: Pick<Parts, 'manager'>,
  reader: string,
): Promise<readonly StoredRecord[]> {
  const behind = await upToDate(store, parts);
  const named =
    query.sessions === null
      ? await store.sessions()
      : await Promise.all(
          [...new Set(query.sessions)].map(async (id) => (await store.session(id)) ?? unknown(id, store, parts)),
        );
  const records = named.filter(
    (record) => record.trackers.some((tracker) => query.trackers.includes(tracker)) && overlaps(record, span),
  );
  if (records.length > MAX_SESSIONS)
    throw invalid(
      'from',
      `${records.length.toLocaleString('en-US')} sessions were recorded in this time; ${reader} reads at most ` +
        `${MAX_SESSIONS.toLocaleString('en-US')}: take a shorter one, or name \`sessions\``,
      { max: MAX_SESSIONS, actual: records.length },
    );
  const rollup = records.find(({ mode }) => mode !== 'EVENTS');
  if (rollup)
    throw invalid(
      'sessions',
      `the session "${rollup.id}" is stored as rollups, which have no single events; name others, or persist with mode EVENTS`,
    );
  const late = records.find(({ id, newest }) => behind.includes(id) && (newest === null || newest < span.to));
  if (late && reader === 'an export')
    throw new EunomiaError(
      'STORE_UNAVAILABLE',
      `the store has not yet taken all events of the session "${late.id}": give a \`to\` of ` +
        `${late.newest ?? 'a time before it'} or earlier, or ask again later`,
      { details: { session: late.id } },
    );
  return records;
}

function unknown(id: string, { kind }: Store, { manager }: Pick<Parts, 'manager'>): never {
  const name = `"${id.slice(0, 64)}"`;
  throw new EunomiaError(
    'UNKNOWN_SESSION',
    manager.get(id)
      ? `the session ${name} is not in the ${kind} store: it is in memory, or in another store; ask for it by itself, or give its \`store\``
      : `the store has no session ${name}; \`sessions\` lists those there are`,
    { details: { session: id } },
  );
}

function overlaps({ createdAt, startedAt, stoppedAt }: StoredRecord, { from, to }: TimeSpan): boolean {
  return (startedAt ?? createdAt) < to && (stoppedAt === null || from === null || stoppedAt >= from);
}

/** The part of a range in which these sessions have events, in nanoseconds since 1970. */
export function extentOf(
  records: readonly StoredRecord[],
  query: Pick<EventQuery, 'from' | 'to'>,
): { readonly from: bigint; readonly to: bigint } {
  const times = records.flatMap(({ oldest, newest }) => (oldest === null || newest === null ? [] : [[oldest, newest]]));
  const oldest = times.map(([first = '']) => first).sort()[0];
  const newest = times
    .map(([, last = '']) => last)
    .sort()
    .at(-1);
  const least = oldest === undefined ? 0n : nanosOf(oldest);
  const most = newest === undefined ? 0n : nanosOf(newest) + 1n;
  return {
    from: query.from !== null && query.from > least ? query.from : least,
    to: query.to !== null && query.to < most ? query.to : most,
  };
}
