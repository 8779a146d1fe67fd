import { expect, it } from 'vitest';
import { EunomiaError } from '../base/errors.js';
import { createRuntime } from '../record/runtime.js';
import dns from '../trackers/dns.js';
import open from '../trackers/open.js';
import { foretold, type Machinery } from './foretold.js';

const machine: Machinery = {
  release: '6.18.5-amd64',
  held: new Set(['CAP_SYS_ADMIN']),
  hasTracepoint: () => true,
  cgroupRoot: () => '/sys/fs/cgroup',
};
const tell = (definition: typeof open, changes: Partial<Machinery> = {}) =>
  foretold(createRuntime(definition), { ...machine, ...changes });

it('tells what a kernel can run, with its hooks and what they need', () => {
  expect(tell(open)).toMatchObject({
    available: true,
    reason: null,
    hooks: expect.arrayContaining(['tp_btf/sys_exit', 'tp_btf/io_uring_complete']) as string[],
    capabilities: ['CAP_BPF', 'CAP_PERFMON'],
    missingCapabilities: [],
    blindSpots: [],
  });
});

it.each([
  ['5.10.0-28-amd64', 'it needs Linux 5.17, and this is 5.10.0-28-amd64'],
  ['5.16.20', 'it needs Linux 5.17, and this is 5.16.20'],
  ['5.17.0', null],
  ['10.0.1', null],
])('compares versions: Linux %s', (release, reason) => {
  expect(tell(open, { release })).toMatchObject({ available: reason === null, reason });
});

it('without a tracepoint that it needs a tracker cannot run; without one of its optional programs it sees less', () => {
  const without = (missing: string) => ({ hasTracepoint: (name: string) => name !== missing });
  expect(tell(open, without('sys_exit')).reason).toBe('this kernel has no tp_btf/sys_exit');
  const blind = tell(open, without('io_uring_complete'));
  expect(blind.available).toBe(true);
  expect(blind.hooks).not.toContain('tp_btf/io_uring_complete');
  expect(blind.blindSpots).toEqual([expect.stringContaining('io_uring') as string]);
});

it('asks for the root of the cgroups where programs attach there', () => {
  const cgroupRoot = (): never => {
    throw new EunomiaError('NO_CGROUP_ROOT', 'no cgroup v2 hierarchy is mounted');
  };
  expect(tell(dns as typeof open, { cgroupRoot }).reason).toBe('no cgroup v2 hierarchy is mounted');
  expect(tell(open, { cgroupRoot }).reason).toBeNull();
});

it('says which right is lacking, and for what', () => {
  const held = new Set(['CAP_BPF', 'CAP_PERFMON']);
  expect(tell(open, { held }).reason).toBeNull();
  expect(tell(dns as typeof open, { held })).toMatchObject({
    reason: expect.stringMatching(/^this process lacks CAP_NET_ADMIN, which cgroup\/connect4, .* need$/) as string,
    missingCapabilities: ['CAP_NET_ADMIN'],
  });
  expect(tell(open, { held: new Set() }).reason).toBe(
    'this process lacks CAP_BPF and CAP_PERFMON, which all trackers need',
  );
});
