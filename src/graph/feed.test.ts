import { expect, it } from 'vitest';
import { layoutOf, packed, recordOf, type Values } from '../../test/support/record.js';
import { createLog } from '../base/log.js';
import type { Chunk } from '../kernel/protocol.js';
import type { ChunkReceiver } from '../kernel/thread.js';
import { ProcessFeed, type FeedKernel } from './feed.js';
import { ProcessTable } from './table.js';

const layout = layoutOf('lineage');
const listed = layoutOf('snapshots/process', 'process');
const [FORK, EXEC, RENAME, EXIT] = [1, 2, 3, 4];
const comm = (text: string) => Buffer.from(text.padEnd(16, '\0'));
const text = (offset: number, of: string) => (of.length << 16) | offset;

/** A kernel whose processes and steps a test decides. Its pids are beyond those that a machine can have. */
class Scene implements FeedKernel {
  readonly table = new ProcessTable(1 << 20);
  processes: readonly Values[] = [];
  lists = 0;
  closed = 0;
  whileListing: () => void = () => undefined;
  #steps: Uint8Array[] = [];
  #lost = 0;
  #take: ChunkReceiver = () => undefined;

  load: FeedKernel['load'] = async (_spec, take) => {
    this.#take = take;
    return {
      unloaded: [],
      setCapture: async () => undefined,
      setVerdicts: async () => undefined,
      setDelay: () => undefined,
      hurry: () => undefined,
      counters: async () => ({ produced: [], lost: [], skippedRuns: 0, ringPeakBytes: 0 }),
      read: async () => this.read(),
      close: async () => {
        this.closed++;
        return { produced: [], lost: [], skippedRuns: 0, ringPeakBytes: 0 };
      },
    };
  };

  snapshot: FeedKernel['snapshot'] = async () => {
    this.lists++;
    const { processes } = this;
    this.whileListing();
    const { data, offsets } = packed(processes.map((values) => recordOf(listed, { state: 2, ...values })));
    const clock = { seconds: 0, nanoseconds: 0 };
    return { data: new Uint8Array(data), offsets, clock, from: 1e9, to: 1e9, complete: true };
  };

  step(step: number, values: Values, tail = ''): void {
    this.#steps.push(recordOf(layout, { step, ...values }, Buffer.from(tail)));
  }

  lose(count: number): void {
    this.#lost += count;
  }

  read(): void {
    const { data, offsets } = packed(this.#steps.splice(0));
    const chunk: Chunk = {
      data: new Uint8Array(data),
      offsets,
      lost: this.#lost,
      clock: { seconds: 0, nanoseconds: 0 },
      readAt: 0,
      readBefore: 0,
    };
    this.#lost = 0;
    this.#take(chunk, () => undefined);
  }
}

const [INIT, SHELL, CHILD] = [6_000_001, 6_000_002, 6_000_003];

async function scene() {
  const kernel = new Scene();
  kernel.processes = [{ pid: INIT, startBootNs: 0, comm: comm('init') }];
  return { kernel, feed: await ProcessFeed.start(kernel, kernel.table, createLog('silent')) };
}

it('takes what the kernel tells when somebody reads: forks, execs, renames and ends', async () => {
  const { kernel, feed } = await scene();
  kernel.step(FORK, { pid: SHELL, startBootNs: 5, bootNs: 5, ppid: INIT, parentStartNs: 0, comm: comm('init') });
  const [path, args, cwd] = ['/bin/sh', 'sh\0-c\0', '/usr'];
  let at = layout.size;
  const put = (of: string): number => text((at += of.length) - of.length, of);
  const texts = { executable: put(path), args: put(args), cwd: put(cwd) };
  kernel.step(
    EXEC,
    {
      ...{ pid: SHELL, startBootNs: 5, bootNs: 1e6, ppid: INIT, parentStartNs: 0, uid: 7, comm: comm('sh') },
      ...{ ...texts, executableState: 1, cwdState: 1 },
    },
    path + args + cwd,
  );
  kernel.step(FORK, { pid: CHILD, startBootNs: 2e6, bootNs: 2e6, ppid: SHELL, parentStartNs: 5, comm: comm('sh') });
  kernel.step(RENAME, { pid: CHILD, startBootNs: 2e6, bootNs: 3e6, comm: comm('worker') });
  kernel.step(EXIT, { pid: SHELL, startBootNs: 5, bootNs: 4e6, exitCode: 256 });
  expect(kernel.table.find(SHELL, 5)).toBeNull();
  await feed.read();
  const child = kernel.table.find(CHILD, 2e6);
  expect(child?.at(5e6)).toMatchObject({
    comm: 'worker',
    image: { executable: '/bin/sh', args: ['sh', '-c'], cwd: '/usr' },
  });
  expect(child?.parent).toMatchObject({ pid: SHELL, exit: { atNs: 4e6, code: 256 } });
  expect(child?.parent?.at(5e6)).toMatchObject({ uid: 7, image: { executableState: 'ROOTED', argsTruncated: false } });
  expect(child?.parent?.parent?.pid).toBe(INIT);
  await feed.close();
  await feed.close();
  expect(kernel.closed).toBe(1);
});

it('lists all processes anew after a loss, before who reads is answered', async () => {
  const { kernel, feed } = await scene();
  kernel.step(FORK, { pid: SHELL, startBootNs: 5, bootNs: 5, ppid: INIT, parentStartNs: 0 });
  await feed.read();
  expect([kernel.lists, feed.lost]).toEqual([1, 0]);
  // Its end, and the fork of another one.
  kernel.lose(2);
  kernel.processes = [
    { pid: INIT, startBootNs: 0 },
    { pid: CHILD, startBootNs: 8, ppid: INIT, comm: comm('missed') },
  ];
  await feed.read();
  expect([kernel.lists, feed.lost, feed.lists]).toEqual([2, 2, 2]);
  expect(kernel.table.find(SHELL, 5)?.exit).toEqual({ atNs: null, code: null });
  expect(kernel.table.find(CHILD, 8)).toMatchObject({ exit: null, parent: { pid: INIT } });
  await feed.close();
});

it('lists again after a loss that came while it listed', async () => {
  const { kernel, feed } = await scene();
  kernel.step(FORK, { pid: SHELL, startBootNs: 5, bootNs: 5, ppid: INIT, parentStartNs: 0 });
  kernel.processes = [...kernel.processes, { pid: SHELL, startBootNs: 5, ppid: INIT }];
  kernel.lose(1);
  kernel.whileListing = () => {
    kernel.whileListing = () => undefined;
    // Listed, it ends, and the record of that is lost.
    kernel.processes = kernel.processes.filter(({ pid }) => pid !== SHELL);
    kernel.lose(1);
    kernel.read();
  };
  await feed.read();
  await feed.read();
  expect(kernel.table.find(SHELL, 5)?.exit).toEqual({ atNs: null, code: null });
  expect([feed.lost, feed.lists]).toEqual([2, 3]);
  await feed.close();
});

it('shares a reading that has not begun, and joins none that has', async () => {
  const { kernel, feed } = await scene();
  const first = feed.read();
  kernel.step(FORK, { pid: SHELL, startBootNs: 5, bootNs: 5, ppid: INIT });
  await Promise.all([feed.read(), feed.read(), first]);
  expect(kernel.table.find(SHELL, 5)).not.toBeNull();
  const before = feed.knownToNs;
  await feed.read();
  expect(feed.knownToNs).toBeGreaterThan(before);
  await feed.close();
});
