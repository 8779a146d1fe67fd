import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { SourceSpec } from '../../src/kernel/protocol.js';
import { objectPath } from '../../src/base/paths.js';
import { uring } from '../../src/tracker/uring.js';
import { KernelThread } from '../../src/kernel/thread.js';
import { heldIds, heldPrograms, released } from '../support/bpf.js';
import { createHarness, harness, startTracker, type Harness } from '../support/session.js';
import { specOf } from '../support/spec.js';
import { compileBpf, work, workloadPath } from '../support/workload.js';
import { until } from '../support/until.js';

const object = (name: string) => ({
  name,
  path: objectPath(`trackers/${name}`),
  constants: {},
  unneeded: [],
  capture: ~0n & 0xffffffffffffffffn,
  ...(name === 'open' ? { optional: uring(name) } : {}),
});
const filter: SourceSpec['filter'] = { cgroups: null, pids: [process.pid], descendants: true, uids: null, comms: null };
const mine = { pids: [process.pid] };
const spec = (...names: string[]): SourceSpec => ({
  ringBytes: 1 << 20,
  delayMs: 0,
  filter,
  objects: names.map(object),
});

const threads: KernelThread[] = [];
function thread(): KernelThread {
  const made = new KernelThread();
  threads.push(made);
  return made;
}

afterEach(async () => {
  for (const made of threads.splice(0)) await made.close();
});

