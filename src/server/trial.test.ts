import { expect, it } from 'vitest';
import { createLog } from '../base/log.js';
import { loadTrackers } from '../catalog/load.js';
import type { ObjectSpec, Unloaded } from '../kernel/object.js';
import { createRuntime } from '../record/runtime.js';
import { TrackerTrials } from './trial.js';

const runtimes = await Promise.all((await loadTrackers()).map(createRuntime));
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

function trials(): { kernel: SlowKernel; status: TrackerTrials['status'] } {
  const kernel = new SlowKernel();
  const made = new TrackerTrials(kernel, runtimes, createLog('silent'));
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
