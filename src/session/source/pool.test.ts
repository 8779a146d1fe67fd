import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Chunk, SourceCounters, SourceSpec } from '../../kernel/protocol.js';
import type { ChunkReceiver } from '../../kernel/thread.js';
import { SourcePool, type SessionKernel } from './pool.js';

const chunkOf = (events: number): Chunk => ({
  data: new Uint8Array(8),
  offsets: new Uint32Array(events),
  lost: 0,
  clock: { seconds: 0, nanoseconds: 0 },
  readAt: 2,
  readBefore: 1,
});
const counters: SourceCounters = { produced: [5], lost: [0], skippedRuns: 3, ringPeakBytes: 0 };

/** A source that replies to nothing before it is told to, and to nothing that it is asked behind its close. */
function heldKernel(): { readonly kernel: SessionKernel; reply(): Promise<void>; send(events: number): void } {
  const waiting: (() => void)[] = [];
  let receiver: ChunkReceiver = () => null;
  let isClosed = false;
  const ask = <Reply>(reply: Reply) =>
    isClosed
      ? Promise.reject(new Error('the source is closed'))
      : new Promise<Reply>((resolve) => waiting.push(() => resolve(reply)));
  return {
    kernel: {
      onDeath: () => {},
      load: (_spec, onChunk) => {
        receiver = onChunk;
        return Promise.resolve({
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
        });
      },
    },
    send: (events) => void receiver(chunkOf(events), () => undefined),
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

it('counts for one that leaves what it was given, and not what others have of a chunk that is still handed round', async () => {
  const { kernel, reply, send } = heldKernel();
  const pool = new SourcePool(kernel);
  let letGo = (): void => undefined;
  const slow = new Promise<void>((resolve) => (letGo = resolve));
  const given = { first: 0, second: 0 };
  const first = await pool.join('key', spec, [], ({ offsets }) => {
    given.first += offsets.length;
    return given.first > 3 ? slow : null;
  });
  const joining = pool.join('key', spec, [], ({ offsets }) => void (given.second += offsets.length));
  await turn();
  await reply();
  const second = await joining;
  send(3);
  const leaving = second.close();
  send(4); // the first one takes its time over it
  await reply();
  expect(await leaving).toMatchObject({ produced: given.second, lost: 0 });
  letGo();
  await turn();
  expect(given).toEqual({ first: 7, second: 3 });
  const last = first.close();
  await reply();
  await last;
});
