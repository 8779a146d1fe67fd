import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, run, scratch } from '../support/workload.js';
import { itNarrow } from '../support/narrow.js';

let program = '';
beforeAll(async () => {
  program = await compileC('mounts', await readFile(join(root, 'test/support/mount.c'), 'utf8'));
});

const mine = { pids: [process.pid] };
const by = (pid: number) => (e: Seen) => e.process.pid === pid;

async function work(what: string) {
  const folder = join(scratch, `mount-${what}`);
  await mkdir(folder, { recursive: true });
  const { pid, stdout } = await run(program, [what, folder]);
  return { pid, folder, results: stdout.trim().split(' ').map(Number) };
}

async function eventsOf(tracked: Awaited<ReturnType<typeof startTracker>>, pid: number, count: number) {
  await until('all are here', () => tracked.events.filter(by(pid)).length >= count);
  return (await tracked.stop()).filter(by(pid));
}

const none = {
  source: null,
  sourceDirectory: null,
  targetDirectory: null,
  resolved: null,
  resolvedState: null,
  oldRoot: null,
  fsType: null,
  options: null,
  attributesSet: null,
  attributesCleared: null,
  propagation: null,
};

function expectAll(events: readonly Seen[], expected: readonly Readonly<Record<string, unknown>>[]): void {
  for (const [i, one] of expected.entries())
    expect([i, events[i]]).toMatchObject([i, { ...none, errno: null, ...one }]);
  expect(events).toHaveLength(expected.length);
}

describe('the tracker mount', () => {
  it('reports mount, umount and pivot_root with their paths, flags and results', async () => {
    const mount = await startTracker('mount', { ...mine, capture: 'ALL' });
    const { pid, folder, results } = await work('plain');
    expect(results).toEqual([0, 0, 0, 0, 0, 0, 0, -2, -19, -14, 0, 0]);
    const at = { targetDirectory: folder };
    const events = await eventsOf(mount, pid, 12);
    const target = events[5]?.['target'];
    expect(target).toMatch(/^\/proc\/self\/fd\/\d+$/);
    expectAll(events, [
      { mountOperation: 'SET_PROPAGATION', target: '/', flags: ['MS_REC', 'MS_PRIVATE'], propagation: 'MS_PRIVATE' },
      {
        ...at,
        mountOperation: 'MOUNT',
        source: 'mine',
        target: 'a',
        fsType: 'tmpfs',
        options: 'size=1M',
        flags: ['MS_NOSUID', 'MS_NODEV'],
      },
      { ...at, mountOperation: 'BIND', source: 'a', sourceDirectory: folder, target: 'b', flags: ['MS_BIND'] },
      {
        ...at,
        mountOperation: 'REMOUNT',
        target: 'a',
        options: 'size=2M',
        flags: ['MS_RDONLY', 'MS_NOSUID', 'MS_REMOUNT'],
      },
      { ...at, mountOperation: 'MOVE', source: 'b', sourceDirectory: folder, target: 'c', flags: ['MS_MOVE'] },
      {
        mountOperation: 'MOUNT',
        source: 'via',
        target,
        resolved: join(folder, 'b'),
        resolvedState: 'ROOTED',
        fsType: 'tmpfs',
        flags: ['MS_RDONLY'], // without the magic number
      },
      { ...at, mountOperation: 'UNMOUNT', target: 'b', flags: ['MNT_DETACH', 'UMOUNT_NOFOLLOW'] },
      { ...at, mountOperation: 'UNMOUNT', errno: 'ENOENT', target: 'nowhere', flags: [] },
      { ...at, mountOperation: 'MOUNT', errno: 'ENODEV', source: 'x', target: 'a', fsType: 'nosuchfs', flags: [] },
      { mountOperation: 'MOUNT', errno: 'EFAULT', source: 'x', target: null, fsType: 'tmpfs' },
      { ...at, mountOperation: 'BIND', source: 'root', sourceDirectory: folder, target: 'root' },
      {
        mountOperation: 'PIVOT_ROOT',
        target: 'root',
        oldRoot: 'root/old',
        flags: [],
        targetDirectory: expect.any(String) as string, // the old one's place, as it is now
      },
    ]);
    expect(new Set(events.map((e) => e.process.mountNs)).size).toBe(1);
  });

  it('reports what the newer calls attach and change, by path and by descriptor', async () => {
    const mount = await startTracker('mount', mine);
    const { pid, folder, results } = await work('new');
    expect(results).toEqual([0, 0, 0, 0, -14, 0, 0]);
    const at = { targetDirectory: folder };
    expectAll(await eventsOf(mount, pid, 7), [
      { mountOperation: 'SET_PROPAGATION', target: '/', propagation: 'MS_PRIVATE' },
      {
        ...at,
        mountOperation: 'ATTACH',
        source: 'fresh',
        fsType: 'tmpfs',
        target: 'b',
        flags: ['MOVE_MOUNT_F_EMPTY_PATH'],
      },
      {
        ...at,
        mountOperation: 'SET_ATTRIBUTES',
        target: 'b',
        flags: ['AT_RECURSIVE'],
        attributesSet: ['MOUNT_ATTR_RDONLY', 'MOUNT_ATTR_NOEXEC'],
        attributesCleared: [],
        propagation: 'MS_SHARED',
      },
      {
        mountOperation: 'SET_ATTRIBUTES',
        target: null,
        resolved: join(folder, 'b'),
        resolvedState: 'ROOTED',
        flags: ['AT_EMPTY_PATH'],
        attributesSet: [],
        attributesCleared: ['MOUNT_ATTR_NOEXEC'],
      },
      { ...at, mountOperation: 'SET_ATTRIBUTES', errno: 'EFAULT', target: 'b' },
      {
        mountOperation: 'ATTACH',
        source: 'fresh',
        fsType: 'tmpfs',
        target: null,
        resolved: join(folder, 'c'),
        resolvedState: 'ROOTED',
        flags: ['MOVE_MOUNT_F_EMPTY_PATH', 'MOVE_MOUNT_T_EMPTY_PATH'],
      },
      { ...at, mountOperation: 'ATTACH', source: 'c', sourceDirectory: folder, target: 'd', flags: [] },
    ]);
  });

  itNarrow('reports 32-bit calls, also that without flags', async () => {
    const mount = await startTracker('mount', mine);
    const { pid, results } = await work('compat');
    expect(results).toEqual([0, 0, 0, 0, 0]);
    const events = (await eventsOf(mount, pid, 5)).filter((e) => e['mountOperation'] === 'UNMOUNT');
    expect(events).toMatchObject([
      { target: 'a', flags: [], errno: null },
      { target: 'a', flags: ['MNT_DETACH'], errno: null },
    ]);
  });

  it('captures options on demand, and is selected and filtered in the kernel', async () => {
    for (const [options, where, count] of [
      [{ failedOnly: true }, undefined, 3],
      [{ operations: ['BIND', 'MOVE'] }, undefined, 3],
      [{}, 'mountOperation == "PIVOT_ROOT"', 1],
      [{}, 'errno == "ENODEV"', 1],
      [{}, 'source == "mine"', 1],
      [{}, 'target == "a" && fsType == "nosuchfs"', 1],
      [{}, 'fsType == "tmpfs"', 3],
    ] as const) {
      const given = where === undefined ? {} : { where };
      const mount = await startTracker('mount', { ...mine, options, capture: 'DEMANDED', ...given });
      await work('plain');
      const events = await mount.stop();
      const { produced, discarded } = await mount.stats();
      expect([options, where, produced, discarded]).toEqual([options, where, count, 0]);
      expect(events.map((e) => e['options'])).toEqual(events.map(() => null));
    }
  });

  it('counts each call that a small ring loses: produced = lost + received', async () => {
    const [each, processes] = [40_000, 3];
    await expectExactLoss('mount', mine, each * processes, () =>
      run(program, ['burst', String(each), String(processes)]),
    );
  });
});

