import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import type { Rights } from '../../event/advice.js';
import { archiveOf } from './archive.js';
import { copyConfig } from './copy-config.js';
import { attempts, helperArchive } from './helper.js';
import { readOriginal, type Original } from './original.js';
import { isLeftOver, labelsOf } from './owner.js';

const ID = 'c'.repeat(64);

const inspected = {
  Id: ID,
  Name: '/web',
  Image: 'sha256:1',
  State: { Running: true },
  Config: {
    Image: 'nginx:1',
    Cmd: ['nginx'],
    Entrypoint: null,
    Env: ['A=b'],
    WorkingDir: '/srv',
    User: '',
    Hostname: ID.slice(0, 12),
    Labels: { 'traefik.enable': 'true' },
  },
  HostConfig: {
    Privileged: true,
    CapAdd: ['SYS_ADMIN'],
    SecurityOpt: ['seccomp=unconfined', 'label=disable'],
    NetworkMode: 'host',
    PidMode: 'host',
    PortBindings: { '80/tcp': [{}] },
    RestartPolicy: { Name: 'always' },
    Devices: [{ PathOnHost: '/dev/fuse', PathInContainer: '/dev/fuse', CgroupPermissions: 'rwm' }],
    PidsLimit: null,
    Memory: 1 << 20,
  },
  NetworkSettings: { Networks: { front: { Aliases: ['www', ID.slice(0, 12)] } } },
};

const rights: Rights = {
  seccomp: { defaultAction: 'SCMP_ACT_ERRNO', architectures: [], syscalls: [] },
  capabilities: ['CAP_CHOWN'],
  readOnlyRoot: true,
  tmpfs: [{ path: '/run', sizeBytes: 1024 }],
  volumes: [],
  devices: [
    { path: '/dev/fuse', access: 'rw' },
    { path: '/dev/mem', access: 'r' },
  ],
  user: '7:7',
  noNewPrivileges: true,
  ports: [],
  peers: [],
  limits: { memoryBytes: null, pids: 9, cpus: 0.5 },
};

const original = readOriginal(inspected) as Original;
const place = { labels: { 'eunomia.advice': '1' }, network: 'own', mounts: [], logs: {}, seccomp: null };

describe('a copy of a container', () => {
  it('is never privileged, and is in no namespace of the host, behind no port and under no label of the original', () => {
    const config = copyConfig(original, null, place);
    expect(config).toMatchObject({
      Image: 'sha256:1',
      Cmd: ['nginx'],
      Env: ['A=b'],
      Hostname: null,
      Labels: { 'eunomia.advice': '1' },
      HostConfig: { NetworkMode: 'own', RestartPolicy: { Name: 'no' }, CapAdd: ['SYS_ADMIN'] },
      NetworkingConfig: { EndpointsConfig: { own: { Aliases: ['web', 'www'] } } },
    });
    expect(JSON.stringify(config)).not.toMatch(/Privileged|PidMode|PortBindings|traefik|always/);
  });

  it('has the rights that it is given, and no device that the original has not', () => {
    const seccomp = JSON.stringify(rights.seccomp);
    const { HostConfig, User } = copyConfig(original, rights, { ...place, seccomp }) as {
      HostConfig: Record<string, unknown>;
      User: string;
    };
    expect(User).toBe('7:7');
    expect(HostConfig).toMatchObject({
      CapDrop: ['ALL'],
      CapAdd: ['CAP_CHOWN'],
      SecurityOpt: ['label=disable', `seccomp=${seccomp}`, 'no-new-privileges'],
      ReadonlyRootfs: true,
      Tmpfs: { '/run': 'size=1024' },
      Devices: [{ PathOnHost: '/dev/fuse', PathInContainer: '/dev/fuse', CgroupPermissions: 'rw' }],
      Memory: 1 << 20,
      NanoCpus: 5e8,
      PidsLimit: 9,
    });
  });

  it('is made of what the engine tells only where it describes a container', () => {
    for (const wrong of [null, [], {}, { ...inspected, Id: '../x' }, { ...inspected, Config: 1 }])
      expect(readOriginal(wrong)).toBeNull();
  });
});

describe('what a rehearsal makes', () => {
  const now = Date.now();
  const labels = labelsOf('1', now + 60_000);

  it('is needed while its process lives, and until its time is over', () => {
    expect(isLeftOver(labels, now)).toBe(false);
    expect(isLeftOver(labels, now + 120_000)).toBe(true);
    expect(isLeftOver({}, now + 120_000)).toBe(false);
  });

  it('is left over once its process has ended, also where another has its pid', () => {
    const owner = labels['eunomia.advice.owner'] ?? '';
    const ended = spawnSync('true').pid;
    const as = (changed: string) => isLeftOver({ ...labels, 'eunomia.advice.owner': changed }, now);
    expect(as(owner.replace(/:\d+:\d+$/, `:${ended}:1`))).toBe(true);
    expect(as(owner.replace(/\d+$/, '1'))).toBe(true);
    // Of another machine nothing can be told but the time.
    expect(as(owner.replace(/^[^:]+/, 'another-boot').replace(/\d+$/, '1'))).toBe(false);
  });
});

describe('the helper', () => {
  it('is an archive that tar reads', () => {
    const listing = (archive: Buffer) => execFileSync('tar', ['-tvf', '-'], { input: archive, encoding: 'utf8' });
    expect(listing(archiveOf([{ path: 'a/b', mode: 0o640, uid: 7, content: Buffer.from('x'.repeat(700)) }]))).toMatch(
      /^-rw-r----- 7\/7 +700 .* a\/b\n$/,
    );
    const all = listing(helperArchive() ?? Buffer.alloc(0));
    for (const { program } of attempts) expect(all).toContain(`.eunomia/${program}\n`);
  });
});
