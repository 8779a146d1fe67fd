import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { SourceCounters, SourceSpec } from '../../kernel/protocol.js';
import { SourcePool, type SessionKernel } from './pool.js';

const counters: SourceCounters = { produced: [5], lost: [0], skippedRuns: 3, ringPeakBytes: 0 };

/** A source that replies to nothing before it is told to, and to nothing that it is asked behind its close. */
function heldKernel(): { readonly kernel: SessionKernel; reply(): Promise<void> } {
  const waiting: (() => void)[] = [];
  let isClosed = false;
  const ask = <Reply>(reply: Reply) =>
    isClosed
      ? Promise.reject(new Error('the source is closed'))
      : new Promise<Reply>((resolve) => waiting.push(() => resolve(reply)));
  return {
    kernel: {
      onDeath: () => {},
      load: () =>
        Promise.resolve({
          unloaded: [],
          setCapture: () => Promise.resolve(),
          setVerdicts: () => Promise.resolve(),
          setDelay: () => {},
          hurry: () => {},
          counters: () => ask(counters),
          read: () => ask(undefined),
          close: () => {
            const closed = ask(counters);
            isClosed = true;
            return closed;
          },
        }),
    },
    async reply() {
      while (waiting.length) {
        for (const one of waiting.splice(0)) one();
        await turn();
      }
    },
  };
}

const spec: SourceSpec = {
  ringBytes: 4096,
  delayMs: 0,
  filter: { cgroups: null, pids: null, descendants: false, uids: null, comms: null },
  objects: [],
};

it('gives one that leaves its counts also when the last one leaves before they are read', async () => {
  const { kernel, reply } = heldKernel();
  const pool = new SourcePool(kernel);
  const first = await pool.join('key', spec, [], () => {});
  const joining = pool.join('key', spec, [], () => {});
  await turn();
  await reply();
  const second = await joining;
  const left = Promise.all([first.close(), second.close()]);
  await reply();
  expect((await left).map(({ skippedRuns }) => skippedRuns)).toEqual([3, 0]);
});
