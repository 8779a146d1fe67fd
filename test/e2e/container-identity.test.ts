import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { ContainerRegistry } from '../../src/inventory/registry.js';
import { createLog } from '../../src/base/log.js';
import { closeAll } from '../support/closing.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { createHarness, Tracked, type Harness } from '../support/session.js';
import { specOf } from '../support/spec.js';
import { until } from '../support/until.js';
import { dockerSources } from '../../src/inventory/docker/sources.js';

const exec = promisify(execFile);
const NOBODY = 65534;
const mount = findCgroupMount(readFileSync('/proc/self/mountinfo', 'utf8'));
if (mount === null) throw new Error('these tests need the cgroup v2 hierarchy');
const root = mount.point;

let docker: TestDocker;
let harness: Harness;
const cleanups: (() => Promise<unknown> | unknown)[] = [];

beforeAll(async () => {
  docker = await startDocker();
  harness = await createHarness({ engine: docker.host });
});

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
  for (const session of harness.manager.list()) await harness.manager.remove(session.id);
});

afterAll(() =>
  closeAll(
    () => harness.close(),
    () => docker.stop(),
  ),
);

async function track(tracker: string, target: Parameters<typeof specOf>[2]): Promise<Tracked> {
  const runtime = harness.trackers.get(tracker);
  if (!runtime) throw new Error(`no tracker ${tracker}`);
  return new Tracked(
    await harness.manager.start(specOf([{ name: tracker, options: {} }], {}, target)),
    runtime,
    harness.manager,
    new Map(),
  );
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await new Promise((resolve) => child.once('exit', resolve));
}

/** A part of the tree that is an unprivileged user's, as systemd gives it to each user's manager. */
function delegate(): string {
  const path = join(root, `eunomia-delegated-${process.pid}`);
  mkdirSync(path);
  for (const file of ['', 'cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'])
    chownSync(join(path, file), NOBODY, NOBODY);
  cleanups.push(() => rmdirSync(path));
  return path;
}

/** Has an unprivileged process make a cgroup below `parent`, enter it, and run a command there. */
function runInside(parent: string, name: string, command: string): ChildProcess {
  const script = `mkdir ${name} && echo $$ > ${name}/cgroup.procs && id -u && ${command}`;
  // Root puts it into the delegated part: a user's processes are there from the log-in on.
  const enter =
    `echo $$ > ${parent}/cgroup.procs && cd ${parent} && exec setpriv --reuid ${NOBODY} --regid ${NOBODY} ` +
    `--clear-groups /bin/sh -c '${script}'`;
  const child = spawn('/bin/sh', ['-c', enter], { stdio: ['pipe', 'pipe', 'inherit'] });
  cleanups.push(async () => {
    child.kill('SIGKILL');
    await ended(child);
    await until(`${name} is empty`, () => readFileSync(join(parent, name, 'cgroup.procs'), 'utf8') === '');
    rmdirSync(join(parent, name));
  });
  return child;
}

describe('a cgroup’s name', () => {
  it('makes no container of an unprivileged user’s processes, and takes nothing from the real one', async () => {
    const id = await docker.run(
      '-d',
      '--name',
      'real',
      TEST_IMAGE,
      'sh',
      '-c',
      'while true; do true; /bin/sleep 0.2; done',
    );
    const container = await until('it is known', () =>
      harness.registry.byCgroup(harness.registry.find('real')?.cgroupId ?? -1),
    );
    const own = container?.cgroupId;
    const open = await track('exec', { containers: [{ name: 'real' }] });
    const whole = await track('exec', {});
    const parent = delegate();
    const child = runInside(parent, `docker-${id}.scope`, 'exec /bin/echo lured');
    await ended(child);
    const lured = await whole.next(
      (e) => e.process.comm === 'echo' && Number(e.cgroupId) === statSync(join(parent, `docker-${id}.scope`)).ino,
    );
    expect(lured).toMatchObject({ container: null, process: { uid: NOBODY } });
    // Nor when its cgroup is looked up anew, or by its process.
    const fresh = new ContainerRegistry({
      log: createLog('error'),
      sources: dockerSources({ log: createLog('error'), hosts: [docker.host] }),
    });
    cleanups.push(() => fresh.close());
    await fresh.start();
    expect(fresh.byCgroup(Number(lured.cgroupId))).toBeNull();
    expect(await fresh.resolve(Number(lured.cgroupId))).toBeNull();
    expect(harness.registry.find('real')).toMatchObject({ id, cgroupId: own });
    await until('the session still sees the real one', () => open.events.length > 2);
    expect((await open.stop()).filter((e) => e.process.uid === NOBODY)).toEqual([]);
    await docker.docker('rm', '-f', 'real');
  });

  it('is not believed of a running process either', async () => {
    const id = await docker.run('-d', '--name', 'witness', TEST_IMAGE, 'sleep', '600');
    const parent = delegate();
    const child = runInside(parent, `docker-${id}.scope`, 'exec /bin/sleep 600');
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    expect(await harness.registry.resolvePid(child.pid ?? 0)).toBeNull();
    const pid = Number(await docker.docker('inspect', '--format', '{{.State.Pid}}', id));
    expect((await harness.registry.resolvePid(pid))?.id).toBe(id);
  });
});

