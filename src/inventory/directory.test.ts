import { beforeEach, describe, expect, it } from 'vitest';
import { cgroupClaims } from './cgroup.js';
import type { Container } from './container.js';
import { ContainerDirectory, type ChangeKind } from './directory.js';

const id = (start: string): string => start.padEnd(64, '0');
const A = id('aaa1');
const B = id('aaa2');
const C = id('c');

let clock = 0;
let changes: [string | null, ChangeKind][] = [];
let directory: ContainerDirectory;

beforeEach(() => {
  clock = 1_700_000_000_000;
  changes = [];
  directory = new ContainerDirectory({
    tombstones: 3,
    tombstoneMs: 1000,
    now: () => clock,
    onChange: ({ name }, kind) => changes.push([name, kind]),
  });
});

const learn = (cgroup: number, path: string): Container | null =>
  directory.learnCgroup(cgroup, path, cgroupClaims(path)[0] ?? null);

describe('the container directory', () => {
  it('keeps one object for a container from its cgroup to its facts to its removal', () => {
    const container = learn(7, `/docker/${A}`);
    expect(directory.byCgroup(7)).toBe(container);
    expect(container).toMatchObject({ id: A, state: 'UNKNOWN', runtime: 'docker', cgroupId: 7, name: null });
    expect(directory.isNamed(A)).toBe(false);
    expect(directory.apply({ id: A, name: 'web', image: 'nginx', state: 'RUNNING' })).toBe(container);
    expect(directory.isNamed(A)).toBe(true);
    directory.remove(A);
    expect(directory.byCgroup(7)).toBe(container);
    expect(changes).toEqual([
      [null, 'added'],
      [null, 'cgroup'],
      ['web', 'facts'],
      ['web', 'state'],
      ['web', 'removed'],
    ]);
  });

  it('tells the host’s cgroups from unknown ones', () => {
    learn(1, '/');
    expect(directory.byCgroup(1)).toBeNull();
    expect(directory.byCgroup(2)).toBeUndefined();
  });

  it('gives nested cgroups and those of earlier runs to their container', () => {
    const container = learn(7, `/docker/${A}`);
    learn(8, `/docker/${A}/init.scope`);
    learn(9, `/docker/${A}`);
    expect([7, 8, 9].map((cgroup) => directory.byCgroup(cgroup))).toEqual([container, container, container]);
    expect(container?.cgroupId).toBe(9);
    expect(directory.cgroupIds(A)).toEqual([7, 8, 9]);
  });

  it('takes a cgroup from a container when it turns out to be another’s, or the host’s', () => {
    learn(7, `/docker/${A}`);
    learn(8, `/docker/${A}/docker/${B}`);
    directory.learnCgroup(8, `/docker/${A}/docker/${B}`, cgroupClaims(`/docker/${A}/docker/${B}`)[1] ?? null);
    expect(directory.cgroupIds(A)).toEqual([7]);
    expect(directory.byCgroup(8)).toMatchObject({ id: B, cgroupId: 8 });
    directory.learnCgroup(8, `/docker/${A}/docker/${B}`, null);
    expect(directory.byCgroup(8)).toBeNull();
    expect(directory.byId(B)).toMatchObject({ cgroupId: null });
    expect(directory.byId(A)).toMatchObject({ cgroupId: 7 });
  });

  it('keeps the pod’s uid that only a path tells', () => {
    const path = `/kubepods.slice/kubepods-pod01234567_89ab_cdef_0123_456789abcdef.slice/cri-containerd-${A}.scope`;
    expect(learn(7, path)).toMatchObject({ podUid: '01234567-89ab-cdef-0123-456789abcdef', pod: null });
    expect(
      directory.apply({ id: B, labels: { 'io.kubernetes.pod.name': 'web-0', 'io.kubernetes.pod.uid': 'u-1' } }),
    ).toMatchObject({ podUid: 'u-1' });
  });

  it('takes a name that the path tells, needs no engine for it, and lets it go with the cgroup', () => {
    const container = learn(7, '/lxc.payload.web');
    expect(container).toMatchObject({ id: 'lxc:web', name: 'web', runtime: 'lxc', state: 'UNKNOWN', cgroupId: 7 });
    expect(directory.find('web')).toBe(container);
    expect(directory.isReady('lxc:web')).toBe(true);
    expect(directory.isNamed('lxc:web')).toBe(false);
    expect(changes).toEqual([
      [null, 'added'],
      ['web', 'facts'],
      ['web', 'cgroup'],
    ]);
  });

  it('says nothing when nothing changed', () => {
    directory.apply({ id: A, name: 'web', labels: { a: 'b' }, ips: ['10.0.0.1'], state: 'RUNNING' });
    changes = [];
    directory.apply({ id: A, name: 'web', labels: { a: 'b' }, ips: ['10.0.0.1'], state: 'RUNNING' });
    expect(changes).toEqual([]);
  });

  it('keeps the last addresses of a container that has stopped', () => {
    directory.apply({ id: A, state: 'RUNNING', ips: ['10.0.0.1'] });
    expect(directory.apply({ id: A, state: 'EXITED', ips: [] }).ips).toEqual(['10.0.0.1']);
    expect(directory.apply({ id: A, state: 'RUNNING', ips: [] }).ips).toEqual([]);
  });

  it('reads the pod and the compose project from labels', () => {
    const labels = {
      'io.kubernetes.pod.name': 'web-0',
      'io.kubernetes.pod.namespace': 'shop',
      'io.kubernetes.pod.uid': 'u-1',
      'annotation.io.kubernetes.container.hash': '1',
      app: 'web',
    };
    expect(directory.apply({ id: A, labels }).pod).toEqual({
      name: 'web-0',
      namespace: 'shop',
      uid: 'u-1',
      labels: { app: 'web' },
    });
    expect(directory.apply({ id: B, labels: { 'io.podman.compose.project': 'p' } })).toMatchObject({
      composeProject: 'p',
      composeService: null,
      pod: null,
    });
  });
});