describe('the kernel thread', () => {
  it('counts exactly, by what it sent and by what the kernel counted: produced = lost + received', async () => {
    const kernel = thread();
    await workloadPath();
    let [received, lost] = [0, 0];
    const source = await kernel.load({ ...spec('open'), ringBytes: 65536 }, (chunk) => {
      received += chunk.offsets.length;
      lost += chunk.lost;
    });
    await work('burst', '/no/thread', 40_000, 4);
    const { produced, lost: counted } = await source.close();
    expect(counted[0]).toBeGreaterThan(0);
    expect(lost).toBe(counted[0]);
    expect(produced[0]).toBe(lost + received);
    expect(produced[0]).toBeGreaterThanOrEqual(160_000);
  });

  it('hands over the first event after a silence at once, and gathers those behind it for as long as they may wait', async () => {
    const kernel = thread();
    await workloadPath();
    let [chunks, received] = [0, 0];
    const source = await kernel.load({ ...spec('open'), delayMs: 60_000 }, ({ offsets }) => {
      chunks++;
      received += offsets.length;
    });
    await work('burst', '/no/first', 1, 1);
    await until('the first', () => received > 0);
    for (let i = 0; i < 10; i++) await work('burst', '/no/gathered', 5, 1);
    const { produced } = await source.counters();
    expect(received).toBeGreaterThanOrEqual(produced[0] ?? 0);
    expect(received).toBeGreaterThan(50);
    // The first, the rest, and one more where the minute was over meanwhile.
    expect(chunks).toBeLessThanOrEqual(3);
    source.setDelay(0);
    const before = chunks;
    for (let i = 1; i <= 10; i++) {
      const had = received;
      await work('burst', '/no/at-once', 5, 1);
      await until('those of a reader that wants each at once', () => received >= had + 5);
    }
    expect(chunks - before).toBeGreaterThanOrEqual(10);
    await source.close();
  });

  it('hands over what waits, or else the next event, to somebody who begins to read', async () => {
    const kernel = thread();
    await workloadPath();
    let received = 0;
    const source = await kernel.load({ ...spec('open'), delayMs: 600_000 }, ({ offsets }) => {
      received += offsets.length;
    });
    await work('burst', '/no/first', 1, 1);
    await until('the first', () => received > 0);
    for (let i = 0; i < 3; i++) {
      const had = received;
      await work('burst', '/no/waiting', 5, 1);
      source.hurry();
      await until('those that wait', () => received >= had + 5);
    }
    const had = received;
    source.hurry();
    await work('burst', '/no/next', 5, 1);
    await until('the next', () => received > had);
    await source.close();
  });

  it('reads a ring that fills before its events have waited so long: nothing is lost', async () => {
    const kernel = thread();
    await workloadPath();
    const ringBytes = 4 << 20;
    let [bytes, received, lost] = [0, 0, 0];
    const source = await kernel.load({ ...spec('open'), ringBytes, delayMs: 60_000 }, (chunk) => {
      bytes += chunk.data.byteLength;
      received += chunk.offsets.length;
      lost += chunk.lost;
    });
    for (let i = 1; i <= 5; i++) {
      await work('burst', '/no/fills', 10_000, 1);
      // All but what may wait.
      await until('the ring is read', () => received >= i * 10_000 - 2_000);
    }
    const { produced } = await source.close();
    expect(lost).toBe(0);
    expect(received).toBe(produced[0]);
    expect(bytes).toBeGreaterThan(ringBytes);
  });

  it('counts each object of a ring by itself', async () => {
    const kernel = thread();
    const seen = [0, 0];
    const source = await kernel.load(spec('open', 'exit'), ({ data, offsets }) => {
      const view = new DataView(data.buffer);
      for (const at of offsets) {
        const tracker = view.getUint16(at + 48, true);
        seen[tracker] = (seen[tracker] ?? 0) + 1;
      }
    });
    await work('burst', '/no/objects', 50, 3);
    const { produced, lost } = await source.close();
    expect(lost).toEqual([0, 0]);
    expect(produced).toEqual(seen);
    expect(produced[1]).toBeGreaterThanOrEqual(4); // three children and their parent
  });

  it('leaves nothing of a closed source, and all of the other', async () => {
    const kernel = thread();
    const first = await kernel.load(spec('open'), () => {});
    const ids = heldIds();
    const second = await kernel.load(spec('exec', 'exit'), () => {});
    // Which of open's programs for io_uring are loaded depends on the kernel.
    expect(heldPrograms().filter((name) => !/^open_(submit|complete|overflow|skip)/.test(name))).toEqual([
      'exec_done',
      'exec_failed',
      'follow_exit',
      'follow_exit',
      'follow_fork',
      'follow_fork',
      'open_exit',
      'process_exit',
    ]);
    await first.close();
    await released(ids);
    expect(heldPrograms()).toEqual(['exec_done', 'exec_failed', 'follow_exit', 'follow_fork', 'process_exit']);
    const rest = heldIds();
    await second.close();
    await released(rest);
    expect(await first.close()).toMatchObject({ produced: [], lost: [] }); // again: nothing to do
  });

  it('leaves nothing when one of several objects is rejected', async () => {
    const kernel = thread();
    const path = await compileBpf(
      'rejected',
      `
      #include "eunomia.bpf.h"
      struct rejected_event { struct eu_header header; };
      EU_EVENT(rejected);
      SEC("tp_btf/sched_process_exec") int BPF_PROG(wild, struct task_struct *task) {
        struct rejected_event *e = eu_reserve(struct rejected_event);
        if (e) { e->header.pid = *(volatile int *)(long)task->pid; eu_submit(e); }
        return 0;
      }
      char LICENSE[] SEC("license") = "Dual BSD/GPL";`,
    );
    const before = heldIds();
    const bad = { name: 'rejected', path, constants: {}, unneeded: [], capture: 0n };
    await expect(kernel.load({ ...spec('open'), objects: [object('open'), bad] }, () => {})).rejects.toMatchObject({
      name: 'KernelError',
      code: 'KERNEL_ERROR',
      operation: 'loading rejected.bpf.o, program wild',
      errno: expect.stringMatching(/^E(ACCES|INVAL)$/) as string,
      verifierLog: expect.stringContaining('invalid mem access') as string,
    });
    expect(heldIds()).toEqual(before);
    await expect(kernel.tryLoad(bad)).rejects.toMatchObject({ operation: 'loading rejected.bpf.o, program wild' });
    // The thread goes on.
    await (await kernel.load(spec('exit'), () => {})).close();
  });

  it('probes what the kernel can', async () => {
    const features = new Map((await thread().probe()).map((feature) => [feature.name, feature]));
    const names = [
      'btf',
      'ringbuf',
      'raw_tracepoint',
      'task_btf',
      'bpf_loop',
      'cgroup_skb',
      'perf_event',
      'cgroup_root',
    ];
    for (const name of names) {
      expect(features.get(name)).toEqual({ name, available: true, reason: null });
    }
  });

  it('closes all its sources when it is closed', async () => {
    const kernel = thread();
    await kernel.load(spec('open'), () => {});
    await kernel.load(spec('exit'), () => {});
    const ids = heldIds();
    await kernel.close();
    await kernel.close();
    await released(ids);
    await expect(kernel.load(spec('open'), () => {})).rejects.toMatchObject({ code: 'KERNEL_THREAD_ENDED' });
  });
});

