import { statSync, watch } from 'node:fs';
import { readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Container } from '../../src/inventory/container.js';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { ContainerRegistry, type RegistryOptions } from '../../src/inventory/registry.js';
import { headerOffsets } from '../../src/record/batch.js';
import { CgroupMatcher } from '../../src/session/target.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { until } from '../support/until.js';
import { dockerSources } from '../../src/inventory/docker/sources.js';

const log = pino({ level: 'silent' });
let docker: TestDocker;
let root: string;
const open: ContainerRegistry[] = [];

async function startRegistry(options: Partial<RegistryOptions> = {}): Promise<ContainerRegistry> {
  const registry = new ContainerRegistry({
    log,
    sources: dockerSources({ log, hosts: [docker.host], pingMs: 300, backoffMs: 1000 }),
    ...options,
  });
  open.push(registry);
  await registry.start();
  return registry;
}

/** Tells the registry of new cgroups as the kernel's tracepoint does; inotify is our witness here. */
function feedCgroups(registry: ContainerRegistry): { ids: Map<string, number>; close: () => void } {
  const ids = new Map<string, number>();
  const watcher = watch(join(root, 'docker'), (_, name) => {
    if (name === null || !/^[0-9a-f]{64}$/.test(name) || ids.has(name)) return;
    try {
      const { ino } = statSync(join(root, 'docker', name));
      ids.set(name, ino);
      registry.learnCgroup(ino, `/docker/${name}`);
    } catch {
      // It has gone already; the test counts.
    }
  });
  return { ids, close: () => watcher.close() };
}

beforeAll(async () => {
  docker = await startDocker();
  const mount = findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'));
  if (mount === null) throw new Error('these tests need the cgroup v2 hierarchy');
  root = mount.point;
});

afterEach(async () => {
  await Promise.all(open.splice(0).map(async (registry) => registry.close()));
});

afterAll(async () => docker.stop());

