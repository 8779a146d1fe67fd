import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { callerOf, createFixture } from '../../../test/api/support.js';
import { until } from '../../../test/support/until.js';
import { emptyObservation } from '../../analysis/advice/observation.js';
import { pack, unpack } from '../../base/packed.js';
import { finish } from '../../base/turn.js';
import { packageFile } from '../../base/paths.js';
import type { Advice, Rights, SeenCall } from '../../event/advice.js';
import { AdviceThread } from './thread.js';

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
  const args = [{ index: 0, value: 2, op: 'SCMP_CMP_EQ' }] as const;
  const socket = { names: ['socket'], action: 'SCMP_ACT_ALLOW', args } as const;
  const filtered = { ...rights.seccomp, syscalls: [...rights.seccomp.syscalls, socket] };
  const { problems } = await advices.withRights(caller, recommended, { ...rights, seccomp: filtered });
  expect(problems).toContain('Arguments are filtered for socket only.');
  expect(problems).not.toContain('No arguments are filtered.');
  expect(await advices.diff(caller, one, recommended)).toEqual([]);
});

it('has the calls that threads are in, apart by the argument that tells them apart', async () => {
  const call = { ...seen, abi: 'X86_64', errors: 0 };
  const [seenOne, blocked] = [
    { ...call, name: 'ioctl', argument: 1 },
    { ...call, name: 'ioctl', argument: 2, count: 0 },
  ];
  const thread = new AdviceThread();
  try {
    const ofCalls = async (calls: readonly SeenCall[], now: readonly SeenCall[]) => {
      const observation = finish(pack({ ...emptyObservation(), calls }));
      const ask = { current: null, runtime: null, action: 'SCMP_ACT_ERRNO', tried: null } as const;
      const made = await thread.ask('recommend', { ...ask, observation, now: { ...emptyObservation(), calls: now } });
      return finish(unpack<Advice>(made)).observation.calls.map(({ argument, count }) => [argument, count]);
    };
    expect(await ofCalls([seenOne], [{ ...seenOne, count: 0 }, blocked])).toEqual([
      [1, 1],
      [2, 0],
    ]);
    expect(await ofCalls([{ ...seenOne, argument: null }], [blocked])).toEqual([[null, 1]]);
    expect(await ofCalls([{ ...seenOne, abi: null }], [{ ...seenOne, count: 0 }])).toEqual([[1, 1]]);
    expect(await ofCalls([seenOne], [{ ...seenOne, abi: 'I386', count: 0 }])).toHaveLength(2);
  } finally {
    await thread.end();
  }
});

const profile = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [] };

it.each([
  ['advice[1]', () => advices.merge(caller, [given(0, 1), { observation: { lost: 'many' } }], 'ERRNO')],
  ['advice[1]', () => advices.merge(caller, [given(0, 1), given(0, 1)], 'ERRNO')],
  ['advice', () => advices.withRights(caller, 'none', {})],
  ['rights.seccomp', () => advices.withRights(caller, given(0, 1), {})],
  [
    'rights.limits.cpus',
    () => advices.withRights(caller, given(0, 1), { seccomp: profile, limits: { cpus: Infinity } }),
  ],
  [
    'rights.seccomp.syscalls.0.args.0.valueTwo',
    () =>
      advices.withRights(caller, given(0, 1), {
        seccomp: {
          ...profile,
          syscalls: [
            {
              names: ['ioctl'],
              action: 'SCMP_ACT_ALLOW',
              args: [{ index: 1, value: 1, valueTwo: -1, op: 'SCMP_CMP_MASKED_EQ' }],
            },
          ],
        },
      }),
  ],
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

it('of a hundred pieces is made in one go: each entry is looked at once', async () => {
  const pieces = Array.from({ length: 100 }, (_, i) => given(i * 100, 100));
  const { observation } = await advices.merge(caller, pieces, 'ERRNO');
  expect(observation.paths).toHaveLength(10_000);
  expect(observation.calls).toMatchObject([{ name: 'read', count: 100 }]);
});

const asked = [{ path: 'advice', json: JSON.stringify(given(0, 1)) }];
const { signal } = new AbortController();

it('is made again once its thread has ended for want of asks', async () => {
  const thread = new AdviceThread(10);
  for (let i = 0; i < 3; i++) {
    await expect(thread.ask('read', asked, { signal })).resolves.toMatchObject({ container: containers[0]?.id });
    await until('the end of the thread', () => !thread.isStarted);
  }
  await thread.end();
});

it('is made by no thread after the end, whoever waited for a turn then', async () => {
  const thread = new AdviceThread();
  const many = [{ path: 'advice', json: JSON.stringify(given(0, 20_000)) }];
  const asks = [thread.ask('read', many, { signal }), thread.ask('read', asked, { signal })];
  const outcomes = Promise.allSettled(asks);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await thread.end();
  const refused = { status: 'rejected', reason: { code: 'SHUTTING_DOWN' } };
  expect(await outcomes).toMatchObject([refused, refused]);
  await expect(thread.ask('read', asked, { signal })).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
  expect(thread.isStarted).toBe(false);
});

it('is waited for by a process in which nothing else is open, which ends then', async () => {
  const source = `
    import { AdviceThread } from ${JSON.stringify(pathToFileURL(packageFile('build/service/advice/thread.js')).href)};
    const ask = new AdviceThread().ask('diff', { before: { path: 'before', json: 'null' } }, { signal: new AbortController().signal });
    console.log(await ask.catch(({ code }) => code));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source]);
  expect(stdout).toBe('BAD_USER_INPUT\n');
});
