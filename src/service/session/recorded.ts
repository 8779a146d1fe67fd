import type { Session } from '../../session/session.js';
import { SessionRecording } from '../../storage/recording.js';
import type { Store } from '../../storage/store.js';
import type { Parts } from '../parts.js';

/** How long a query waits until what just happened is stored. */
export const REACH_MS = 3000;

/** The recording of each event of a session; null when there is none, or it has rollups. */
export function recordingOf({ recording }: Session): SessionRecording | null {
  return recording instanceof SessionRecording && recording.stats.mode === 'EVENTS' ? recording : null;
}

/** Waits until what sessions that run in memory have seen until now is in the store, as far as it keeps up. */
export async function upToDate(store: Store, { manager }: Pick<Parts, 'manager'>): Promise<void> {
  const running = manager
    .list()
    .filter(({ recording }) => recording instanceof SessionRecording && recording.store === store);
  await Promise.all(
    running.map(async (session) => {
      if (session.aggregatesInKernel) await session.refresh();
      await recordingOf(session)?.reach(session.nextSeq, REACH_MS);
    }),
  );
}
