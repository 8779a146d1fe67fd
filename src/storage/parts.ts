import { inTurns, sorted, turns } from '../base/turn.js';
import type { Alike } from '../event/alike.js';
import type { Gap } from '../event/event.js';
import { isUncounted } from '../event/missing.js';
import type { Part } from '../session/stream/parts.js';
import { placed, type StoredSource } from './query.js';
import type { AlikeFields, EventQuery, Store, StoredEvent, StoredPage, StoredRecord } from './store.js';

/** Events of one page. */
const PART = 8192;

export interface StoredWhole {
  readonly record: StoredRecord;
  readonly store: Store;
}

/** All of a session's stored events that match, with what is missing at its place: as a session in memory gives what it holds. */
export async function* storedParts({ record, store }: StoredWhole, query: EventQuery): AsyncGenerator<Part, void> {
  const { before, after } = edgesOf(record);
  if (before) yield { events: [], gap: before };
  let counted = true;
  for await (const page of store.read({ ...query, session: record.id })) {
    if (page.gaps.some(isUncounted)) counted = false;
    yield* partsOf(page);
  }
  if (after && (counted || record.stopReason === 'ERROR')) yield { events: [], gap: after };
}

/** Events that are alike as one each, in the order of their first, and all that is missing. Null where they have to be read. */
export async function storedAlike(
  { record, store }: StoredWhole,
  query: EventQuery,
  fields: AlikeFields,
): Promise<{ readonly alike: readonly Alike[]; readonly gaps: readonly Gap[] } | null> {
  const alike = await store.alike({ ...query, sessions: [record.id] }, fields);
  if (alike === null) return null;
  const inOrder = await inTurns(sorted(alike, byFirst), undefined, turns, query.turn);
  const gaps = await store.gaps({ sessions: [record.id], from: 0n, to: null, beginBefore: null });
  const { before, after } = edgesOf(record);
  const untold = after && (record.stopReason === 'ERROR' || !gaps.some(isUncounted)) ? [after] : [];
  return { alike: inOrder, gaps: [...(before ? [before] : []), ...gaps, ...untold] };
}

/**
 * What is missing of a session that no store has a gap for. `before`: what retention took. `after`: what nobody counted, of a session that
 * failed, and of one that was interrupted, unless its store tells of that.
 */
export function edgesOf(record: StoredRecord): { readonly before: Gap | null; readonly after: Gap | null } {
  const { removed, createdAt, startedAt, stoppedAt, stopReason, oldest, newest } = record;
  const begin = startedAt ?? createdAt;
  const end = newest ?? stoppedAt ?? begin;
  const to = stoppedAt !== null && stoppedAt > end ? stoppedAt : end;
  const isCut = stopReason === 'ERROR' || stopReason === 'INTERRUPTED';
  return {
    before: removed ? { from: begin, to: oldest ?? end, lost: 0, dropped: removed, where: 'STORE' } : null,
    after: isCut ? { from: end, to, lost: 0, dropped: 0, where: 'STORE' } : null,
  };
}

/** What is missing, each at its place. */
export function* partsOf({ events, gaps }: Pick<StoredPage, 'events' | 'gaps'>): Generator<Part, void> {
  let rest = events;
  let before: Part['gap'] = null;
  for (const { seq, from, to, lost, dropped, where } of gaps) {
    const at = rest.findIndex(({ place }) => place.seq >= seq);
    const head = at < 0 ? rest : rest.slice(0, at);
    if (head.length || before) yield partOf(head, before);
    rest = rest.slice(head.length);
    before = { from, to, lost, dropped, where };
  }
  if (rest.length || before) yield partOf(rest, before);
}

/** The stored events of a running session ahead of a place that match, in their order, with what is missing among them. */
export async function* storedBefore(
  { id, store }: Pick<StoredSource<'page'>, 'id' | 'store'>,
  place: number,
  query: EventQuery,
): AsyncGenerator<Pick<StoredPage, 'events' | 'gaps'>, void> {
  for (let fromSeq = 0; fromSeq < place;) {
    const page = await store.page({ ...query, session: id, fromSeq, toSeq: place, limit: PART, backwards: false });
    yield page;
    const last = page.events.at(-1);
    if (!page.hasNext || !last) return;
    fromSeq = last.place.seq + 1;
  }
}

function partOf(events: readonly StoredEvent[], gap: Part['gap']): Part {
  return { events: events.map(placed), gap };
}

function byFirst(a: Alike, b: Alike): number {
  return a.event.time < b.event.time ? -1 : a.event.time > b.event.time ? 1 : 0;
}
