import { pino } from 'pino';
import { loadTrackers } from '../../src/catalog/load.js';
import type { TraceEvent } from '../../src/event/event.js';
import { ContainerRegistry } from '../../src/inventory/registry.js';
import { recordedTracker, type Player } from '../../src/session/replay.js';
import { Session } from '../../src/session/session.js';
import { batchAt } from './record.js';
import { specOf } from './spec.js';

/** A real session whose events a test plays, one after the other: for tests without a kernel. */
export interface PlayedSession {
  readonly session: Session;
  /** Events of the tracker exit, behind a loss. An event's pid and bootNs are its place in the session. */
  add(count: number, lost?: number): void;
}

const clock = { seconds: 0, nanoseconds: 0 };
const counters = { produced: 0, lost: 0, skippedRuns: null, ringPeakBytes: 0 };

/** The event as a recording has it: plain data, which a plugin's thread can be sent. */
function rowOf({ __typename, tracker, time, bootNs, cgroupId, process }: TraceEvent): TraceEvent {
  const { pid, tid, ppid, uid, gid, comm, startTime, mountNs } = process;
  return {
    __typename,
    tracker,
    time,
    bootNs,
    cgroupId,
    process: { pid, tid, ppid, uid, gid, comm, startTime, mountNs },
    container: null,
  };
}

/** Starts it; `close` is what its source does at its end. */
export async function playedSession(
  trackers: readonly string[] = ['exit'],
  close: () => Promise<void> = () => Promise.resolve(),
): Promise<PlayedSession> {
  const log = pino({ level: 'silent' });
  const definitions = await loadTrackers();
  let player: Player | null = null;
  const session = new Session('s', specOf(trackers.map((name) => ({ name, options: {} }))), {
    pool: null,
    stacks: null,
    registry: new ContainerRegistry({ log, sources: [] }),
    trackers: new Map(definitions.map((definition) => [definition.name, recordedTracker(definition)])),
    subscriberBytes: 1 << 24,
    log,
    onState: () => undefined,
    replay: {
      startedAt: null,
      play: (playing) => {
        player = playing;
        return Promise.resolve({
          unloaded: [],
          setCapture: () => Promise.resolve(),
          setVerdicts: () => Promise.resolve(),
          setDelay: () => {},
          hurry: () => {},
          read: () => Promise.resolve(),
          counters: () => Promise.resolve(counters),
          facts: () => ({ sessions: 1, eventsPerSecond: null }),
          close: () => close().then(() => counters),
        });
      },
    },
  });
  await session.start();
  return {
    session,
    add: (count, lost = 0) => {
      const batch = batchAt(session.nextSeq, count, lost);
      const events = Array.from({ length: count }, (_, i) => rowOf(batch.event(i)));
      player?.play(events, { clock, lost, lostFrom: 0, lostTo: 0 });
    },
  };
}