describe('a container of a real engine', () => {
  it('is known with its image, labels, compose names and addresses', async () => {
    const registry = await startRegistry();
    expect(registry.engine).toMatchObject({ connected: true, error: null, kind: 'docker' });
    const labels = ['tier=web', 'com.docker.compose.project=shop', 'com.docker.compose.service=cart', 'name=overlaid'];
    const id = await docker.run(
      '-d',
      '--name',
      'facts-1',
      ...labels.flatMap((label) => ['--label', label]),
      TEST_IMAGE,
      'sleep',
      '600',
    );
    const container = await until('running', () => {
      const found = registry.find('facts-1');
      return (
        found?.state === 'RUNNING' &&
        found.mountNs !== null &&
        found.imageId !== null &&
        found.privileged !== null &&
        found
      );
    });
    expect(container).toMatchObject({
      id,
      name: 'facts-1',
      image: TEST_IMAGE,
      labels: {
        tier: 'web',
        'com.docker.compose.project': 'shop',
        'com.docker.compose.service': 'cart',
        name: 'overlaid',
      },
      composeProject: 'shop',
      composeService: 'cart',
      privileged: false,
      pod: null,
      runtime: 'docker',
      finishedAt: null,
      removedAt: null,
      imageId: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z$/),
      startedAt: expect.stringMatching(/Z$/),
    });
    expect(container.pid).toBe(Number(await docker.docker('inspect', '-f', '{{.State.Pid}}', id)));
    const address = await docker.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', id);
    expect(container.ips).toEqual(docker.network ? [address] : []);
    const { ino } = await stat(join(root, 'docker', id));
    expect(container.cgroupId).toBe(ino);
    expect(registry.byCgroup(ino)).toBe(container);
    expect(registry.find(id.slice(0, 20))).toBe(container);
    expect(registry.ready(container)).toBe(true);
  });

  it('is followed through pause, rename, exit, restart and removal, and stays findable as a tombstone', async () => {
    const registry = await startRegistry();
    const kinds: string[] = [];
    const id = await docker.run('-d', '--name', 'states-1', TEST_IMAGE, 'sleep', '600');
    const container = await until('running', () => registry.byCgroup(registry.find(id)?.cgroupId ?? -1));
    registry.on('change', (changed, kind) => changed === container && kinds.push(kind));
    const firstCgroup = container.cgroupId ?? -1;
    await docker.docker('pause', 'states-1');
    await until('paused', () => container.state === 'PAUSED');
    await docker.docker('unpause', 'states-1');
    await until('unpaused', () => container.state === 'RUNNING');
    await docker.docker('rename', 'states-1', 'states-2');
    await until('renamed', () => registry.find('states-2') === container);
    expect(registry.find('states-1')).toBeNull();
    await docker.docker('kill', 'states-2');
    await until(
      'exited',
      () => container.state === 'EXITED' && container.pid === null && container.finishedAt !== null,
    );
    await docker.docker('start', 'states-2');
    await until('a new cgroup', () => container.state === 'RUNNING' && container.cgroupId !== firstCgroup);
    expect(registry.byCgroup(firstCgroup)).toBe(container);
    await docker.docker('rm', '-f', 'states-2');
    await until('removed', () => container.state === 'REMOVED');
    expect(container.removedAt).toMatch(/Z$/);
    for (const key of [id, 'states-2', id.slice(0, 12)]) expect(registry.find(key)).toBe(container);
    expect(registry.byCgroup(firstCgroup)).toBe(container);
    expect(kinds).toContain('removed');
    const successor = await docker.run('-d', '--name', 'states-2', TEST_IMAGE, 'sleep', '600');
    await until('the name belongs to the newest holder', () => registry.find('states-2')?.id === successor);
  });

  it('is known to a registry that starts later, running or exited, and its cgroup is found on demand', async () => {
    const exited = await docker.run('-d', '--name', 'early-1', TEST_IMAGE, 'true');
    await docker.docker('wait', exited);
    const registry = await startRegistry();
    expect(registry.find('early-1')).toMatchObject({ id: exited, state: 'EXITED', image: TEST_IMAGE });
    const id = await docker.run('-d', '--name', 'late-1', TEST_IMAGE, 'sleep', '600');
    await registry.close(); // no event reaches it any more: only the file system can tell
    const blind = await startRegistry({ sources: [] });
    const second = await docker.run('-d', TEST_IMAGE, 'sleep', '600');
    const { ino } = await stat(join(root, 'docker', second));
    expect(blind.byCgroup(ino)).toBeUndefined();
    const found = await Promise.all([blind.resolve(ino), blind.resolve(ino), blind.resolve(2 ** 40)]);
    expect(found[0]).toMatchObject({ id: second, name: null, state: 'UNKNOWN', runtime: 'docker', cgroupId: ino });
    expect(found[1]).toBe(found[0]);
    expect(found[2]).toBeNull();
    expect(await blind.resolve((await stat(root)).ino)).toBeNull();
    expect(blind.byCgroup((await stat(root)).ino)).toBeNull();
    const pid = Number(await docker.docker('inspect', '-f', '{{.State.Pid}}', second));
    await until(
      'its first process is found without an engine',
      () => found[0]?.pid === pid && found[0].mountNs !== null,
    );
    expect(blind.find(id)?.name).toBeNull();
  });

  it('is named within its 100 ms of life, thirty times over', async () => {
    const registry = await startRegistry();
    const feed = feedCgroups(registry);
    const settled: boolean[] = [];
    const settle = async (from: ContainerRegistry, container: Container): Promise<void> => {
      settled.push((await from.settle(container, 20_000)) && container.name !== null);
    };
    registry.on('change', (container, kind) => {
      if (kind === 'cgroup') void settle(registry, container);
    });
    const names = Array.from({ length: 30 }, (_, number) => `brief-${number}`);
    for (let at = 0; at < names.length; at += 5) {
      await Promise.all(
        names
          .slice(at, at + 5)
          .map(async (name) => docker.run('--rm', '--network', 'host', '--name', name, TEST_IMAGE, 'true')),
      );
    }
    await until('all removed', () => names.every((name) => registry.find(name)?.state === 'REMOVED'));
    feed.close();
    const containers = names.map((name) => registry.find(name));
    expect(containers.every((container) => container?.image === TEST_IMAGE && container.cgroupId !== null)).toBe(true);
    for (const [id, ino] of feed.ids)
      expect(registry.byCgroup(ino)).toMatchObject({ id, name: expect.stringMatching(/^brief-/) });
    expect(feed.ids.size).toBe(30);
    expect(settled).toEqual(Array.from({ length: 30 }, () => true));
  });

  it('is found by mount namespace and pid on a host without the v2 hierarchy', async () => {
    const registry = await startRegistry({ cgroups: null });
    expect(registry.identity).toBe('MOUNT_NS');
    const id = await docker.run('-d', '--name', 'legacy-1', TEST_IMAGE, 'sleep', '600');
    const container = await until(
      'its mount namespace',
      () => registry.find('legacy-1')?.mountNs != null && registry.find('legacy-1'),
    );
    expect(registry.byMountNs(container.mountNs ?? -1)).toBe(container);
    expect(registry.byCgroup(1)).toBeUndefined();
    expect(await registry.resolvePid(container.pid ?? -1)).toBe(container);
    expect(await registry.resolvePid(process.pid)).toBeNull();
    const alone = await startRegistry({ cgroups: null, sources: [] });
    expect(await alone.resolvePid(container.pid ?? -1)).toMatchObject({ id, name: null, runtime: 'docker' });
    expect(alone.byMountNs(container.mountNs ?? -1)?.id).toBe(id);
  });

  it('is found by a later process of its mount namespace when the first one seen there has ended', async () => {
    const registry = await startRegistry({ cgroups: null, sources: [] });
    const id = await docker.run('-d', TEST_IMAGE, 'sleep', '600');
    const pid = Number(await docker.docker('inspect', '--format', '{{.State.Pid}}', id));
    const mountNs = Number(/\d+/.exec(await readlink(`/proc/${pid}/ns/mnt`))?.[0]);
    const matcher = new CgroupMatcher(
      { containers: [{ id }], waitForContainers: true, cgroups: [], pids: [], descendants: false, uids: [], comms: [] },
      registry,
    );
    const matched = async (...pids: number[]): Promise<{ id: string | undefined; kept: number }> => {
      const view = new DataView(new ArrayBuffer(64 * pids.length));
      for (const [index, each] of pids.entries()) {
        view.setUint32(64 * index + headerOffsets.pid, each, true);
        view.setUint32(64 * index + headerOffsets.mountNs, mountNs, true);
      }
      const offsets = Uint32Array.from(pids, (_, index) => 64 * index);
      await matcher.prepare(view, offsets);
      return { id: matcher.containerAt(view, 0)?.id, kept: matcher.select(view, offsets).length };
    };
    const ended = 2 ** 22 + 1; // beyond any pid
    expect(await matched(ended)).toEqual({ id: undefined, kept: 0 });
    expect(await matched(pid, ended)).toEqual({ id, kept: 2 });
    expect(await matched(ended)).toEqual({ id, kept: 1 });
  });
});