describe('finding a container', () => {
  beforeEach(() => {
    directory.apply({ id: A, name: 'web', state: 'RUNNING' });
    directory.apply({ id: B, name: 'c0', state: 'RUNNING' });
    directory.apply({ id: C, name: 'db', state: 'RUNNING' });
  });

  it('takes an exact name before an id prefix, and Docker’s slash', () => {
    expect(directory.find('c0')?.id).toBe(B);
    expect(directory.find('/web')?.id).toBe(A);
  });

  it('takes an id, in either case, and a prefix that fits one', () => {
    expect(directory.find(A.toUpperCase())?.id).toBe(A);
    expect(directory.find('aaa2')?.id).toBe(B);
    expect(directory.find('C')?.id).toBe(C);
  });

  it('finds nothing for what fits nothing', () => {
    for (const reference of ['', 'we', 'nothing', 'd', 'zz']) expect(directory.find(reference)).toBeNull();
  });

  it('refuses a prefix that fits several, and names them', () => {
    expect(() => directory.find('aaa')).toThrow(
      expect.objectContaining({
        code: 'AMBIGUOUS_CONTAINER',
        message: expect.stringMatching(/2 container ids: aaa1\S* \(web\), aaa2\S* \(c0\)/),
      }),
    );
  });

  it('takes an existing container before a removed one', () => {
    directory.remove(A);
    expect(directory.find('aaa')?.id).toBe(B);
    expect(directory.find('aaa1')).toMatchObject({ id: A, state: 'REMOVED' });
  });

  it('gives a name to its newest holder, and a renamed container loses its old one', () => {
    directory.remove(A);
    expect(directory.find('web')?.id).toBe(A);
    directory.apply({ id: C, name: 'web' });
    expect(directory.find('web')?.id).toBe(C);
    expect(directory.find('db')).toBeNull();
    directory.apply({ id: A, name: 'web', image: 'late response' });
    expect(directory.find('web')?.id).toBe(C);
  });
});