describe('a name in the path of a cgroup that no engine tells', () => {
  const NAMES = [
    ['lxc.payload.web', 'lxc:web'],
    ['lxc/web', 'lxc:web'],
    ['machine.slice/machine-web.scope', 'nspawn:web'],
    ['machine.slice/systemd-nspawn@web.service', 'nspawn:web'],
  ] as const;

  /** Makes a cgroup with all parents that are missing; the first of them is given to `owner`. Its id. */
  function make(path: string, owner: number): number {
    let at = root;
    let isFirst = true;
    for (const part of path.split('/')) {
      at = join(at, part);
      const made = at;
      if (existsSync(made)) continue;
      mkdirSync(made);
      cleanups.push(() => rmdirSync(made));
      if (isFirst) chownSync(made, owner, owner);
      isFirst = false;
    }
    return statSync(at).ino;
  }

  it.each(NAMES)('is believed below cgroups of root alone: %s', async (path, id) => {
    const base = `eunomia-named-${process.pid}`;
    expect(await harness.registry.resolve(make(`${base}-root/${path}`, 0))).toMatchObject({ id, name: 'web' });
    expect(await harness.registry.resolve(make(`${base}-user/${path}`, NOBODY))).toBeNull();
    const child = spawn('/bin/sleep', ['60'], { stdio: 'ignore' });
    cleanups.push(async () => {
      child.kill('SIGKILL');
      await ended(child);
      const procs = join(root, `${base}-user/${path}/cgroup.procs`);
      await until('the cgroup is empty', () => readFileSync(procs, 'utf8') === '');
    });
    for (const [owner, found] of [
      ['root', { id }],
      ['user', null],
    ] as const) {
      writeFileSync(join(root, `${base}-${owner}/${path}/cgroup.procs`), String(child.pid));
      const container = await harness.registry.resolvePid(child.pid ?? 0);
      if (found === null) expect(container).toBeNull();
      else expect(container).toMatchObject(found);
    }
  });

  it('of ctr is believed in a namespace’s cgroup that is root’s', async () => {
    // A namespace that no other test uses.
    expect(await harness.registry.resolve(make('buildkit/web', NOBODY))).toBeNull();
    for (const clean of cleanups.splice(0).reverse()) await clean();
    expect(await harness.registry.resolve(make('buildkit/web', 0))).toMatchObject({ id: 'ctr:buildkit/web' });
  });
});

