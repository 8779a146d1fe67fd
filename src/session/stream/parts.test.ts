import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { Missing } from '../../event/missing.js';
import { ContainerRegistry } from '../../inventory/registry.js';
import { loadTrackers } from '../../catalog/load.js';
import { createReplay, recordedTracker, type RecordedEntry } from '../replay.js';
import { Session } from '../session.js';
import { batchAt } from '../../../test/support/record.js';
import { playedSession } from '../../../test/support/played.js';
import { specOf } from '../../../test/support/spec.js';
import { heldParts, type Part } from './parts.js';

const definitions = await loadTrackers();
const event = (second: number): RecordedEntry => ({ kind: 'event', event: batchAt(second * 1e9, 1).event(0) });
const gap = (missing: number): RecordedEntry => ({
  kind: 'gap',
  from: '1970-01-01T00:00:03.000000000Z',
  to: '1970-01-01T00:00:04.000000000Z',
  missing,
});

async function all(session: Session): Promise<Part[]> {
  const parts: Part[] = [];
  for await (const part of heldParts(session, null)) parts.push(part);
  return parts;
}

/** What a session has that played all of a recording. */
async function replayed(entries: readonly RecordedEntry[], problem: string | null = null): Promise<Part[]> {
  const log = pino({ level: 'silent' });
  const session = new Session('s', specOf([{ name: 'exit', options: {} }]), {
    pool: null,
    stacks: null,
    registry: new ContainerRegistry({ log, sources: [] }),
    trackers: new Map(definitions.map((definition) => [definition.name, recordedTracker(definition)])),
    subscriberBytes: 1 << 24,
    log,
    onState: () => undefined,
    replay: createReplay({
      startedAt: '1970-01-01T00:00:00.000000000Z',
      entries: (async function* () {
        yield* entries;
      })(),
      problem: () => problem,
      speed: Number.POSITIVE_INFINITY,
    }),
  });
  await session.start();
  await session.done;
  return all(session);
}

const missing = (parts: readonly Part[]): Missing =>
  parts.reduce((sum, part) => (part.gap ? sum.add(part.gap) : sum), new Missing());

describe('the events that a session holds', () => {
  it('are complete where a whole recording was replayed', async () => {
    const parts = await replayed([event(1), event(2)]);
    expect(parts.flatMap(({ events }) => events)).toHaveLength(2);
    expect(missing(parts)).toMatchObject({ complete: true });
  });

  it('end with a gap that nobody counted where the recording was cut, behind the last event', async () => {
    const parts = await replayed([event(1), event(2)], 'it was cut');
    expect(parts.at(-1)).toEqual({
      events: [],
      gap: {
        from: '1970-01-01T00:00:02.000000000Z',
        to: expect.any(String) as string,
        lost: 0,
        dropped: 0,
        where: 'STORE',
      },
    });
    expect(missing(parts)).toMatchObject({ complete: false, uncounted: true });
    expect(missing(await replayed([], 'it was cut'))).toMatchObject({ complete: false, uncounted: true });
  });

  it('have the gaps of the recording, with and without counts', async () => {
    expect(missing(await replayed([event(1), gap(7), event(5)]))).toMatchObject({ lost: 7, uncounted: false });
    expect(missing(await replayed([event(1), gap(0), event(5)]))).toMatchObject({
      lost: 0,
      uncounted: true,
      complete: false,
    });
  });

  it('lack what a session that failed did not see any more', async () => {
    const { session, add } = await playedSession();
    add(3);
    expect(missing(await all(session))).toMatchObject({ complete: true });
    session.fail(new Error('the kernel thread has ended'));
    await session.done;
    expect(missing(await all(session))).toMatchObject({ complete: false, uncounted: true });
  });
});
