import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Refusal, Rights, SeccompRule } from '../../event/advice.js';
import { permitPrivileges, widen, type MissingRight } from './widen.js';

const least: Rights = {
  seccomp: {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 1,
    architectures: ['SCMP_ARCH_X86_64'],
    syscalls: [{ names: ['execve', 'write'], action: 'SCMP_ACT_ALLOW' }],
  },
  capabilities: [],
  readOnlyRoot: true,
  tmpfs: [],
  volumes: [{ path: '/data', writable: false }],
  devices: [],
  user: null,
  noNewPrivileges: true,
  ports: [],
  peers: [],
  limits: { memoryBytes: null, pids: null, cpus: null },
};

const refusal = (kind: Refusal['kind'], what: string, errno: string | null = null): Refusal => ({
  kind,
  what,
  argument: null,
  errno,
  call: null,
  process: { pid: 7, comm: 'app', executable: null, args: null },
  time: '2026-01-01T00:00:00.000000000Z',
  stack: null,
});
const call = (what: string, answer: number | null = null): MissingRight => ({
  ...refusal('CALL', what, 'EPERM'),
  answer,
});
const allow = (...names: string[]): SeccompRule => ({ names, action: 'SCMP_ACT_ALLOW' });
const withRules = (...syscalls: SeccompRule[]): Rights => ({ ...least, seccomp: { ...least.seccomp, syscalls } });