describe('a tombstone', () => {
  it('of a container is not pushed out by those of namespaces, which any user makes without end', () => {
    const container = learn(7, `/docker/${A}`);
    directory.apply({ id: A, name: 'web' });
    directory.remove(A);
    for (let pid = 1; pid <= 10; pid++) {
      directory.ensure({ containerId: `pidns:${pid}-0001abcd`, runtime: 'unknown', name: null, podUid: null });
      directory.remove(`pidns:${pid}-0001abcd`);
    }
    expect(directory.byCgroup(7)).toBe(container);
    expect(directory.find('web')).toBe(container);
    expect(directory.list().map(({ id: each }) => each)).toEqual([
      A,
      'pidns:8-0001abcd',
      'pidns:9-0001abcd',
      'pidns:10-0001abcd',
    ]);
    clock += 2000;
    expect(directory.list()).toEqual([]);
  });

  it('stays removed when a late response calls it running, until the engine lists it', () => {
    directory.apply({ id: A, name: 'web', state: 'RUNNING', pid: 5 });
    directory.remove(A, '2026-01-01T00:00:00.000000001Z');
    expect(directory.apply({ id: A, imageId: 'sha256:1', state: 'RUNNING', pid: 5 })).toMatchObject({
      state: 'REMOVED',
      pid: null,
      imageId: 'sha256:1',
      removedAt: '2026-01-01T00:00:00.000000001Z',
    });
    expect(directory.apply({ id: A, state: 'RUNNING' }, { listed: true })).toMatchObject({
      state: 'RUNNING',
      removedAt: null,
    });
    clock += 10_000;
    expect(directory.list().map((container) => container.id)).toEqual([A]);
  });

  it('is forgotten beyond the number that is kept, with its cgroups and its name', () => {
    for (const [position, start] of ['1', '2', '3', '4'].entries()) {
      learn(position + 1, `/docker/${id(start)}`);
      directory.apply({ id: id(start), name: `name-${start}` });
      directory.remove(id(start));
    }
    expect(directory.byCgroup(1)).toBeUndefined();
    expect(directory.find('name-1')).toBeNull();
    expect(directory.byId(id('1'))).toBeUndefined();
    expect(directory.byCgroup(2)).toMatchObject({ name: 'name-2', state: 'REMOVED' });
  });

  it('is forgotten after its time', () => {
    directory.apply({ id: A, name: 'web' });
    directory.remove(A);
    clock += 999;
    expect(directory.find('web')?.id).toBe(A);
    clock += 2;
    expect(directory.find('web')).toBeNull();
    expect(directory.list()).toEqual([]);
  });

  it('leaves the name alone that another holds by now', () => {
    directory.apply({ id: A, name: 'web' });
    directory.remove(A);
    directory.apply({ id: B, name: 'web' });
    clock += 2000;
    expect(directory.find('web')?.id).toBe(B);
  });

  it('of a container without an engine lives again with a new cgroup', () => {
    learn(1, `/docker/${A}`);
    directory.remove(A);
    expect(learn(2, `/docker/${A}`)).toMatchObject({ state: 'UNKNOWN', removedAt: null });
  });
});

describe('a mount namespace', () => {
  it('belongs to its container for five seconds after the end, or until another has the number', () => {
    directory.apply({ id: A, state: 'RUNNING' });
    directory.learnMountNs(40, A);
    directory.learnMountNs(41, A);
    expect(directory.byMountNs(40)?.id).toBe(A);
    directory.apply({ id: A, state: 'EXITED' });
    clock += 4999;
    expect(directory.byMountNs(40)?.id).toBe(A);
    directory.apply({ id: B, state: 'RUNNING' });
    directory.learnMountNs(41, B);
    clock += 2;
    expect(directory.byMountNs(40)).toBeUndefined();
    expect(directory.byMountNs(41)?.id).toBe(B);
  });
});

describe('memory', () => {
  it('stays bounded when the host or a container makes cgroups without end', () => {
    learn(1, `/docker/${A}`);
    for (let cgroup = 2; cgroup < 5000; cgroup += 1) learn(cgroup, `/docker/${A}/unit-${cgroup}`);
    expect(directory.cgroupIds(A)).toHaveLength(4096);
    expect(directory.byCgroup(1)?.id).toBe(A);
    for (let cgroup = 10_000; cgroup < 80_000; cgroup += 1) learn(cgroup, `/user.slice/${cgroup}`);
    expect(directory.byCgroup(10_000)).toBeUndefined();
    expect(directory.byCgroup(79_999)).toBeNull();
  });
});
