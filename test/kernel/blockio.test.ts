import { beforeAll, describe, expect, it } from 'vitest';
import { between, makeLoop, blockProgram, watchDisk, whole, type Loop } from '../support/loop.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { run } from '../support/workload.js';

let program = '';
let disk: Loop;
beforeAll(async () => {
  program = await blockProgram();
  disk = await makeLoop(64 << 20);
});

const load = (...args: readonly (string | number)[]) => run(program, [disk.path, ...args].map(String));
const onDisk = ({ disk: name }: Seen) => name === disk.disk;
const bytesOf = (events: readonly Seen[]) => events.reduce((sum, event) => sum + Number(event['bytes']), 0);

const watched = (work: () => Promise<unknown>, options: TrackOptions = {}) => watchDisk(disk, 'blockio', work, options);

describe('the tracker blockio', () => {
  it('reports each request once, as /proc/diskstats counts them', async () => {
    const { device } = await disk.stats();
    const { events, counted } = await watched(async () => {
      await load('write', 200, 4096);
      await load('read', 100, 16384);
      await load('discard', 5, 65536);
      await load('fsync', 3, 4096);
    });
    const of = (operation: string) => events.filter((event) => event['blockOperation'] === operation);
    expect(counted).toMatchObject({ reads: 100, discards: 5 });
    expect([of('READ').length, bytesOf(of('READ')) / 512]).toEqual([counted.reads, counted.sectorsRead]);
    // The kernel counts a flush that a process asks for among the writes.
    expect(of('WRITE').length + of('FLUSH').length).toBe(counted.writes);
    expect(bytesOf(of('WRITE')) / 512).toBe(counted.sectorsWritten);
    expect([of('DISCARD').length, bytesOf(of('DISCARD'))]).toEqual([5, 5 * 65536]);
    expect(of('FLUSH')).toHaveLength(3);
    for (const event of events) expect(event).toMatchObject({ device, errno: null });
  });

  it('says who made a request, to which sector, and how long it waited and took', async () => {
    const tracked = await startTracker('blockio', { pids: [process.pid] });
    const { pid } = await load('write', 3, 8192);
    const events = (await tracked.stop()).filter(onDisk);
    expect(events.map(({ sector, bytes, blockOperation: operation }) => [sector, bytes, operation])).toEqual(
      [0, 16, 32].map((sector) => [String(sector), '8192', 'WRITE']),
    );
    for (const event of events) {
      expect(event).toMatchObject({
        process: { pid, comm: 'blockload' },
        flags: expect.arrayContaining(['SYNC']) as string[],
      });
      const [duration, queue, device] = ['durationNs', 'queueNs', 'deviceNs'].map((name) =>
        BigInt(String(event[name])),
      );
      expect(duration).toBe((queue ?? 0n) + (device ?? 0n));
      expect(device).toBeGreaterThan(0n);
    }
  });

  it('says which partition a request is to, and the sector on the disk', async () => {
    const parted = await makeLoop(16 << 20);
    const part = await parted.part(1 << 20, 4 << 20);
    const { device } = await part.stats();
    const tracked = await startTracker('blockio', { pids: [process.pid] });
    await run(program, [part.path, 'write', '2', '4096']);
    await run(program, [parted.path, 'read', '1', '4096']);
    const events = (await tracked.stop()).filter(({ disk: name }) => name === parted.disk);
    expect(
      events.filter((event) => event['blockOperation'] === 'WRITE').map((e) => [e['device'], e['sector']]),
    ).toEqual([
      [device, '2048'],
      [device, '2056'],
    ]);
    expect(events.filter((event) => event['blockOperation'] === 'READ').map((e) => [e['device'], e['sector']])).toEqual(
      [[(await parted.stats()).device, '0']],
    );
    expect(device).not.toBe((await parted.stats()).device);
  });

  it('knows the requests of the workers of io_uring by the name of their process', async () => {
    for (const [target, count] of [
      [{ comms: ['blockload'] }, 20],
      [{ where: 'process.comm == "blockload"' }, 20],
      [{ comms: ['nobody'] }, 0],
    ] as const) {
      const { events } = await watched(() => load('worker', 20, 4096), { pids: [process.pid], ...target });
      expect([target, events.length]).toEqual([target, count]);
      for (const event of events)
        expect(event).toMatchObject({ process: { comm: 'blockload' }, blockOperation: 'WRITE' });
    }
  });

  it('reports a flush, of no sector and without a time in the device', async () => {
    const tracked = await startTracker('blockio', { pids: [process.pid], options: { operations: ['FLUSH'] } });
    const { pid } = await load('fsync', 2, 4096);
    const events = (await tracked.stop()).filter(onDisk);
    expect(events).toHaveLength(2);
    for (const event of events)
      expect(event).toMatchObject({
        blockOperation: 'FLUSH',
        process: { pid },
        bytes: '0',
        sector: null,
        queueNs: null,
        deviceNs: null,
      });
  });

  it('reports what fails, with its errno, and nothing else if asked', async () => {
    const broken = await makeLoop(8 << 20);
    const tracked = await startTracker('blockio', { pids: [process.pid], options: { failedOnly: true } });
    // Behind the end of its file the disk has nothing to read.
    await broken.shrink(4096);
    const { stdout } = await run(program, [broken.path, 'read', '2', '4096']);
    const events = await tracked.stop();
    expect(stdout).toBe('1');
    expect(events).toEqual([
      expect.objectContaining({ disk: broken.disk, blockOperation: 'READ', errno: 'EIO', sector: '8', bytes: '4096' }),
    ]);
  });

  it('is selected and filtered in the kernel', async () => {
    const work = async () => {
      await load('write', 20, 4096);
      await load('read', 10, 8192);
    };
    for (const [options, where, count] of [
      [{}, undefined, 30],
      [{ operations: ['READ'] }, undefined, 10],
      [{ slowerThan: 1e-6 }, undefined, 30],
      [{ slowerThan: 3_600_000 }, undefined, 0],
      [{}, 'blockOperation == "WRITE"', 20],
      [{}, 'bytes > 4096', 10],
      [{}, 'errno != null', 0],
      [{}, 'process.comm == "blockload" && bytes == 4096', 20],
      [{}, 'process.comm == "nobody"', 0],
    ] as const) {
      const { events, stats } = await watched(work, {
        pids: [process.pid],
        options,
        ...(where === undefined ? {} : { where }),
      });
      expect([options, where, events.length]).toEqual([options, where, count]);
      expect(stats).toMatchObject({ discarded: 0, lost: 0, produced: stats.received });
    }
  });

  it('counts exactly what it loses', async () => {
    const attempt = async () => {
      const before = await disk.stats();
      const tracked = await startTracker('blockio', { pids: [process.pid], ringBytes: 4096, bufferBytes: 1 << 28 });
      await load('read', 2000, 512, 6);
      const seen = await tracked.stop();
      const { reads } = between(before, await disk.stats());
      return { ...(await tracked.stats()), seen: seen.length, reads };
    };
    const { produced, lost, received, seen, reads } = await whole(attempt, (run) => run.produced === run.reads);
    expect([produced, lost + received, seen]).toEqual([reads, produced, received]);
    expect(lost).toBeGreaterThan(0);
  });

  it('belongs to a kernel thread if it is written back later', async () => {
    const { events, counted } = await watched(async () => {
      await run('dd', ['if=/dev/zero', `of=${disk.path}`, 'bs=4096', 'count=8', 'conv=notrunc', 'status=none']);
      await run('sync', [disk.path]);
    });
    expect(bytesOf(events.filter((event) => event['blockOperation'] === 'WRITE')) / 512).toBe(counted.sectorsWritten);
    expect(counted.sectorsWritten).toBeGreaterThanOrEqual(64);
  });
});