describe('a container below another one’s cgroup', () => {
  it('is itself: its events carry its name, and a session that targets it has them', async () => {
    const outer = await docker.run('-d', '--name', 'outer', TEST_IMAGE, 'sleep', '600');
    const inner = await track('exec', { containers: [{ name: 'inner' }], waitForContainers: true });
    const around = await track('exec', { containers: [{ name: 'outer' }] });
    const id = await docker.run(
      '-d',
      '--name',
      'inner',
      '--cgroup-parent',
      `/docker/${outer}`,
      TEST_IMAGE,
      'sh',
      '-c',
      '/bin/true; while true; do /bin/sleep 0.1; done',
    );
    const { ino } = statSync(join(root, 'docker', outer, id));
    const first = await inner.next((e) => e['executable'] !== null && e.process.comm === 'sh');
    expect(first.container).toMatchObject({ id, name: 'inner' });
    expect(Number(first.cgroupId)).toBe(ino);
    expect((await inner.next((e) => e.process.comm === 'sleep')).container).toMatchObject({ id });
    // What is not the engine's own belongs to what lies around it.
    mkdirSync(join(root, 'docker', outer, 'unit'));
    const child = spawn('/bin/sh', [
      '-c',
      `echo $$ > ${join(root, 'docker', outer, 'unit', 'cgroup.procs')}; exec /bin/echo below`,
    ]);
    await ended(child);
    expect((await around.next((e) => e.process.comm === 'echo')).container).toMatchObject({ id: outer });
    expect((await around.stop()).filter((e) => e.container?.id === id)).toEqual([]);
    rmdirSync(join(root, 'docker', outer, 'unit'));
    // Who starts later finds the same, whatever it sees first.
    const late = new ContainerRegistry({
      log: createLog('error'),
      sources: dockerSources({ log: createLog('error'), hosts: [docker.host] }),
    });
    cleanups.push(() => late.close());
    await late.start();
    await until('it is found by its cgroup', () => late.byCgroup(ino)?.id === id);
    await docker.docker('rm', '-f', 'inner', 'outer');
  });

  it('that no engine here knows belongs to the one around it', async () => {
    const outer = await docker.run('-d', '--name', 'around', TEST_IMAGE, 'sleep', '600');
    const stranger = join(root, 'docker', outer, 'docker', 'e'.repeat(64));
    mkdirSync(join(stranger, '..'));
    mkdirSync(stranger);
    cleanups.push(async () => {
      rmdirSync(stranger);
      rmdirSync(join(stranger, '..'));
      await docker.docker('rm', '-f', 'around');
    });
    const { ino } = statSync(stranger);
    expect(await harness.registry.resolve(ino)).toMatchObject({ id: outer });
    expect(harness.registry.find('e'.repeat(64))).toBeNull();
  });
});

describe('a container that has no engine', () => {
  /** A folder with a root file system of one static busybox. */
  async function makeRoot(): Promise<string> {
    const base = await mkdtemp(join(tmpdir(), 'eunomia-bare-'));
    cleanups.push(() => rm(base, { recursive: true, force: true }));
    await exec('/bin/sh', [
      '-c',
      `mkdir -p ${base}/rootfs/bin && cp /bin/busybox ${base}/rootfs/bin/ &&
        for applet in sh sleep true; do ln -s busybox ${base}/rootfs/bin/$applet; done
      printf '%s\\n' '#!/bin/sh' 'while true; do /bin/true inside; /bin/sleep 0.1; done' > ${base}/rootfs/bin/loop &&
        chmod +x ${base}/rootfs/bin/loop`,
    ]);
    return base;
  }

  /** Of v1 and v2 hierarchies, what a runtime leaves behind when its last container has gone. */
  const removeCgroup = (name: string) => () =>
    exec('/bin/sh', ['-c', `rmdir ${root}/${name} ${root}/../*/${name} 2>/dev/null || true`]);

  it('of LXC has the name of its cgroup, and a session by that name has its events', async () => {
    const base = await makeRoot();
    const name = `eunomia-lxc-${process.pid}`;
    await exec('/bin/sh', [
      '-c',
      `printf '%s\\n' 'lxc.rootfs.path = dir:${base}/rootfs' 'lxc.net.0.type = none' 'lxc.init.cmd = /bin/loop' > ${base}/conf`,
    ]);
    const named = await track('exec', { containers: [{ name }], waitForContainers: true });
    cleanups.push(removeCgroup('lxc.pivot'));
    await exec('lxc-start', ['-P', base, '-n', name, '-f', join(base, 'conf')]);
    cleanups.push(() => exec('lxc-stop', ['-P', base, '-n', name, '-k']));
    const event = await named.next((e) => e.process.comm === 'true');
    expect(event.container).toMatchObject({ id: `lxc:${name}`, name, runtime: 'lxc', state: 'UNKNOWN' });
    await until('its first process is known', () => harness.registry.find(name)?.pid != null);
    expect((await named.stop()).every((e) => e.container?.name === name)).toBe(true);
  });

  it('of containerd’s ctr has its name and namespace', async () => {
    const base = await makeRoot();
    const name = `eunomia-ctr-${process.pid}`;
    const address = join(base, 'containerd.sock');
    const containerd = spawn(
      'containerd',
      ['--root', join(base, 'data'), '--state', join(base, 'state'), '--address', address],
      { stdio: 'ignore' },
    );
    cleanups.push(removeCgroup('default'), async () => (containerd.kill('SIGTERM'), ended(containerd)));
    await until('containerd listens', () =>
      exec('ctr', ['-a', address, 'version']).then(
        () => true,
        () => false,
      ),
    );
    const all = await track('exec', { containers: [{ name: '*' }], waitForContainers: true });
    await exec('ctr', ['-a', address, 'run', '-d', '--rootfs', join(base, 'rootfs'), name, '/bin/loop']);
    cleanups.push(async () => {
      await exec('ctr', ['-a', address, 'task', 'rm', '-f', name]);
      await exec('ctr', ['-a', address, 'container', 'rm', name]);
    });
    const event = await all.next((e) => e.process.comm === 'true' && e.container?.name === name);
    expect(event.container).toMatchObject({ id: `ctr:default/${name}`, runtime: 'containerd' });
  });
});