describe('sessions', () => {
  it('run side by side on the same hook, each with its own count', async () => {
    const [one, two] = [await startTracker('exit', mine), await startTracker('exit', mine)];
    const pids = [(await work('exit', 1)).pid, (await work('exit', 2)).pid];
    for (const pid of pids) for (const session of [one, two]) await session.next((e) => e.process.pid === pid);
    await one.stop();
    const later = await work('exit', 3);
    await two.next((e) => e.process.pid === later.pid);
    expect(one.events.some((e) => e.process.pid === later.pid)).toBe(false);
    const [first, second] = [await one.stats(), await two.stats()];
    expect(second.produced - first.produced).toBe(1);
  });

  it('leave nothing in the kernel once stopped', async () => {
    await harness(); // it holds the watch on cgroups
    const before = heldIds();
    const open = await startTracker('open', mine);
    const during = heldIds();
    expect(during.programs.size).toBeGreaterThan(before.programs.size);
    await open.stop();
    expect(heldIds()).toEqual(before);
    const own = (which: 'programs' | 'maps' | 'links') =>
      new Set([...during[which]].filter((id) => !before[which].has(id)));
    await released({ programs: own('programs'), maps: own('maps'), links: own('links') });
    expect(open.session).toMatchObject({ state: 'STOPPED', stopReason: 'REQUESTED', error: null });
  });

  it('stop by themselves when their time is up, and keep what they saw', async () => {
    const { manager } = await harness();
    const session = await manager.start(specOf([{ name: 'exit', options: {} }], { forMs: 3000 }, mine));
    expect(session.stopsAt).not.toBeNull();
    const { pid } = await work('exit', 9);
    await session.done;
    expect(session).toMatchObject({ state: 'STOPPED', stopReason: 'DURATION', stopsAt: null });
    expect([...session.events()].some((event) => event.process.pid === pid)).toBe(true);
    await manager.stop(session.id); // changes nothing
    expect(session.stopReason).toBe('DURATION');
  });

  it('stop at their limit with exactly that many events', async () => {
    const { manager } = await harness();
    const session = await manager.start(specOf([{ name: 'open', options: {} }], { limit: 100 }, mine));
    await work('burst', '/no/limit', 5000, 1);
    await session.done;
    const stats = await session.stats();
    expect(session.stopReason).toBe('LIMIT');
    expect(stats.delivered).toBe(100);
    expect([...session.events()]).toHaveLength(100);
    expect(stats.received).toBe(stats.discarded + stats.delivered + stats.queued);
    expect(stats.produced).toBe(stats.lost + stats.received);
  });

  it('are removed when nobody has used them for their time to live, but not while somebody reads', async () => {
    const { manager } = await harness();
    const forgotten = await manager.start(specOf([{ name: 'exit', options: {} }], { ttlMs: 1000 }, mine));
    const read = await manager.start(specOf([{ name: 'exit', options: {} }], { ttlMs: 1000 }, mine));
    const stream = read.subscribe({ demand: new Map() });
    await until('the forgotten one is gone', () => !manager.get(forgotten.id));
    expect(forgotten.stopReason).toBe('UNUSED');
    expect(manager.get(read.id)?.state).toBe('RUNNING');
    await stream.return();
    await until('the other is gone too', () => !manager.get(read.id));
  });

  it('fail with the reason when the kernel thread dies, and none can be started', async () => {
    // Which worker is its: the one that it listens to before it first waits. It is listened to all the same.
    const listened = vi.spyOn(Worker.prototype, 'on');
    const starting = createHarness({ logLevel: 'silent' });
    const worker: unknown = listened.mock.contexts[0];
    listened.mockRestore();
    const doomed: Harness = await starting;
    if (!(worker instanceof Worker)) throw new Error('no kernel thread');
    try {
      const session = await doomed.manager.start(specOf([{ name: 'open', options: {} }], {}, mine));
      const stream = session.subscribe({ demand: new Map() });
      await worker.terminate();
      await session.done;
      expect(session).toMatchObject({ state: 'STOPPED', stopReason: 'ERROR', error: 'the kernel thread has ended' });
      await expect(doomed.manager.died).resolves.toMatchObject({ code: 'KERNEL_THREAD_ENDED' });
      await expect(readAll(stream)).rejects.toMatchObject({ code: 'KERNEL_THREAD_ENDED' });
      await expect(doomed.manager.start(specOf([{ name: 'exit', options: {} }], {}, mine))).rejects.toMatchObject({
        code: 'KERNEL_THREAD_ENDED',
      });
      expect(doomed.manager.list().map((s) => s.state)).toEqual(['STOPPED']);
    } finally {
      await doomed.close();
    }
  });
});

async function readAll(stream: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _delivery of stream) count++;
  return count;
}
