import { expect, it } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { cursorOf } from '../../src/session/cursor.js';
import { batchAt } from '../support/record.js';
import { temporaryDirectory } from '../support/store.js';
import { until } from '../support/until.js';
import { callerOf, createFixture } from './support.js';

it('a page of a running session is the same wherever its events are: in memory, in the store, or on their way there', async () => {
  const { path, remove } = await temporaryDirectory();
  const { service, services, kernel } = await createFixture({ dataDirectory: path });
  const ask = async <Data>(query: string): Promise<Data> => {
    const answer = await executeLocally(service, { query }, callerOf('admin'));
    if (isStream(answer)) throw new Error('a stream');
    expect(answer.errors).toBeUndefined();
    return answer.data as Data;
  };
  const emit = (from: number, count: number): void => {
    const { bytes, offsets } = batchAt(from, count);
    kernel.deliver({ data: Uint8Array.from(bytes).buffer, offsets });
  };
  try {
    // Memory has only the newest ones.
    const { startSession } = await ask<{ startSession: { id: string } }>(
      'mutation { startSession(input: { trackers: [{ exit: {} }], persist: {}, bufferBytes: 65536 }) { id } }',
    );
    const { id } = startSession;
    const page = async (args: string): Promise<readonly number[]> => {
      const { session } = await ask<{ session: { events: { nodes: readonly { bootNs: string }[] } } }>(
        `{ session(id: "${id}") { events(${args}) { nodes { bootNs } } } }`,
      );
      return session.events.nodes.map(({ bootNs }) => Number(bootNs));
    };
    const cursor = (event: number): string => `"${cursorOf(id, event + 1)}"`;
    for (let from = 0; from < 2700; from += 900) emit(from, 900);
    await until('some are written', async () => {
      const { session } = await ask<{ session: { persistence: { written: string } } }>(
        `{ session(id: "${id}") { persistence { written } } }`,
      );
      return session.persistence.written === '2700';
    });
    // These are not written when they are asked for: the store commits some time later.
    emit(2700, 900);
    expect(await page(`first: 3, before: ${cursor(3500)}`)).toEqual([0, 1, 2]);
    expect(await page(`first: 3, after: ${cursor(10)}, before: ${cursor(13)}`)).toEqual([11, 12]);
    expect(await page(`last: 3, before: ${cursor(3500)}`)).toEqual([3497, 3498, 3499]);
    expect(await page(`last: 3, after: ${cursor(10)}, before: ${cursor(100)}`)).toEqual([97, 98, 99]);
    expect(await page(`last: 3, after: ${cursor(3597)}`)).toEqual([3598, 3599]);
  } finally {
    await services.manager.close();
    for (const store of services.stores.values()) await store.close();
    await remove();
  }
});
