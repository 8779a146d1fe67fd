import { readFile } from 'node:fs/promises';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { CaptureMode, Demand } from '../../src/event/event.js';
import { harness, startTracker, Tracked } from '../support/session.js';
import { specOf } from '../support/spec.js';
import { run, work } from '../support/workload.js';

const mine = { pids: [process.pid] };
const demand = (tracker: string, ...fields: string[]): Demand => new Map([[tracker, new Set(fields)]]);

describe('the capture mask', () => {
  it('captures no costly field that nobody demands, and the record is smaller', async () => {
    // One after the other: at the same time, sessions with the same target share what is captured.
    const once = async (capture: CaptureMode) => {
      const exec = await startTracker('exec', { ...mine, capture });
      const { pid } = await run('/bin/true', ['x'.repeat(5000)]);
      const event = await exec.next((e) => e.process.pid === pid);
      const captured = exec.session.captured().sort();
      await exec.stop();
      return { event, captured, stats: await exec.stats() };
    };
    const lean = await once('DEMANDED');
    const full = await once('ALL');
    const [without, whole] = [lean.event, full.event];
    expect(without).toMatchObject({
      args: null,
      argsTruncated: null,
      filename: null,
      executable: null,
      cwd: null,
      errno: null,
      process: { comm: 'true' },
      parentComm: null,
      pidNs: null,
      netNs: null,
    });
    expect(whole).toMatchObject({
      args: ['/bin/true', 'x'.repeat(5000)],
      filename: '/bin/true',
      cwd: process.cwd(),
      parentComm: expect.any(String) as string,
      pidNs: expect.any(String) as string,
      netNs: expect.any(String) as string,
    });
    expect(lean.captured).toEqual([]);
    expect(full.captured).toEqual([
      'args',
      'argsTruncated',
      'cwd',
      'cwdDeleted',
      'cwdState',
      'directory',
      'executable',
      'executableDeleted',
      'executableState',
      'filename',
      'netNs',
      'parentComm',
      'pidNs',
      'stdin',
    ]);
    const [small, large] = [lean.stats, full.stats];
    expect(large.receivedBytes - small.receivedBytes).toBeGreaterThanOrEqual(5000);
    expect(small.receivedBytes / small.received).toBeLessThan(200);
  });

  it('follows the readers while the session runs', async () => {
    const exec = await startTracker('exec', { ...mine, capture: 'DEMANDED' });
    const argsOf = async () => {
      const { pid } = await run('/bin/true', ['marker']);
      const { args, cwd } = await exec.next((e) => e.process.pid === pid);
      return { args, cwd };
    };
    expect(await argsOf()).toEqual({ args: null, cwd: null });

    const reader = exec.session.subscribe({ demand: demand('exec', 'args') });
    await exec.stats(); // the mask is on its way before this question
    expect(exec.session.captured().sort()).toEqual(['args', 'argsTruncated']);
    expect(await argsOf()).toEqual({ args: ['/bin/true', 'marker'], cwd: null });

    const release = exec.session.addDemand(demand('exec', 'cwd', 'time'));
    await exec.stats();
    expect(await argsOf()).toEqual({ args: ['/bin/true', 'marker'], cwd: process.cwd() });

    await reader.return();
    await exec.stats();
    expect(await argsOf()).toEqual({ args: null, cwd: process.cwd() });
    release();
    release(); // once is enough
    await exec.stats();
    expect(await argsOf()).toEqual({ args: null, cwd: null });
    expect(exec.session.captured()).toEqual([]);
  });

  it('holds for a reader that comes while the session is still being attached', async () => {
    const { manager, trackers } = await harness();
    const runtime = trackers.get('exec');
    if (!runtime) throw new Error('there is no tracker exec');
    const starting = manager.start(specOf([{ name: 'exec', options: {} }], { capture: 'DEMANDED' }, mine));
    await turn(); // the session is there; the kernel thread cannot have attached it yet
    const [session] = manager.list();
    if (session?.state !== 'STARTING') throw new Error('no session is being attached');
    const exec = new Tracked(session, runtime, manager, demand('exec', 'args'));
    await starting;
    await exec.stats(); // the mask is on its way before this question
    const { pid } = await run('/bin/true', ['marker']);
    expect(await exec.next((e) => e.process.pid === pid)).toMatchObject({ args: ['/bin/true', 'marker'] });
  });

  it('keeps a field for as long as the last of its readers', async () => {
    const exec = await startTracker('exec', { ...mine, capture: 'DEMANDED' });
    const same = demand('exec', 'filename');
    const first = exec.session.addDemand(same);
    const second = exec.session.addDemand(same);
    first();
    expect(exec.session.captured()).toEqual(['filename']);
    second();
    expect(exec.session.captured()).toEqual([]);
  });

  it('captures what the session itself asks for, without a reader', async () => {
    const open = await startTracker('open', { ...mine, capture: 'DEMANDED', fields: ['resolved'] });
    await readFile('/etc/hostname').catch(() => {});
    await work('openat', '/etc/passwd', 0, 0);
    const seen = await open.next((e) => e['resolved'] === '/etc/passwd');
    expect(seen).toMatchObject({ path: null, fd: expect.any(Number) as number });
  });

  it('captures all fields by default, whether or not someone reads them', async () => {
    const open = await startTracker('open', mine);
    await work('openat', '/etc/passwd', 0, 0);
    expect(await open.next((e) => e['path'] === '/etc/passwd')).toMatchObject({ resolved: '/etc/passwd' });
    expect(open.session.captured().sort()).toEqual(['deleted', 'directory', 'path', 'resolved', 'resolvedState']);
  });
});