describe('the same calls, seen by strace', () => {
  it.each(['plain', 'new'])('have the same flags, attributes and results: %s', async (what) => {
    const log = join(scratch, `mount-${what}.strace`);
    const folder = join(scratch, `mount-strace-${what}`);
    await mkdir(folder, { recursive: true });
    const mount = await startTracker('mount', mine);
    const calls = 'trace=mount,umount2,pivot_root,move_mount,mount_setattr';
    await run('strace', ['-e', calls, '-o', log, program, what, folder]);
    const names = /\b(?:MS|MNT|UMOUNT|MOVE_MOUNT|MOUNT_ATTR|AT)_\w+/g;
    const theirs = (await readFile(log, 'utf8'))
      .split('\n')
      .filter((line) => /^\w+\(/.test(line))
      .map((line) => {
        const result = /= (?:-1 (E\w+)|0)/.exec(line)?.[1] ?? null;
        const flags = (line.replaceAll(/"[^"]*"/g, '').match(names) ?? []).filter(
          (name) => !['AT_FDCWD', 'MS_MGC_VAL'].includes(name),
        );
        return [result, ...flags.sort()];
      });
    const ours = (await mount.stop())
      .filter((e) => e.process.comm === 'mounts')
      .map((e) => [
        e['errno'],
        ...[
          ...(e['flags'] as string[]),
          ...((e['attributesSet'] as string[] | null) ?? []),
          ...((e['attributesCleared'] as string[] | null) ?? []),
          ...(e['mountOperation'] === 'SET_ATTRIBUTES' && e['propagation'] ? [String(e['propagation'])] : []),
        ].sort(),
      ]);
    expect(theirs.length).toBeGreaterThan(5);
    expect(ours).toEqual(theirs);
  });
});
