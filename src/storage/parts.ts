import { isUncounted } from '../event/missing.js';
import type { Part } from '../session/stream/parts.js';
import type { EventQuery, Store, StoredEvent, StoredRecord } from './store.js';

export interface StoredWhole {
  readonly record: StoredRecord;
  readonly store: Store;
}

/** All of a session's stored events that match, with what is missing at its place: as a session in memory gives what it holds. */
export async function* storedParts({ record, store }: StoredWhole, query: EventQuery): AsyncGenerator<Part, void> {
  const { id, removed, createdAt, startedAt, stoppedAt, stopReason, oldest, newest } = record;
  const begin = startedAt ?? createdAt;
  const end = newest ?? stoppedAt ?? begin;
  if (removed) yield { events: [], gap: { from: begin, to: oldest ?? end, lost: 0, dropped: removed, where: 'STORE' } };
  let counted = true;
  for await (const { events, gaps } of store.read({ ...query, session: id })) {
    let rest = events;
    let before: Part['gap'] = null;
    for (const { seq, from, to, lost, dropped, where } of gaps) {
      const at = rest.findIndex(({ place }) => place.seq >= seq);
      const head = at < 0 ? rest : rest.slice(0, at);
      if (head.length || before) yield partOf(head, before);
      rest = rest.slice(head.length);
      before = { from, to, lost, dropped, where };
      if (isUncounted({ lost, dropped })) counted = false;
    }
    if (rest.length || before) yield partOf(rest, before);
  }
  // Not every store has a gap for what a server took along that was killed; none has one for what a session did not see that failed.
  if (stopReason === 'ERROR' || (stopReason === 'INTERRUPTED' && counted)) {
    const to = stoppedAt !== null && stoppedAt > end ? stoppedAt : end;
    yield { events: [], gap: { from: end, to, lost: 0, dropped: 0, where: 'STORE' } };
  }
}

function partOf(events: readonly StoredEvent[], gap: Part['gap']): Part {
  return { events: events.map(({ event }) => event), gap };
}
