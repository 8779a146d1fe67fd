import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../test/support/until.js';
import { Channel, type ChannelOptions } from './channel.js';
import { EunomiaError } from './errors.js';
import { packageFile } from './paths.js';
import { Turns } from './turn.js';

type Talk = {
  asks: {
    /** Replies after so many others were asked. */
    double: { ask: { number: number; afterMs?: number }; reply: number };
    fill: { ask: { bytes: ArrayBuffer }; reply: number };
    fail: { ask: { as: 'ours' | 'kernel' | 'other' }; reply: null };
    never: { ask: object; reply: null };
    throw: { ask: object; reply: null };
    exit: { ask: object; reply: null };
    /** Its thread does nothing else from now on. */
    spin: { ask: object; reply: null };
    say: { ask: { notes: number }; reply: number };
    raw: { ask: { message: unknown }; reply: null };
    thread: { ask: object; reply: number };
    posted: { ask: object; reply: readonly string[] };
  };
  posts: { text: string };
  notes: { number: number };
};

const source = `
import { parentPort, threadId, workerData } from 'node:worker_threads';
import { serveChannel } from ${JSON.stringify(pathToFileURL(packageFile('build/base/channel.js')).href)};
import { EunomiaError, KernelError } from ${JSON.stringify(pathToFileURL(packageFile('build/base/errors.js')).href)};
const posted = [];
if (workerData) process.on('exit', () => Atomics.store(workerData, 0, 1)); // not of a thread that is terminated
const note = serveChannel(parentPort, {
  asks: {
    double: ({ number, afterMs = 0 }) => new Promise((resolve) => setTimeout(resolve, afterMs, number * 2)),
    fill: ({ bytes }) => bytes.byteLength,
    fail: ({ as }) => {
      if (as === 'ours') throw new EunomiaError('BAD_OBJECT', 'the object is bad');
      if (as === 'kernel') throw new KernelError('loading x', 'EPERM', 'needs CAP_BPF', 'the log');
      throw new RangeError('something');
    },
    never: () => new Promise(() => {}),
    throw: () => { setImmediate(() => { throw new Error('a fault of the thread'); }); return new Promise(() => {}); },
    exit: () => { process.exit(3); },
    spin: () => { setImmediate(() => { for (;;); }); return null; },
    say: ({ notes }) => { for (let i = 0; i < notes; i++) note('number', i); return notes; },
    raw: ({ message }) => { parentPort.postMessage(message); return new Promise(() => {}); },
    thread: () => threadId,
    posted: () => posted,
  },
  posts: { text: (text) => { posted.push(text); } },
}, { code: 'STORE_UNAVAILABLE', inOrder: IN_ORDER });
`;

