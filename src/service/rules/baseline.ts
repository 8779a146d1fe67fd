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
  readonly log: Log;
  /** Whether nobody waits for it any more. */
  readonly isOver: () => boolean;
}

/** Of one rule. */
const MAX_EVENTS = 2_000_000;
/** Events between two looks at the clock. */
const PART = 64;

/**
 * Rules that look for what is new learn what the history has, one after the other and behind all else. Never rejects: where there is no
 * history, or it cannot be read, they learn from now on.
 */
export async function learnFromHistory(starts: readonly FirstStart[], learning: Learning): Promise<void> {
  for (const start of starts) start.begin();
  for (const start of starts) {
    const { name } = start.rule.definition;
    try {
      const events = await learn(start, learning);
      if (events !== null) learning.log.info({ rule: name, events }, 'a rule has learned from the history');
    } catch (error) {
      learning.log.warn({ rule: name, problem: messageOf(error) }, 'a rule cannot learn from the history');
    } finally {
      start.end();
    }
  }
}

/** Returns how many events it has learned from; null where there is no history. */
async function learn(
  { rule, baselineMs, learn: learnOne }: FirstStart,
  { history, isOver }: Learning,
): Promise<number | null> {
  const [step] = rule.steps;
  if (!step) return null;
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
  if (parts === null) return null;
  let count = 0;
  for await (const events of parts)
    for (const event of events) {
      if (count % PART === 0 && !turns.isOpen) await turns.next('FILE');
      if (isOver() || count === MAX_EVENTS) return count;
      learnOne(event);
      count++;
    }
  return count;
}