describe('several engines', () => {
  it('each name their own containers, and one that is no engine is told as what it is', async () => {
    const base = await mkdtemp(join(tmpdir(), 'eunomia-engines-'));
    cleanups.push(() => rm(base, { recursive: true, force: true }));
    const podman = spawn(
      'podman',
      [
        '--root',
        join(base, 'root'),
        '--runroot',
        join(base, 'run'),
        '--cgroup-manager',
        'cgroupfs',
        '--events-backend',
        'file',
        '--storage-driver',
        'vfs',
        'system',
        'service',
        '--time',
        '0',
        `unix://${base}/podman.sock`,
      ],
      { stdio: 'ignore' },
    );
    const containerd = spawn(
      'containerd',
      ['--root', join(base, 'ctr'), '--state', join(base, 'ctr-state'), '--address', join(base, 'containerd.sock')],
      { stdio: 'ignore' },
    );
    for (const child of [podman, containerd]) cleanups.push(async () => (child.kill('SIGTERM'), ended(child)));
    const sockets = [docker.host, `unix://${base}/podman.sock`, `unix://${base}/containerd.sock`];
    await until('all listen', async () =>
      (
        await Promise.all(
          sockets.map(async (socket) =>
            exec('test', ['-S', socket.slice(7)]).then(
              () => true,
              () => false,
            ),
          ),
        )
      ).every(Boolean),
    );
    const registry = new ContainerRegistry({
      log: createLog('silent'),
      sources: dockerSources({ log: createLog('silent'), hosts: sockets }),
    });
    cleanups.push(() => registry.close());
    await registry.start();
    await until('both are connected', () => registry.engines.slice(0, 2).every(({ connected }) => connected));
    expect(registry.engines).toMatchObject([
      { endpoint: sockets[0], connected: true, kind: 'docker', version: expect.stringMatching(/^\d/), error: null },
      { endpoint: sockets[1], connected: true, kind: 'podman', version: expect.stringMatching(/^\d/), error: null },
      {
        endpoint: sockets[2],
        connected: false,
        kind: null,
        version: null,
        error: expect.stringMatching(/speaks gRPC, as the sockets of containerd and CRI-O do/),
      },
    ]);
    const name = `named-${process.pid}`;
    await docker.docker('create', '--name', name, TEST_IMAGE);
    await until('Docker’s is named', () => registry.find(name)?.runtime === 'docker');
    // Podman's own list does not take Docker's container away.
    await sleep(100);
    expect(registry.find(name)).toMatchObject({ state: 'CREATED' });
    await docker.docker('rm', name);
    await until('Docker’s is removed', () => registry.find(name)?.state === 'REMOVED');
  });
});
