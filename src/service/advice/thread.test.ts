import { afterAll, expect, it } from 'vitest';
import { callerOf, createFixture } from '../../../test/api/support.js';
import { emptyObservation } from '../../analysis/advice/observation.js';
import type { Rights } from '../../event/advice.js';

const fixture = await createFixture();
const { advices } = fixture.service;
const caller = callerOf('viewer');
afterAll(async () => {
  await fixture.service.end();
  await fixture.services.manager.close();
});

const seen = { comms: ['x'], first: '2026-01-01T00:00:00Z', last: '2026-01-01T00:00:01Z', count: 1, runtime: false };
const containers = [{ id: 'a'.repeat(64), name: 'web', image: null, started: null }];
const given = (from: number, count: number) => ({
  observation: {
    ...emptyObservation(),
    containers,
    paths: Array.from({ length: count }, (_, i) => ({
      ...seen,
      path: `/var/lib/app/${i % 50}/${from + i}`,
      access: 'WRITE',
    })),
    calls: [{ ...seen, name: 'read', abi: null, errors: 0 }],
  },
});

/** How often the event loop goes round meanwhile: others are served in each round. */
async function roundsOf(work: Promise<unknown>): Promise<number> {
  let rounds = 0;
  let going = true;
  const next = (): void => {
    rounds += 1;
    if (going) setImmediate(next);
  };
  setImmediate(next);
  await work.finally(() => (going = false));
  return rounds;
}

it('advice of tens of thousands of paths lets others be served meanwhile', async () => {
  const made = advices.merge(caller, [given(0, 10_000), given(10_000, 10_000)], 'ERRNO');
  expect(await roundsOf(made)).toBeGreaterThan(50);
  const advice = await made;
  expect(advice.observation.paths).toHaveLength(20_000);
  const files = advices.files(caller, advice);
  expect(await roundsOf(Promise.resolve(files))).toBeGreaterThan(50);
  const json = (await files).find(({ name }) => name === 'advice.json');
  expect(JSON.parse(json?.content ?? '')).toEqual(JSON.parse(JSON.stringify(advice)));
}, 60_000);

it('comes back with the rights that were tried, and what differs', async () => {
  const [one, other] = [given(0, 3), given(3, 3)];
  const recommended = await advices.merge(caller, [one, other], 'ERRNO');
  const rights: Rights = { ...recommended.rights, capabilities: ['CAP_CHOWN'] };
  const tried = await advices.withRights(caller, recommended, rights);
  expect(tried.rights).toEqual(rights);
  expect(tried.problems.join()).toContain('capability CAP_CHOWN (added)');
  expect(await advices.diff(caller, one, recommended)).toEqual([]);
});

it.each([
  ['advice[1]', () => advices.merge(caller, [given(0, 1), { observation: { lost: 'many' } }], 'ERRNO')],
  ['advice[1]', () => advices.merge(caller, [given(0, 1), given(0, 1)], 'ERRNO')],
  ['advice', () => advices.withRights(caller, 'none', {})],
  ['rights.seccomp', () => advices.withRights(caller, given(0, 1), {})],
  ['after', () => advices.diff(caller, given(0, 1), null)],
])('refuses what is wrong by the place of it: %s', async (argument, ask) => {
  await expect(ask()).rejects.toMatchObject({ code: 'BAD_USER_INPUT', details: { argument } });
});

it('of a client that has gone is not made, and that of others is', async () => {
  const gone = new AbortController();
  const first = advices.merge(caller, [given(0, 2000), given(2000, 2000)], 'ERRNO');
  const left = advices.merge({ ...caller, signal: gone.signal }, [given(0, 1), given(1, 1)], 'ERRNO');
  const last = advices.merge(caller, [given(0, 1), given(1, 1)], 'ERRNO');
  gone.abort(new Error('gone'));
  await expect(left).rejects.toThrow('gone');
  expect((await first).observation.paths).toHaveLength(4000);
  expect((await last).observation.paths).toHaveLength(2);
});

it('is made again once the thread was ended', async () => {
  const under = advices.merge(caller, [given(0, 2000), given(2000, 2000)], 'ERRNO');
  await new Promise((resolve) => setTimeout(resolve, 5));
  await Promise.all([advices.end(), expect(under).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })]);
  expect((await advices.merge(caller, [given(0, 1), given(1, 1)], 'ERRNO')).observation.paths).toHaveLength(2);
});
