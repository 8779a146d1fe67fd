import { expect, it } from 'vitest';
import { readCurrentRights } from './current-rights.js';

const rights = (host: object, more: object = {}) => readCurrentRights({ HostConfig: host, ...more });

it('is the default of the engine where nothing else was asked for', () => {
  expect(rights({ Memory: 0, PidsLimit: null })).toMatchObject({
    privileged: false,
    seccomp: 'default',
    readOnlyRoot: false,
    noNewPrivileges: false,
    user: '',
    memoryBytes: null,
    pids: null,
  });
  expect(rights({})?.capabilities).toHaveLength(14);
});

it.each([
  [['NET_ADMIN'], ['ALL'], ['CAP_NET_ADMIN']],
  [['cap_sys_time'], [], 15],
  [[], ['CHOWN', 'CAP_KILL'], 12],
  [['ALL'], ['SYS_ADMIN'], 40],
])('has the capabilities of added %j and dropped %j', (CapAdd, CapDrop, expected) => {
  const found = rights({ CapAdd, CapDrop })?.capabilities;
  if (typeof expected === 'number') expect(found).toHaveLength(expected);
  else expect(found).toEqual(expected);
});

it('reads what was asked for', () => {
  const profile = JSON.stringify({ syscalls: [{ names: ['write', 'read'], action: 'SCMP_ACT_ALLOW' }] });
  expect(
    rights(
      {
        SecurityOpt: ['no-new-privileges', `seccomp=${profile}`],
        Tmpfs: { '/tmp': '' },
        Devices: [{ PathInContainer: '/dev/fuse' }],
        NanoCpus: 1.5e9,
        Memory: 1024,
      },
      { Config: { User: '1000' }, Mounts: [{ Destination: '/data', RW: false }] },
    ),
  ).toMatchObject({
    seccomp: 'custom',
    calls: ['read', 'write'],
    noNewPrivileges: true,
    tmpfs: ['/tmp'],
    devices: ['/dev/fuse'],
    cpus: 1.5,
    memoryBytes: 1024,
    user: '1000',
    mounts: [{ path: '/data', writable: false }],
  });
});

it.each([null, {}, [], 'text', { HostConfig: 1 }])('reads nothing from %j', (response) => {
  expect(readCurrentRights(response)).toBeNull();
});
