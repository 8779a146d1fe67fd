import { once } from 'node:events';
import { mkdir, readFile, rmdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { startTracker, type Seen } from '../support/session.js';
import { ended, run, scratch, start, work, workloadPath } from '../support/workload.js';
import { until } from '../support/until.js';

const made: string[] = [];

/** A v2 cgroup of the test's own. */
async function makeCgroup(name: string): Promise<{ path: string; id: number }> {
  const mount = findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'));
  if (!mount) throw new Error('these tests need the cgroup v2 hierarchy');
  const path = join(mount.point, `eunomia-test-${process.pid}-${name}`);
  await mkdir(path);
  made.push(path);
  return { path, id: (await stat(path)).ino };
}

afterEach(async () => {
  for (const path of made.splice(0)) {
    await until(`${path} is empty`, async () => (await readFile(join(path, 'cgroup.procs'), 'utf8')) === '');
    await rmdir(path);
  }
});

/** A shell that waits for a line before it becomes the program: its pid is known before its events. */
async function gated(program: string, args: readonly string[], options: { uid?: number; gid?: number } = {}) {
  const child = start(await workloadPath(), ['gate', program, ...args], options);
  await once(child, 'spawn');
  return { pid: child.pid ?? 0, go: () => (child.stdin?.write('\n'), ended(child)) };
}

const paths = (events: readonly Seen[], prefix: string) =>
  events.map((e) => String(e['path'])).filter((path) => path.startsWith(prefix));

describe('a filter in the kernel', () => {
  it('by pid holds that process and not its neighbours', async () => {
    const wanted = await gated(await workloadPath(), ['openat', '/no/wanted', '0', '0']);
    const other = await gated(await workloadPath(), ['openat', '/no/other', '0', '0']);
    const open = await startTracker('open', { pids: [wanted.pid] });
    await Promise.all([wanted.go(), other.go()]);
    expect(paths(await open.stop(), '/no/')).toEqual(['/no/wanted']);
    const { produced, discarded } = await open.stats();
    expect(open.events.every((e) => e.process.pid === wanted.pid)).toBe(true);
    expect({ produced, discarded }).toEqual({ produced: open.events.length, discarded: 0 });
  });

  it('by several pids holds each of them', async () => {
    const children = await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        workloadPath().then((workload) => gated(workload, ['openat', `/no/${name}`, '0', '0'])),
      ),
    );
    const open = await startTracker('open', { pids: children.slice(0, 2).map(({ pid }) => pid) });
    for (const { go } of children) await go();
    expect(paths(await open.stop(), '/no/')).toEqual(['/no/a', '/no/b']);
  });

  it('holds descendants that were there before, and those to come, to any depth', async () => {
    const workload = await workloadPath();
    // The inner shell is there before the session starts; what it starts is not.
    const outer = start('/bin/sh', [
      '-c',
      `echo ready; /bin/sh -c 'read line; ${workload} openat /no/deep 0 0; /bin/sh -c "${workload} openat ` +
        `/no/deeper 0 0; :"; :'; ${workload} openat /no/after 0 0; :`,
    ]);
    await once(outer.stdout ?? outer, 'data');
    await until('the inner shell', async () =>
      (await readFile(`/proc/${outer.pid}/task/${outer.pid}/children`, 'utf8')).trim(),
    );
    const open = await startTracker('open', { pids: [outer.pid ?? 0] });
    const without = await startTracker('open', { pids: [outer.pid ?? 0], descendants: false });
    outer.stdin?.write('\n');
    await ended(outer);
    expect(paths(await open.stop(), '/no/')).toEqual(['/no/deep', '/no/deeper', '/no/after']);
    expect(paths(await without.stop(), '/no/')).toEqual([]);
  });

  it.each([true, false])(
    'does not take a process for a former one of the same pid (descendants: %s)',
    async (descendants) => {
      const workload = await workloadPath();
      // Unless another process of the machine got the pid meanwhile, and keeps it.
      await until('the pid is used again', async () => {
        const former = await gated('/bin/true', []);
        const open = await startTracker('open', { pids: [former.pid], descendants });
        await former.go();
        const { stdout } = await run(workload, ['as', String(former.pid), workload, 'openat', '/no/later', '0', '0']);
        expect(paths(await open.stop(), '/no/')).toEqual([]);
        expect(stdout).toMatch(/^(?:made|taken)$/m);
        return /^made$/m.test(stdout);
      });
    },
  );

  it('by uid holds the processes of those users', async () => {
    const open = await startTracker('open', { uids: [65533, 65534] });
    const workload = await workloadPath();
    for (const uid of [65532, 65533, 65534, 0])
      await run(workload, ['openat', `/no/uid-${uid}`, '0', '0'], { uid, gid: 65534 });
    const events = await open.stop();
    expect(paths(events, '/no/uid')).toEqual(['/no/uid-65533', '/no/uid-65534']);
    expect(events.every((e) => [65533, 65534].includes(e.process.uid))).toBe(true);
  });

  it('by comm holds threads of exactly that name', async () => {
    const open = await startTracker('open', { comms: ['second', 'no-such-comm'], pids: [process.pid] });
    await work('thread-open', '/no/by-thread'); // in a thread "second"
    await work('openat', '/no/by-workload', 0, 0);
    expect(paths(await open.stop(), '/no/')).toEqual(['/no/by-thread']);
  });

  it('by a comm of 15 bytes, the longest there is', async () => {
    const name = 'exactly-15-byte';
    await symlink(await workloadPath(), join(scratch, name));
    await symlink(await workloadPath(), join(scratch, 'exactly-15-byt'));
    const open = await startTracker('open', { comms: [name] });
    await run(join(scratch, 'exactly-15-byt'), ['openat', '/no/shorter', '0', '0']);
    await run(join(scratch, name), ['openat', '/no/exact', '0', '0']);
    expect(paths(await open.stop(), '/no/')).toEqual(['/no/exact']);
  });

  it('by cgroup id holds what runs in that cgroup', async () => {
    const [one, two, other] = [await makeCgroup('one'), await makeCgroup('two'), await makeCgroup('other')];
    const open = await startTracker('open', { cgroups: [one.id, two.id] });
    for (const [name, { path }] of Object.entries({ one, two, other })) {
      const child = await gated(await workloadPath(), ['openat', `/no/${name}`, '0', '0']);
      await writeFile(join(path, 'cgroup.procs'), String(child.pid));
      await child.go();
    }
    await work('openat', '/no/outside', 0, 0);
    const events = await open.stop();
    expect(paths(events, '/no/')).toEqual(['/no/one', '/no/two']);
    expect(new Set(events.map((e) => e.cgroupId))).toEqual(new Set([String(one.id), String(two.id)]));
  });

  it('joins kinds by AND', async () => {
    const group = await makeCgroup('and');
    const workload = await workloadPath();
    const inside = await gated(workload, ['openat', '/no/inside', '0', '0'], { uid: 65534, gid: 65534 });
    const root = await gated(workload, ['openat', '/no/root', '0', '0']);
    const outside = await gated(workload, ['openat', '/no/outside', '0', '0'], { uid: 65534, gid: 65534 });
    const stranger = await gated(workload, ['openat', '/no/stranger', '0', '0'], { uid: 65534, gid: 65534 });
    for (const { pid } of [inside, root, stranger]) await writeFile(join(group.path, 'cgroup.procs'), String(pid));
    const open = await startTracker('open', {
      cgroups: [group.id],
      uids: [65534],
      pids: [inside.pid, root.pid, outside.pid],
      comms: ['workload'],
    });
    for (const { go } of [inside, root, outside, stranger]) await go();
    expect(paths(await open.stop(), '/no/')).toEqual(['/no/inside']);
  });

  it('holds for each session by itself', async () => {
    const workload = await workloadPath();
    const [a, b] = [
      await gated(workload, ['openat', '/no/a', '0', '0']),
      await gated(workload, ['openat', '/no/b', '0', '0']),
    ];
    const [forA, forB] = [await startTracker('open', { pids: [a.pid] }), await startTracker('open', { pids: [b.pid] })];
    await Promise.all([a.go(), b.go()]);
    expect(paths(await forA.stop(), '/no/')).toEqual(['/no/a']);
    expect(paths(await forB.stop(), '/no/')).toEqual(['/no/b']);
  });

  it('refuses a process that is not alive, and starts nothing', async () => {
    const { pid } = await run('/bin/true');
    await expect(startTracker('open', { pids: [process.pid, pid] })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      message: expect.stringContaining(`input.target.pids[1]: no process ${pid}`) as string,
    });
  });
});
