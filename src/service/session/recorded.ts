import type { Session } from '../../session/session.js';
import { SessionRecorder } from '../../storage/recorder.js';
import type { Store } from '../../storage/store.js';
import type { Parts } from '../parts.js';

/** How long a query waits until what just happened is stored. */
export const REACH_MS = 3000;

/** What records each event of a session; null when nothing does, or it has rollups. */
export function recorderOf({ recorder }: Session): SessionRecorder | null {
  return recorder instanceof SessionRecorder && recorder.stats.mode === 'EVENTS' ? recorder : null;
}

/**
 * Waits until what sessions that run in memory have seen until now is in the store, as far as it keeps up. Resolves to the ids of those of
 * which it has not got all.
 */
export async function upToDate(store: Store, { manager }: Pick<Parts, 'manager'>): Promise<readonly string[]> {
  const running = manager
    .list()
    .filter(({ recorder }) => recorder instanceof SessionRecorder && recorder.store === store);
  const behind = await Promise.all(
    running.map(async (session) => {
      await session.refresh();
      const reached = await recorderOf(session)?.reach(session.nextSeq, REACH_MS);
      return reached === false ? [session.id] : [];
    }),
  );
  return behind.flat();
}
