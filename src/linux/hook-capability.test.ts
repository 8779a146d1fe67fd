import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { root } from '../base/paths.js';
import { isCapability } from './capability.js';
import { capabilitiesFor, missingCapabilities, neededCapabilities } from './hook-capability.js';

const names = neededCapabilities.map(({ name }) => name);
const short = names.map((name) => name.replace('CAP_', ''));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

describe('the table of capabilities', () => {
  it('has names of capabilities', () => {
    expect(names.filter((name) => !isCapability(name))).toEqual([]);
  });

  it('says what hooks need', () => {
    expect(capabilitiesFor(['tp_btf/sched_process_exec'])).toEqual(['CAP_BPF', 'CAP_PERFMON']);
    for (const hook of ['cgroup_skb/egress', 'cgroup/connect4', 'cgroup/sysctl', 'sockops'])
      expect(capabilitiesFor(['tp_btf/sys_exit', hook])).toEqual(['CAP_BPF', 'CAP_PERFMON', 'CAP_NET_ADMIN']);
    expect(capabilitiesFor(['tp_btf/cgroup_mkdir'])).toEqual(['CAP_BPF', 'CAP_PERFMON']);
    expect(capabilitiesFor([])).toEqual([]);
  });

  it('says what a process lacks, for which CAP_SYS_ADMIN stands', () => {
    expect(missingCapabilities(['cgroup/connect4'], new Set(['CAP_BPF', 'CAP_PERFMON']))).toEqual(['CAP_NET_ADMIN']);
    expect(missingCapabilities(['cgroup/connect4'], new Set(['CAP_SYS_ADMIN']))).toEqual([]);
    expect(missingCapabilities(['tp_btf/sys_exit'], new Set(['CAP_BPF', 'CAP_PERFMON']))).toEqual([]);
  });

  it('is what compose.yaml adds', () => {
    const { services } = parse(read('docker/compose.yaml')) as {
      services: { eunomia: { cap_add: string[]; cap_drop: string[] } };
    };
    expect(services.eunomia).toMatchObject({ cap_drop: ['ALL'], cap_add: short });
  });

  it('is what the systemd unit grants', () => {
    const unit = read('deploy/systemd/eunomia.service');
    for (const setting of ['CapabilityBoundingSet', 'AmbientCapabilities'])
      expect(new RegExp(`^${setting}=(.*)$`, 'm').exec(unit)?.[1]?.split(' ')).toEqual(names);
  });

  it('is what docs/docker.md runs the image with, and explains', () => {
    const page = read('docs/docker.md');
    expect([...page.matchAll(/--cap-add (\w+)/g)].map(([, name]) => name)).toEqual(short);
    const rows = [...page.matchAll(/^\| `(?:CAP_)?([A-Z_]+)` \| (.*) \|$/gm)].map(([, name, why]) => [name, why]);
    expect(rows).toEqual(neededCapabilities.map(({ name, why }) => [name.replace('CAP_', ''), why]));
  });
});
