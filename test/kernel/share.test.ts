import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { heldPrograms } from '../support/bpf.js';
import { createHarness, type Harness } from '../support/session.js';
import { specOf } from '../support/spec.js';

let harness: Harness;
beforeAll(async () => {
  harness = await createHarness();
});
afterAll(() => harness.close());

const spec = (more = {}) =>
  specOf(
    [{ name: 'open', options: {} }],
    { capture: 'DEMANDED', ...more },
    { pids: [process.pid], descendants: false },
  );

/** How many programs of the tracker this process holds. */
const loaded = () => heldPrograms().filter((name) => name === 'open_exit').length;

const open = (path: string) => readFile(path).catch(() => undefined);

describe('sessions with an equal kernel configuration', () => {
  it('share one loaded program, and each counts exactly what happened since it joined', async () => {
    const first = await harness.manager.start(spec());
    for (let i = 0; i < 10; i++) await open('/no/such/first');
    const rest = await Promise.all(Array.from({ length: 9 }, () => harness.manager.start(spec())));
    expect(loaded()).toBe(1);
    for (let i = 0; i < 10; i++) await open('/no/such/both');
    const left = rest.slice(0, 4);
    await Promise.all(left.map((session) => session.stop('REQUESTED')));
    for (let i = 0; i < 10; i++) await open('/no/such/late');
    const stayed = [first, ...rest.slice(4)];
    await Promise.all(stayed.map((session) => session.stop('REQUESTED')));
    expect(loaded()).toBe(0);
    for (const session of [...stayed, ...left]) {
      expect([session.state, session.stopReason, session.error]).toEqual(['STOPPED', 'REQUESTED', null]);
      const { produced, lost, received, discarded, delivered, queued } = await session.stats();
      expect(produced).toBe(lost + received);
      expect(received).toBe(discarded + delivered + queued);
    }
    expect((await first.stats()).received).toBeGreaterThanOrEqual(30);
    for (const session of left) expect((await session.stats()).received).toBeLessThan((await first.stats()).received);
    for (const session of [...stayed, ...left]) await harness.manager.remove(session.id);
  });

  it('capture what any of them asks for, and no more once it has left', async () => {
    const plain = await harness.manager.start(spec());
    const asking = await harness.manager.start(spec({ fields: ['path'] }));
    await open('/no/such/while-asked');
    await asking.stop('REQUESTED');
    await open('/no/such/after');
    await plain.stop('REQUESTED');
    const paths = plain.page({ first: 1000 }).events.map((event) => Reflect.get(event, 'path') as unknown);
    expect(paths).toContain('/no/such/while-asked');
    expect(paths).not.toContain('/no/such/after');
    expect(paths.at(-1)).toBeNull();
    for (const session of [plain, asking]) await harness.manager.remove(session.id);
  });

  it('do not share when an option, the target or the ring differs', async () => {
    const sessions = await Promise.all([
      harness.manager.start(spec()),
      harness.manager.start(spec({ ringBytes: 1 << 20 })),
      harness.manager.start(
        specOf([{ name: 'open', options: { failedOnly: true } }], {}, { pids: [process.pid], descendants: false }),
      ),
      harness.manager.start(specOf([{ name: 'open', options: {} }], {}, { uids: [12345] })),
    ]);
    expect(loaded()).toBe(4);
    for (const session of sessions) await harness.manager.remove(session.id);
  });

  it('load anew when one comes while the last one leaves', async () => {
    for (let round = 0; round < 10; round++) {
      const leaving = await harness.manager.start(spec());
      const [, coming] = await Promise.all([
        leaving.stop('REQUESTED'),
        harness.manager.start(spec({ fields: ['path'] })),
      ]);
      await open(`/no/such/${round}`);
      await coming.stop('REQUESTED');
      expect(coming.page({ first: 1000 }).events.map((event) => Reflect.get(event, 'path') as unknown)).toContain(
        `/no/such/${round}`,
      );
      for (const session of [leaving, coming]) await harness.manager.remove(session.id);
    }
  });
});
