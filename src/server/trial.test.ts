import { expect, it, vi } from 'vitest';
import { EunomiaError, KernelError } from '../base/errors.js';
import { createLog } from '../base/log.js';
import { loadTrackers } from '../catalog/load.js';
import type { ObjectSpec, Unloaded } from '../kernel/object-spec.js';
import { createRuntime } from '../record/runtime.js';
import open from '../trackers/open.js';
import { TrackerTrials } from './trial.js';

const runtimes = (await loadTrackers()).map(createRuntime);
const names = runtimes.map(({ definition }) => definition.name);

/** A kernel whose loads the test ends, one by one. */
class SlowKernel {
  readonly asked: string[] = [];
  readonly #ends: ((result: Unloaded | Error) => void)[] = [];

  tryLoad({ name }: ObjectSpec): Promise<Unloaded> {
    this.asked.push(name);
    return new Promise((resolve, reject) =>
      this.#ends.push((result) => (result instanceof Error ? reject(result) : resolve(result))),
    );
  }

  async end(result: Unloaded | Error = { missing: [], refused: [] }): Promise<void> {
    this.#ends.shift()?.(result);
    await new Promise(setImmediate);
  }
}

function trials(held: ReadonlySet<string> = new Set(['CAP_SYS_ADMIN'])): {
  kernel: SlowKernel;
  status: TrackerTrials['status'];
} {
  const kernel = new SlowKernel();
  const made = new TrackerTrials(kernel, runtimes, createLog('silent'), held);
  return { kernel, status: (name) => made.status(name) };
}

it('loads a tracker once, when it is first asked for', async () => {
  const { kernel, status } = trials();
  await new Promise(setImmediate);
  expect(kernel.asked).toEqual([]);
  const both = Promise.all([status('open'), status('open')]);
  await new Promise(setImmediate);
  await kernel.end();
  const [open, again] = await both;
  expect(open).toMatchObject({ available: true, reason: null });
  expect(open.hooks.length).toBeGreaterThan(0);
  expect(again).toBe(open);
  expect(await status('open')).toBe(open);
  expect(kernel.asked).toEqual(['open']);
});

it('says why where the object of a tracker is not there, and the others are as before', async () => {
  const broken = createRuntime({ ...open, name: 'missing' });
  const made = new TrackerTrials(
    { tryLoad: () => Promise.reject(new Error('no such object')) },
    [broken],
    createLog('silent'),
    new Set(['CAP_SYS_ADMIN']),
  );
  expect(await made.status('missing')).toMatchObject({ available: false, reason: 'no such object', hooks: [] });
  expect(() => broken.layout).toThrow(expect.objectContaining({ code: 'BAD_OBJECT' }) as Error);
});

it('loads two at a time, so that sessions get their turn', async () => {
  const { kernel, status } = trials();
  const all = Promise.all(names.map(status));
  for (const i of names.keys()) {
    await new Promise(setImmediate);
    expect(kernel.asked).toEqual(names.slice(0, Math.min(i + 2, names.length)));
    await kernel.end();
  }
  expect((await all).every(({ available }) => available)).toBe(true);
});

it('tells why a tracker cannot run, and goes on with the others', async () => {
  const { kernel, status } = trials();
  const [first = '', second = '', third = ''] = names;
  const all = Promise.all([first, second, third].map(status));
  await new Promise(setImmediate);
  await kernel.end(new Error('loading it: EPERM'));
  await kernel.end();
  await kernel.end();
  expect(await all).toMatchObject([
    { available: false, reason: 'loading it: EPERM' },
    { available: true, reason: null },
    { available: true, reason: null },
  ]);
  expect(await status('no-such')).toMatchObject({ available: false, reason: 'there is no such tracker' });
});

it('tries again later what failed for a reason that may pass, and nothing else', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  try {
    const { kernel, status } = trials();
    const outcomes = [
      new KernelError('loading it', 'EMFILE', ''),
      new EunomiaError('NO_CGROUP_ROOT', 'no cgroup v2 hierarchy is mounted'),
      new KernelError('loading it', 'EINVAL', ''),
    ];
    const [first = '', second = '', third = ''] = names;
    const tried = Promise.all([first, second, third].map(status));
    await new Promise(setImmediate);
    for (const outcome of outcomes) await kernel.end(outcome);
    expect((await tried).map(({ available }) => available)).toEqual([false, false, false]);
    expect((await status(first)).reason).toBe('loading it: EMFILE');
    expect(kernel.asked).toEqual([first, second, third]);

    vi.advanceTimersByTime(30_000);
    const again = Promise.all([first, second, third].map(status));
    await new Promise(setImmediate);
    await kernel.end();
    await kernel.end();
    expect((await again).map(({ available }) => available)).toEqual([true, true, false]);
    expect(kernel.asked).toEqual([first, second, third, first, second]);
  } finally {
    vi.useRealTimers();
  }
});

it('tells which capability a tracker lacks, which the kernel does not say', async () => {
  const refused = new Error('loading it: EPERM');
  const { kernel, status } = trials(new Set(['CAP_BPF', 'CAP_PERFMON']));
  const [exec, dns] = [status('exec'), status('dns')];
  await new Promise(setImmediate);
  await kernel.end();
  await new Promise(setImmediate);
  await kernel.end(refused);
  expect(await exec).toMatchObject({
    available: true,
    capabilities: ['CAP_BPF', 'CAP_PERFMON'],
    missingCapabilities: [],
  });
  expect(await dns).toMatchObject({
    available: false,
    reason: expect.stringMatching(/^this process lacks CAP_NET_ADMIN, which cgroup\/connect4, .* need$/) as string,
    capabilities: ['CAP_BPF', 'CAP_PERFMON', 'CAP_NET_ADMIN'],
    missingCapabilities: ['CAP_NET_ADMIN'],
  });
});
