import { assert, property, string } from 'fast-check';
import { mkdtemp, mkdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findCgroupMount, findLegacyMounts } from '../linux/cgroup-mount.js';
import { cgroupClaims, cgroupDirectory, walkCgroups } from './cgroup.js';
import { parseProcessCgroups } from './process-cgroup.js';

const ID = '4e1cbb35a1b6a8a4d6a0c0d4b8f2e2f0a6f0e3f7f3a1d2c4b5e6978812345678';
const OTHER = 'f'.repeat(64);
const UID = '8dbc5577-d0e2-4706-8787-57d52c03ddf2';
const UID_ = UID.replaceAll('-', '_');
const STATIC = 'c2f7b5d5e0a0f1b2c3d4e5f60718293a';

describe('a cgroup path', () => {
  it.each([
    [`/docker/${ID}`, 'docker', null],
    [`/system.slice/docker-${ID}.scope`, 'docker', null],
    [`/user.slice/user-1000.slice/user@1000.service/user.slice/docker-${ID}.scope`, 'docker', null],
    [`/custom-parent/${ID}`, 'unknown', null],
    [`/system.slice/cri-containerd-${ID}.scope`, 'containerd', null],
    [`/system.slice/nerdctl-${ID}.scope`, 'containerd', null],
    [`/kubepods/burstable/pod${UID}/${ID}`, 'containerd', UID],
    [`/kubepods/pod${UID}/${ID}`, 'containerd', UID],
    [`/kubelet/kubepods/besteffort/pod${STATIC}/${ID}`, 'containerd', STATIC],
    [
      `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_}.slice/cri-containerd-${ID}.scope`,
      'containerd',
      UID,
    ],
    [`/kubepods.slice/kubepods-pod${UID_}.slice/crio-${ID}.scope`, 'crio', UID],
    [`/kubepods.slice/kubepods-pod${UID_}.slice/docker-${ID}.scope`, 'docker', UID],
    [`/kubepods.slice/kubepods-pod${STATIC}.slice/crio-${ID}.scope`, 'crio', STATIC],
    [`/system.slice/containerd.service/kubepods-besteffort-pod${UID_}.slice:cri-containerd:${ID}`, 'containerd', UID],
    [`/machine.slice/libpod-${ID}.scope`, 'podman', null],
    [`/libpod_parent/libpod-${ID}`, 'podman', null],
    [`/libpod_parent/${ID}`, 'podman', null],
    [`/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${ID}.scope`, 'podman', null],
    [`/system.slice/web.service/libpod-payload-${ID}`, 'podman', null],
    [`/../../docker/${ID}`, 'docker', null],
  ])('%s names its container', (path, runtime, podUid) => {
    expect(cgroupClaims(path)).toEqual([{ runtime, containerId: ID, name: null, path, podUid }]);
  });

  it.each([
    [`/docker/${ID}/init.scope`, [`/docker/${ID}`]],
    [`/docker/${ID}/docker/${OTHER}`, [`/docker/${ID}`, `/docker/${ID}/docker/${OTHER}`]],
    [
      `/docker/${ID}/kubelet/kubepods/burstable/pod${UID}/${OTHER}`,
      [`/docker/${ID}`, `/docker/${ID}/kubelet/kubepods/burstable/pod${UID}/${OTHER}`],
    ],
    [`/machine.slice/libpod-${ID}.scope/container`, [`/machine.slice/libpod-${ID}.scope`]],
    [`/system.slice/docker-${ID}.scope/system.slice/nginx.service`, [`/system.slice/docker-${ID}.scope`]],
  ])('%s names those that it lies in, outermost first', (path, own) => {
    expect(cgroupClaims(path).map((claim) => claim.path)).toEqual(own);
  });

  it.each([
    ['/lxc.payload.web', 'lxc', 'lxc:web', 'web', '/lxc.payload.web'],
    ['/lxc.payload.web/init.scope', 'lxc', 'lxc:web', 'web', '/lxc.payload.web'],
    ['/lxc/Old_1', 'lxc', 'lxc:Old_1', 'Old_1', '/lxc/Old_1'],
    [
      '/machine.slice/machine-build\\x2dbox.scope/payload',
      'systemd-nspawn',
      'nspawn:build-box',
      'build-box',
      '/machine.slice/machine-build\\x2dbox.scope',
    ],
    [
      '/machine.slice/systemd-nspawn@db.service/payload/init.scope',
      'systemd-nspawn',
      'nspawn:db',
      'db',
      '/machine.slice/systemd-nspawn@db.service',
    ],
    ['/default/my-task', 'containerd', 'ctr:default/my-task', 'my-task', '/default/my-task'],
  ])('%s has the container’s name', (path, runtime, containerId, name, own) => {
    expect(cgroupClaims(path)).toEqual([{ runtime, containerId, name, path: own, podUid: null }]);
  });

  it.each([
    '/lxc.monitor.web',
    '/lxc.pivot',
    '/machine.slice',
    '/machine.slice/machine-qemu\\x2d1\\x2dvm.scope',
    '/system.slice/machine-web.scope',
    '/default',
    '/user.slice/default/web',
    '/default/-x',
    '/',
    '',
    '/docker',
    '/system.slice/docker.service',
    '/user.slice/user-0.slice/session-1.scope',
    `/kubepods/burstable/pod${UID}`,
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_}.slice`,
    `/machine.slice/libpod-conmon-${ID}.scope`,
    `/kubepods.slice/kubepods-pod${UID_}.slice/crio-conmon-${ID}.scope`,
    '/docker/buildkit/x8dk2l0qpz6tm3v5n7r9s1w4y',
    `/docker/${ID.slice(1)}`,
    `/docker/${ID}0`,
    `/docker/${ID.toUpperCase()}`,
    `/docker/g${ID.slice(1)}`,
    '/docker/verylong/'.padEnd(300, 'x'),
  ])('%s is the host’s', (path) => {
    expect(cgroupClaims(path)).toEqual([]);
  });

  it('never names a container without its 64 digits, nor throws', () => {
    assert(
      property(string({ maxLength: 300 }), (path) => {
        expect(
          cgroupClaims(path).every((claim) => path.includes(claim.containerId) && path.startsWith(claim.path)),
        ).toBe(true);
      }),
    );
  });
});

describe('the v2 mount', () => {
  const hybrid = [
    '31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755',
    '32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu',
    '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw',
  ];

  it('is found on a hybrid host, and absent on one with v1 only', () => {
    expect(findCgroupMount(hybrid.join('\n'))).toEqual({ point: '/sys/fs/cgroup/unified', root: '/' });
    expect(findCgroupMount(hybrid.slice(0, 2).join('\n'))).toBeNull();
    expect(findCgroupMount('')).toBeNull();
  });

  it('is the one that shows most of the tree, its escapes undone', () => {
    const own = '50 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup rw';
    const part = '51 31 0:38 /docker/x /mnt/part rw - cgroup2 cgroup rw';
    const host = '52 31 0:38 /../.. /host\\040sys/cgroup ro - cgroup2 cgroup rw';
    expect(findCgroupMount([part, own].join('\n'))?.point).toBe('/sys/fs/cgroup');
    expect(findCgroupMount([own, part, host].join('\n'))).toEqual({ point: '/host sys/cgroup', root: '/../..' });
  });

  it('turns a path into a directory', () => {
    expect(cgroupDirectory({ point: '/c', root: '/' }, '/docker/x')).toBe('/c/docker/x');
    expect(cgroupDirectory({ point: '/c', root: '/docker' }, '/docker/x')).toBe('/c/x');
  });

  it('is walked parents first, ends when told to, and after its limit', async () => {
    const root = await mkdtemp(join(tmpdir(), 'eunomia-walk-'));
    try {
      await mkdir(join(root, 'a/b/c'), { recursive: true });
      await mkdir(join(root, 'd'));
      const seen: string[] = [];
      await walkCgroups({ point: root, root: '/' }, { visit: (_, path) => void seen.push(path) });
      expect(seen).toEqual(['/', '/a', '/d', '/a/b', '/a/b/c']);
      const { ino } = await stat(join(root, 'a'));
      let found = '';
      await walkCgroups({ point: root, root: '/pod' }, { visit: (id, path) => id === ino && (found = path) !== '' });
      expect(found).toBe('/pod/a');
      let count = 0;
      await walkCgroups({ point: root, root: '/' }, { limit: 1, visit: () => void count++ });
      expect(count).toBe(1);
      await walkCgroups({ point: join(root, 'nowhere'), root: '/' }, { visit: () => void count++ });
      expect(count).toBe(1);
    } finally {
      await rm(root, { recursive: true });
    }
  });
});

describe('a process’s cgroups', () => {
  it('come with the unified hierarchy first, and with colons in a path', () => {
    const text =
      `9:name=systemd:/docker/${OTHER}\n3:cpu,cpuacct:/system.slice/x.slice:cri-containerd:${ID}\n` +
      `0::/system.slice/docker-${ID}.scope (deleted)\n`;
    expect(parseProcessCgroups(text)).toEqual([
      { unified: true, controllers: '', path: `/system.slice/docker-${ID}.scope` },
      { unified: false, controllers: 'name=systemd', path: `/docker/${OTHER}` },
      { unified: false, controllers: 'cpu,cpuacct', path: `/system.slice/x.slice:cri-containerd:${ID}` },
    ]);
    expect(parseProcessCgroups('')).toEqual([]);
  });

  it('lie where their hierarchy is mounted', () => {
    const mounts = findLegacyMounts(
      [
        '32 31 0:29 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct',
        '33 31 0:30 / /c/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd',
      ].join('\n'),
    );
    expect([...mounts]).toEqual([
      ['cpu,cpuacct', { point: '/c/cpu', root: '/' }],
      ['name=systemd', { point: '/c/systemd', root: '/' }],
    ]);
  });
});
