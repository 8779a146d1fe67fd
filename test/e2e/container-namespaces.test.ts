import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/base/log.js';
import { ContainerRegistry } from '../../src/inventory/registry.js';
import { closeAll } from '../support/closing.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { createHarness, Tracked, type Harness } from '../support/session.js';
import { specOf } from '../support/spec.js';
import { until } from '../support/until.js';

// Rootless Podman with `--cgroups=disabled` cannot run where v1 and v2 hierarchies are mixed (crun refuses): these
// containers are made of the same namespaces by unshare(1), which leaves the cgroup as it is, too.
const exec = promisify(execFile);
const NOBODY = 65534;
const OWN = ['--pid', '--mount', '--fork', '--kill-child'];
const ANONYMOUS = { id: expect.stringMatching(/^pidns:\d+-[0-9a-f]{8}$/) as string, name: null, runtime: 'unknown' };
const inAnyContainer = { containers: [{ name: '*' }], waitForContainers: true };

let harness: Harness;
let folder: string;
let loop: string;
const cleanups: (() => Promise<unknown> | unknown)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-namespaces-'));
  chmodSync(folder, 0o755);
  loop = join(folder, 'loop');
  writeFileSync(loop, '#!/bin/sh\nwhile true; do /bin/true inside; /bin/sleep 0.05; done\n', { mode: 0o755 });
  harness = await createHarness();
});

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
  for (const session of harness.manager.list()) await harness.manager.remove(session.id);
});

afterAll(async () => {
  await harness.close();
  rmSync(folder, { recursive: true, force: true });
});

async function track(tracker: string, target: Parameters<typeof specOf>[2], at: Harness = harness): Promise<Tracked> {
  const runtime = at.trackers.get(tracker);
  if (!runtime) throw new Error(`no tracker ${tracker}`);
  const session = await at.manager.start(specOf([{ name: tracker, options: {} }], {}, target));
  return new Tracked(session, runtime, at.manager, new Map());
}

/** Runs a command until the test ends; resolves when the process inside is there, with its pid. */
async function run(command: string, ...args: string[]): Promise<{ child: ChildProcess; inner: () => Promise<number> }> {
  const child = spawn(command, args, { stdio: 'ignore' });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  cleanups.push(async () => (child.kill('SIGKILL'), gone));
  const children = (pid: number): number[] =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  const inner = (): Promise<number> => until('it runs', () => children(child.pid ?? 0)[0]);
  return { child, inner };
}