describe('without an engine', () => {
  it('a container whose cgroup has gone is taken for removed', async () => {
    const id = await docker.run('-d', TEST_IMAGE, 'sleep', '600');
    const registry = await startRegistry({ sources: [], sweepMs: 50 });
    const container = registry.find(id);
    expect(container).toMatchObject({ state: 'UNKNOWN', removedAt: null });
    await docker.docker('kill', id);
    await until('removed', () => container?.state === 'REMOVED' && container.pid === null);
    await docker.docker('start', id);
    const { ino } = await stat(join(root, 'docker', id));
    expect(await registry.resolve(ino)).toBe(container);
    expect(container).toMatchObject({ state: 'UNKNOWN', removedAt: null, cgroupId: ino });
  });
});

describe('an engine in trouble', () => {
  it('costs names only while it is dead, and a full list makes up for it', async () => {
    const registry = await startRegistry();
    const statuses: boolean[] = [];
    registry.on('engine', ({ connected }) => statuses.push(connected));
    const id = await docker.run('-d', '--name', 'survivor', TEST_IMAGE, 'sleep', '600');
    const gone = await docker.run('-d', '--name', 'gone-meanwhile', TEST_IMAGE, 'true');
    const container = await until('named', () => registry.find('survivor'));
    await docker.kill();
    await until('the loss is noticed', () => registry.engine?.connected === false);
    expect(registry.engine?.error).toMatch(/\S/);
    expect(container.name).toBe('survivor');
    const before = Date.now();
    const unheard = registry.learnCgroup(2 ** 41, `/docker/${'e'.repeat(64)}`);
    expect(await registry.settle(unheard ?? '', 60_000)).toBe(false);
    expect(Date.now() - before).toBeLessThan(30_000);
    const late = await startRegistry();
    expect(late.find(id)).toMatchObject({ id, name: null, state: 'UNKNOWN' });

    await docker.restart();
    await until(
      'both are connected again',
      () => registry.engine?.connected === true && late.engine?.connected === true,
    );
    await until('the name is there', () => late.find('survivor')?.id === id);
    await docker.docker('rm', gone);
    expect(registry.find('survivor')).toBe(container);
    const fresh = await docker.run('-d', '--name', 'after-restart', TEST_IMAGE, 'sleep', '600');
    await until('events flow again', () => registry.find('after-restart')?.id === fresh);
    await until('the removal is noticed', () => registry.find(gone)?.state === 'REMOVED');
    // The reason may change while it is down (connection lost, then refused); the change to and fro is told once each.
    expect(statuses.filter((connected, position) => connected !== statuses[position - 1])).toEqual([false, true]);
  });

  it('is noticed when it hangs, start returns in two seconds, and nothing of the meantime is missing afterwards', async () => {
    const registry = await startRegistry({
      sources: dockerSources({ log, hosts: [docker.host], requestMs: 500, pingMs: 300, backoffMs: 1000 }),
    });
    const id = await docker.run('-d', '--name', 'frozen-witness', TEST_IMAGE, 'sleep', '600');
    await until('named', () => registry.find('frozen-witness'));
    process.kill(docker.pid(), 'SIGSTOP');
    try {
      const starting = performance.now();
      const late = new ContainerRegistry({
        log,
        sources: dockerSources({ log, hosts: [docker.host], requestMs: 60_000 }),
      });
      open.push(late);
      await late.start();
      expect(performance.now() - starting).toBeLessThan(30_000); // it waits for two, and not for its request
      expect(late.find(id)?.name).toBeNull();
      await until('the hang is noticed', () => registry.engine?.connected === false);
      expect(registry.engine?.error).toMatch(/no response within 500 ms/);
      expect(registry.find('frozen-witness')?.id).toBe(id);
      const closing = performance.now();
      await late.close();
      expect(performance.now() - closing).toBeLessThan(30_000); // nor for its request
    } finally {
      process.kill(docker.pid(), 'SIGCONT');
    }
    const brief = docker.run('--rm', '--network', 'none', '--name', 'thawed', TEST_IMAGE, 'true');
    await until('connected again', () => registry.engine?.connected === true);
    await brief;
    await until('named from the replayed events', () => registry.find('thawed')?.image === TEST_IMAGE);
  });

  it('may be absent altogether', async () => {
    const registry = await startRegistry({ sources: dockerSources({ log, hosts: ['unix:///no/such/docker.sock'] }) });
    expect(registry.engine).toMatchObject({ connected: false, error: expect.stringMatching(/ENOENT/), version: null });
  });
});