describe('widening', () => {
  it('allows a call that was refused', () => {
    const { rights, added } = widen(least, [call('openat'), call('openat')]);
    expect(rights.seccomp.syscalls).toEqual([allow('execve', 'openat', 'write')]);
    expect(added).toEqual(['openat']);
  });

  it('allows with all arguments what was allowed with some', () => {
    const narrow = { ...allow('socket'), args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ' as const }] };
    expect(widen(withRules(allow('write'), narrow), [call('socket')]).rights.seccomp.syscalls).toEqual([
      allow('socket', 'write'),
    ]);
  });

  it('answers with the error number that the container’s own rights answer with', () => {
    const { rights } = widen(least, [call('clone3', 38)]);
    const answer: SeccompRule = { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 };
    expect(rights.seccomp.syscalls).toEqual([allow('execve', 'write'), answer]);
    expect(widen(rights, [call('clone3', 38)]).added).toEqual([]);
    expect(widen(rights, [call('clone3')]).rights.seccomp.syscalls).toEqual([allow('clone3', 'execve', 'write')]);
  });

  it('adds a capability', () => {
    const once = widen(least, [refusal('CAPABILITY', 'CAP_SETUID')]);
    expect(once).toMatchObject({ rights: { capabilities: ['CAP_SETUID'] }, added: ['CAP_SETUID'] });
    expect(widen(once.rights, [refusal('CAPABILITY', 'CAP_SETUID')]).added).toEqual([]);
  });

  it('permits executables to get privileges where a capability was there in vain', () => {
    const denied = [refusal('CAPABILITY', 'CAP_SETUID')];
    expect(permitPrivileges(least, denied).added).toEqual([]);
    const { rights, added } = permitPrivileges({ ...least, capabilities: ['CAP_SETUID'] }, denied);
    expect([rights.noNewPrivileges, added.length]).toEqual([false, 1]);
    expect(permitPrivileges(rights, denied).added).toEqual([]);
  });

  it.each([
    ['/run/app.pid', ['/run']],
    ['/var/run/nginx/nginx.pid', ['/var/run']],
    ['/tmp/a/b', ['/tmp']],
    ['/var/log/nginx/access.log', ['/var/log/nginx']],
  ])('makes room for %s in memory', (path, tmpfs) => {
    const { rights } = widen(least, [refusal('PATH', path, 'EROFS')]);
    expect([rights.tmpfs.map((one) => one.path), rights.readOnlyRoot]).toEqual([tmpfs, true]);
  });

  it('makes a volume where the image may have something', () => {
    const { rights } = widen(least, [refusal('PATH', '/var/lib/redis/dump.rdb', 'EROFS')]);
    expect(rights.volumes).toEqual([
      { path: '/data', writable: false },
      { path: '/var/lib/redis', writable: true },
    ]);
  });

  it('makes the root writable where a mount would hide what programs need', () => {
    expect(widen(least, [refusal('PATH', '/etc/app.conf', 'EROFS')]).rights).toMatchObject({
      readOnlyRoot: false,
      tmpfs: [],
    });
  });

  it('makes the volume of a path writable, the innermost one', () => {
    const nested: Rights = { ...least, volumes: [...least.volumes, { path: '/data/in', writable: false }] };
    expect(widen(nested, [refusal('PATH', '/data/in/x', 'EROFS')]).rights.volumes).toEqual([
      { path: '/data', writable: false },
      { path: '/data/in', writable: true },
    ]);
  });

  it('gives the user back whom the image’s files belong to', () => {
    const other: Rights = { ...least, user: '1000:1000' };
    expect(widen(other, [refusal('PATH', '/srv/x', 'EACCES')]).rights.user).toBeNull();
    expect(widen(least, [refusal('PATH', '/srv/x', 'EACCES')]).added).toEqual([]);
  });

  it('adds a device', () => {
    expect(widen(least, [refusal('DEVICE', '/dev/fuse', 'EPERM')]).rights.devices).toEqual([
      { path: '/dev/fuse', access: 'rwm' },
    ]);
  });
});

const names = fc.constantFrom('openat', 'socket', 'clone3', 'bind', 'execve', 'mount');
const paths = fc.constantFrom('/tmp/x', '/data/x', '/etc/x', '/run/a/b', '/var/log/a/b', '/srv/x');
const refusals = fc.array(
  fc.oneof(
    fc.tuple(names, fc.constantFrom(null, 38)).map(([name, answer]) => call(name, answer)),
    fc.constantFrom('CAP_CHOWN', 'CAP_KILL').map((name) => refusal('CAPABILITY', name)),
    fc.tuple(paths, fc.constantFrom('EROFS', 'EACCES')).map(([path, errno]) => refusal('PATH', path, errno)),
    fc.constantFrom('/dev/fuse', '/dev/kvm').map((path) => refusal('DEVICE', path, 'EPERM')),
  ),
  { maxLength: 12 },
);

/** What rights allow, as a set of texts. */
function allowed({
  seccomp,
  capabilities,
  readOnlyRoot,
  tmpfs,
  volumes,
  devices,
  user,
  noNewPrivileges,
}: Rights): Set<string> {
  return new Set([
    ...seccomp.syscalls.flatMap((rule) => (rule.action === 'SCMP_ACT_ALLOW' && !rule.args ? rule.names : [])),
    ...capabilities,
    ...(readOnlyRoot ? [] : ['/']),
    ...tmpfs.map(({ path }) => path),
    ...volumes.flatMap(({ path, writable }) => (writable ? [path] : [])),
    ...devices.map(({ path }) => path),
    ...(user === null ? ['user'] : []),
    ...(noNewPrivileges ? [] : ['privileges']),
  ]);
}

const contains = (whole: ReadonlySet<string>, part: ReadonlySet<string>): boolean =>
  [...part].every((one) => whole.has(one));

describe('widening any rights by any refusals', () => {
  it('takes nothing away, and ends', () => {
    fc.assert(
      fc.property(refusals, refusals, (first, second) => {
        const once = widen({ ...least, user: '7:7' }, first).rights;
        const twice = widen(once, second).rights;
        expect(contains(allowed(twice), allowed(once))).toBe(true);
        expect(widen(twice, [...first, ...second]).added).toEqual([]);
      }),
    );
  });

  it('allows the calls that no answer was wanted of, once each', () => {
    fc.assert(
      fc.property(refusals, (all) => {
        const { rights } = widen(least, all);
        const listed = rights.seccomp.syscalls.flatMap((rule) => rule.names);
        expect(new Set(listed).size).toBe(listed.length);
        for (const { kind, what, answer } of all as MissingRight[])
          if (kind === 'CALL' && answer == null) expect(allowed(rights).has(what)).toBe(true);
      }),
    );
  });
});