describe('a container that its namespaces alone show', () => {
  it('is no host: it has an id, events carry it, and a session on any container has them', async () => {
    const all = await track('exec', {});
    const contained = await track('exec', inAnyContainer);
    const { inner } = await run('unshare', ...OWN, loop);
    const event = await contained.next((e) => e.process.comm === 'true');
    expect(event.container).toMatchObject({ ...ANONYMOUS, image: null, state: 'UNKNOWN' });
    const pid = await inner();
    const container = harness.registry.find(event.container?.id ?? '');
    expect(container).toMatchObject({ pid, cgroupId: null, startedAt: expect.stringMatching(/Z$/) });
    expect(container?.mountNs).toBe(Number(/\d+/.exec(readlinkSync(`/proc/${pid}/ns/mnt`))?.[0]));
    // Another session has the same, and the host's processes are the host's.
    expect((await all.next((e) => e.process.comm === 'true')).container?.id).toBe(event.container?.id);
    const own = spawn('/bin/true', ['outside'], { stdio: 'ignore' });
    expect((await all.next((e) => e.process.pid === own.pid)).container).toBeNull();
    const named = await track('exec', { containers: [{ id: event.container?.id ?? '' }] });
    expect((await named.next((e) => e.process.comm === 'sleep')).container?.id).toBe(event.container?.id);
    for (const events of [await contained.stop(), await named.stop()])
      expect(new Set(events.map((e) => e.container?.id))).toEqual(new Set([event.container?.id]));
  });

  it('is known from its first exec on, also when it lived a moment only, and each is another', async () => {
    const contained = await track('exec', inAnyContainer);
    for (let i = 0; i < 4; i++) await exec('unshare', [...OWN, '/bin/true', `brief-${i}`]);
    for (let i = 0; i < 4; i++) await contained.next((e) => (e['args'] as string[]).includes(`brief-${i}`));
    const events = (await contained.stop()).filter((e) => e.process.comm === 'true');
    expect(events).toHaveLength(4);
    for (const { container } of events) expect(container).toMatchObject(ANONYMOUS);
    // The kernel gives the number of a namespace that has ended to the next one.
    expect(new Set(events.map(({ container }) => container?.id)).size).toBe(4);
  });

  it('is found without any event, and is removed when its first process has ended', async () => {
    const { child, inner } = await run('unshare', ...OWN, '/bin/sleep', '60');
    const pid = await inner();
    const found = await until('it is listed', async () => {
      await harness.registry.refresh();
      return harness.registry.list().find((container) => container.pid === pid);
    });
    expect(found).toMatchObject({ ...ANONYMOUS, pid });
    // Whoever starts later gives it the same id.
    const late = new ContainerRegistry({ log: createLog('error'), sources: [] });
    cleanups.push(() => late.close());
    await late.start();
    expect(late.list().find((container) => container.pid === pid)?.id).toBe(found.id);
    expect(await late.resolvePid(pid)).toMatchObject({ id: found.id });
    // A session that does not wait for containers finds it, too.
    await (await track('exec', { containers: [{ name: '*' }] })).stop();
    child.kill('SIGTERM');
    process.kill(pid, 'SIGKILL');
    await until('it is removed', async () => {
      await late.refresh();
      return late.find(found.id)?.state === 'REMOVED';
    });
  });

  it('stays itself when it makes pid namespaces of its own', async () => {
    const contained = await track('exec', inAnyContainer);
    const { inner } = await run('unshare', ...OWN, 'unshare', ...OWN, loop);
    const event = await contained.next((e) => e.process.comm === 'true');
    const pid = await inner();
    expect(harness.registry.find(event.container?.id ?? '')).toMatchObject({ ...ANONYMOUS, pid });
    expect(new Set((await contained.stop()).map((e) => e.container?.id)).size).toBe(1);
  });

  it('of an unprivileged user is an anonymous one, whatever it calls itself', async () => {
    const contained = await track('exec', inAnyContainer);
    const user = ['setpriv', '--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'];
    const lure = `docker-${'a'.repeat(64)}`;
    const command = `exec -a ${lure} /bin/bash -c 'while true; do /bin/true; /bin/sleep 0.05; done'`;
    await run(
      'env',
      `container=docker`,
      `container_uuid=${lure}`,
      ...user,
      'unshare',
      '--user',
      ...OWN,
      'bash',
      '-c',
      command,
    );
    const event = await contained.next((e) => e.process.comm === 'true');
    expect(event).toMatchObject({ container: ANONYMOUS, process: { uid: NOBODY } });
    expect(harness.registry.find('a'.repeat(64))).toBeNull();
  });

  it('is none for a mount namespace alone, or a pid namespace with the host’s mounts', async () => {
    const all = await track('exec', {});
    const contained = await track('exec', inAnyContainer);
    await run(
      'unshare',
      '--mount',
      '--fork',
      '--kill-child',
      '/bin/sh',
      '-c',
      'while true; do /bin/true mount; /bin/sleep 0.05; done',
    );
    await run(
      'unshare',
      '--pid',
      '--fork',
      '--kill-child',
      '/bin/sh',
      '-c',
      'while true; do /bin/true pid; /bin/sleep 0.05; done',
    );
    for (const which of ['mount', 'pid'])
      expect((await all.next((e) => (e['args'] as string[]).includes(which))).container).toBeNull();
    const { inner } = await run('unshare', ...OWN, loop);
    const pid = await inner();
    await contained.next((e) => e.process.comm === 'true');
    expect((await contained.stop()).every((e) => e.container?.id.startsWith(`pidns:${pid}-`))).toBe(true);
  });

  it('in a cgroup that a session names is kept for the cgroup’s sake', async () => {
    const cgroup = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
    const mount = /^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))?.[1] ?? '';
    const own = await track('exec', { cgroups: [statSync(join(mount, cgroup)).ino] });
    await run('unshare', ...OWN, loop);
    expect((await own.next((e) => e.process.comm === 'true')).container).toMatchObject(ANONYMOUS);
  });
});

describe('a pid namespace of a container that an engine knows', () => {
  let docker: TestDocker;
  let beside: Harness;

  beforeAll(async () => {
    docker = await startDocker();
    beside = await createHarness({ engine: docker.host });
  });

  afterAll(() =>
    closeAll(
      () => beside.close(),
      () => docker.stop(),
    ),
  );

  it('is that container, nested ones and processes that were put there from outside too', async () => {
    const id = await docker.run(
      '-d',
      '--cap-add',
      'SYS_ADMIN',
      '--security-opt',
      'seccomp=unconfined',
      '--name',
      'known',
      TEST_IMAGE,
      'sleep',
      '60',
    );
    const target = { containers: [{ name: 'known' }] };
    const exec_ = await track('exec', target, beside);
    await docker.docker('exec', 'known', 'unshare', '-p', '-m', '-f', '/bin/true', 'nested');
    expect((await exec_.next((e) => (e['args'] as string[]).includes('nested'))).container).toMatchObject({ id });
    const pid = await docker.docker('inspect', '--format', '{{.State.Pid}}', id);
    await exec('nsenter', ['-t', pid, '-p', '-m', '/bin/true', 'entered']);
    expect((await exec_.next((e) => (e['args'] as string[]).includes('entered'))).container).toMatchObject({ id });
    await beside.registry.refresh();
    expect(beside.registry.list().filter((container) => container.pid === Number(pid))).toMatchObject([{ id }]);
    await exec_.stop();
    for (const session of beside.manager.list()) await beside.manager.remove(session.id);
    await docker.docker('rm', '-f', 'known');
  });
});
