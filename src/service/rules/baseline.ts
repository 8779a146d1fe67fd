import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { turns } from '../../base/turn.js';
import type { TraceEvent } from '../../event/event.js';
import type { FirstStart } from '../../rules/engine.js';
import type { EventQuery } from '../../storage/store.js';

/** Stored events in parts; null where there is no history. */
export type HistoryScan = (query: EventQuery) => AsyncIterable<readonly TraceEvent[]> | null;

interface Learning {
  readonly history: HistoryScan;
  /** Events that a rule learns from at most; for tests. */
  readonly most?: number;
  readonly log: Log;
  /** Whether nobody waits for it any more. */
  readonly isOver: (start: FirstStart) => boolean;
}

/** Of one rule. */
const MAX_EVENTS = 2_000_000;
/** Events between two looks at the clock. */
const PART = 64;

/** How much of the history was read: nobody waits for what is `DROPPED`. */
type Read = 'WHOLE' | 'PART' | 'DROPPED';

/**
 * Rules whose books wait for the history (`beginHistory`) learn what it has, one after the other and behind all else. Never rejects: where
 * there is no history, or not all of it can be read, they learn from now on.
 */
export async function learnFromHistory(starts: readonly FirstStart[], learning: Learning): Promise<void> {
  for (const start of starts) {
    const read = await learnFrom(start, learning);
    if (read === 'DROPPED') start.book.dropHistory();
    else start.book.endHistory(read === 'WHOLE', Date.now());
  }
}

async function learnFrom(start: FirstStart, learning: Learning): Promise<Read> {
  const { log } = learning;
  const rule = start.rule.definition.name;
  try {
    const { read, events } = await learn(start, learning);
    if (read === 'WHOLE' && events > 0) log.info({ rule, events }, 'a rule has learned from the history');
    if (read === 'PART')
      log.warn({ rule, events }, 'the history has more events than a rule learns from: it learns from now on, too');
    return read;
  } catch (error) {
    log.warn({ rule, problem: messageOf(error) }, 'a rule cannot learn from the history: it learns from now on');
    return 'PART';
  }
}

async function learn(
  start: FirstStart,
  { history, isOver, most = MAX_EVENTS }: Learning,
): Promise<{ readonly read: Read; readonly events: number }> {
  const { rule, baselineMs, learn: learnOne } = start;
  const [step] = rule.steps;
  if (!step || isOver(start)) return { read: 'DROPPED', events: 0 };
  const parts = history({
    sessions: null,
    trackers: step.trackers,
    from: BigInt(Date.now() - baselineMs) * 1_000_000n,
    to: null,
    containers: null,
    filter: step.filter,
    processes: true,
    turn: 'FILE',
  });
  let count = 0;
  for await (const events of parts ?? [])
    for (const event of events) {
      if (count % PART === 0 && !turns.isOpen) await turns.next('FILE');
      if (count % PART === 0 && isOver(start)) return { read: 'DROPPED', events: count };
      if (count === most) return { read: 'PART', events: count };
      learnOne(event);
      count++;
    }
  // The last of them may have come when nobody waited any more.
  return { read: isOver(start) ? 'DROPPED' : 'WHOLE', events: count };
}
