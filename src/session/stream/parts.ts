import type { Gap, TraceEvent } from '../../event/event.js';
import { turns, type Lane } from '../../base/turn.js';
import { nowText } from '../../event/clock.js';
import type { Slice } from '../../record/batch-buffer.js';
import { gapsOf } from './scan.js';
import type { Session } from '../session.js';
import type { StreamFilter } from './selection.js';

/** Some of a session's events, in their order. Wherever they are read from, the parts of a session make one sequence. */
export interface Part {
  readonly events: readonly TraceEvent[];
  /** What is missing before the first of them. Counts of 0: nobody counted. */
  readonly gap: Gap | null;
}

/** Events in one part. */
const PART = 512;
/** Events of which a filter makes one part: it may take a millisecond for each. */
const FILTERED = 32;

/** What a session holds in memory at a moment. It stays as long as the slowest reader needs it. */
export interface Held {
  readonly slices: readonly Slice[];
  readonly oldestSeq: number;
}

export async function hold(session: Session): Promise<Held> {
  await session.refresh();
  return { slices: session.held(), oldestSeq: session.oldestSeq };
}

/** What a session holds in memory that matches, and what it has evicted behind the place `from`. `lane`: of its turns. */
export async function* heldParts(
  session: Session,
  filter: StreamFilter | null,
  {
    held,
    from = 0,
    lane = 'REQUEST',
  }: { readonly held?: Held; readonly from?: number; readonly lane?: Lane | undefined } = {},
): AsyncGenerator<Part, void> {
  const { slices, oldestSeq } = held ?? (await hold(session));
  const evicted = oldestSeq - from;
  await filter?.ready?.();
  const first = slices[0]?.batch;
  if (evicted)
    yield {
      events: [],
      gap: {
        from: session.startedAt ?? session.createdAt,
        to: first?.count ? first.event(0).time : nowText(),
        lost: 0,
        dropped: evicted,
        where: 'CLIENT',
      },
    };
  for (const slice of slices) {
    for (const part of partsOf(slice, filter)) {
      yield part;
      if (!turns.isOpen) await turns.next(lane);
    }
  }
  const last = slices.findLast(({ from, to }) => to > from);
  for (const gap of session.uncounted(last ? last.batch.event(last.to - 1).time : null)) yield { events: [], gap };
}

function* partsOf({ batch, from, to }: Slice, filter: StreamFilter | null): Generator<Part> {
  const [gap = null] = gapsOf([{ batch, from, to }]);
  if (gap && from === to) yield { events: [], gap };
  const size = filter ? FILTERED : PART;
  for (let at = from; at < to; at += size) {
    const events: TraceEvent[] = [];
    for (let i = at; i < Math.min(to, at + size); i++) {
      const event = batch.event(i);
      if (!filter || filter.matches(event)) events.push(event);
    }
    yield { events, gap: at === from ? gap : null };
  }
}