let folder = '';
const channels: Channel<Talk>[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'eunomia-channel-'));
  writeFileSync(join(folder, 'worker.mjs'), source.replace('IN_ORDER', 'false'));
  writeFileSync(join(folder, 'ordered.mjs'), source.replace('IN_ORDER', 'true'));
});
afterEach(async () => {
  for (const channel of channels.splice(0)) await channel.end(new Error('the test is over'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function open(options: Partial<ChannelOptions<Talk>> = {}, entry = 'worker'): Channel<Talk> {
  const channel = new Channel<Talk>({
    file: join(folder, `${entry}.mjs`),
    notes: { number: () => {} },
    died: (cause) => new EunomiaError('KERNEL_THREAD_ENDED', `it has ended${cause ? `: ${cause.message}` : ''}`),
    ...options,
  });
  channels.push(channel);
  return channel;
}

const ended = expect.objectContaining({ code: 'KERNEL_THREAD_ENDED' }) as Error;

describe('a channel', () => {
  it('matches replies to asks, whatever their order', async () => {
    const channel = open();
    const slow = channel.ask('double', { number: 1, afterMs: 50 });
    const fast = channel.ask('double', { number: 2 });
    expect(await Promise.race([slow, fast])).toBe(4);
    expect(await slow).toBe(2);
    expect(channel.waiting).toBe(0);
  });

  it('handles asks one after the other where they are in order', async () => {
    const channel = open({}, 'ordered');
    const order: number[] = [];
    await Promise.all(
      [30, 0, 10].map(async (afterMs, i) => {
        await channel.ask('double', { number: i, afterMs });
        order.push(i);
      }),
    );
    expect(order).toEqual([0, 1, 2]);
  });

  it('lets its thread end by itself, so that nothing of it is under way any more', async () => {
    const leftByItself = new Int32Array(new SharedArrayBuffer(4));
    const channel = open({ worker: { workerData: leftByItself } });
    expect(await channel.ask('double', { number: 1 })).toBe(2);
    await channel.end(new Error('it is over'));
    expect(Atomics.load(leftByItself, 0)).toBe(1);
    await channel.end(new Error('again'));
    expect(channel.dead?.message).toBe('it is over');
  });

  it('terminates a thread that does not end when asked to', async () => {
    const leftByItself = new Int32Array(new SharedArrayBuffer(4));
    const channel = open({ worker: { workerData: leftByItself } });
    await channel.ask('spin', {});
    await channel.end(new Error('it is over'));
    expect(Atomics.load(leftByItself, 0)).toBe(0);
  });

  it('moves what is to be transferred', async () => {
    const bytes = new ArrayBuffer(4096);
    expect(await open().ask('fill', { bytes }, [bytes])).toBe(4096);
    expect(bytes.byteLength).toBe(0);
  });

  it('rejects what cannot be cloned, and waits for nothing then', async () => {
    const channel = open();
    await expect(channel.ask('raw', { message: () => {} })).rejects.toThrow(/could not be cloned/);
    expect(channel.waiting).toBe(0);
    expect(await channel.ask('double', { number: 4 })).toBe(8);
  });

  it('gives the errors of the other end as what they were', async () => {
    const channel = open();
    await expect(channel.ask('fail', { as: 'ours' })).rejects.toMatchObject({
      name: 'EunomiaError',
      code: 'BAD_OBJECT',
      message: 'the object is bad',
    });
    await expect(channel.ask('fail', { as: 'kernel' })).rejects.toMatchObject({
      name: 'KernelError',
      operation: 'loading x',
      errno: 'EPERM',
      hint: 'needs CAP_BPF',
      verifierLog: 'the log',
    });
    await expect(channel.ask('fail', { as: 'other' })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: 'something',
    });
  });

  it('posts in order, before what is asked later', async () => {
    const channel = open();
    channel.post('text', 'a');
    channel.post('text', 'b');
    expect(await channel.ask('posted', {})).toEqual(['a', 'b']);
  });

  it('takes notes in order, and a reply behind the notes before it, also when these take their time', async () => {
    const taken: number[] = [];
    const channel = open({
      turns: new Turns(0),
      notes: {
        number: async (number) => {
          await new Promise((resolve) => setImmediate(resolve));
          taken.push(number);
        },
      },
    });
    expect(await channel.ask('say', { notes: 5 })).toBe(5);
    expect(taken).toEqual([0, 1, 2, 3, 4]);
  });
});

describe('a thread that dies', () => {
  it.each([
    ['throws', 'throw', /it has ended: a fault of the thread/],
    ['exits', 'exit', /^it has ended$/],
  ] as const)('and %s rejects all that was asked, once, and what is asked later', async (_how, kind, message) => {
    const deaths: Error[] = [];
    const channel = open({ onDeath: (error) => deaths.push(error) });
    const asked = [channel.ask('never', {}), channel.ask('never', {}), channel.ask(kind, {})];
    for (const one of await Promise.allSettled(asked))
      expect(one).toMatchObject({ status: 'rejected', reason: { message: expect.stringMatching(message) as string } });
    expect(deaths).toEqual([ended]);
    expect(channel.dead).toBe(deaths[0]);
    await expect(channel.ask('double', { number: 1 })).rejects.toBe(deaths[0]);
    expect(() => channel.post('text', 'late')).toThrow(ended);
    expect(channel.waiting).toBe(0);
  });

  it('is dead also while a note that came before its end is never done with', async () => {
    let began = false;
    const channel = open({
      notes: {
        number: () => {
          began = true;
          return new Promise<void>(() => {});
        },
      },
    });
    const said = channel.ask('say', { notes: 1 });
    await until('the note is taken', () => began);
    const exit = channel.ask('exit', {});
    await expect(exit).rejects.toThrow(ended);
    await expect(said).rejects.toThrow(ended);
  });

  it.each([
    ['nothing', null],
    ['a text', 'hello'],
    ['an unknown type', { type: 'ended', cause: null }],
    ['an unknown note', { type: 'note', kind: 'toString', body: 1 }],
    ['the reply to what was never asked', { type: 'reply', id: 4711, body: 1 }],
    ['a refusal without a reason', { type: 'refusal', id: 1 }],
  ])('ends when it sends %s', async (_what, message) => {
    await expect(open().ask('raw', { message })).rejects.toThrow(
      'it has ended: it sent what its channel does not know',
    );
  });
});

describe('the end of a channel', () => {
  it('rejects what was asked with its own error, tells of no death, and may be repeated', async () => {
    let deaths = 0;
    const channel = open({ onDeath: () => deaths++ });
    await channel.ask('double', { number: 1 });
    const asked = channel.ask('never', {});
    const closed = new Error('it is closed');
    const ending = channel.end(closed);
    await expect(asked).rejects.toBe(closed);
    await ending;
    await channel.end(new Error('again'));
    await expect(channel.ask('double', { number: 1 })).rejects.toBe(closed);
    expect(deaths).toBe(0);
  });
});

describe('a channel that starts its thread again', () => {
  it('starts it with the first message, and anew after its end; what was asked before is not asked again', async () => {
    const started: number[] = [];
    const channel = open({ restartAfterMs: 0, started: (worker) => started.push(worker.threadId) });
    expect(started).toEqual([]);
    const first = await channel.ask('thread', {});
    await expect(channel.ask('exit', {})).rejects.toThrow(ended);
    expect(await channel.ask('thread', {})).not.toBe(first);
    expect(started).toHaveLength(2);
    expect(await channel.ask('posted', {})).toEqual([]);
  });

  it('rejects until it is time', async () => {
    const channel = open({ restartAfterMs: 3_600_000 });
    await channel.ask('thread', {});
    await expect(channel.ask('exit', {})).rejects.toThrow(ended);
    await expect(channel.ask('thread', {})).rejects.toThrow(ended);
    expect(() => channel.post('text', 'early')).toThrow(ended);
  });

  it('does not start it after the end of the channel', async () => {
    const started: number[] = [];
    const channel = open({ restartAfterMs: 0, started: (worker) => started.push(worker.threadId) });
    await channel.end(new Error('it is closed'));
    await expect(channel.ask('thread', {})).rejects.toThrow('it is closed');
    expect(started).toEqual([]);
  });
});
