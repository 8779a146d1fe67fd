import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseTracepoints, parseTypeNames } from './tracepoints.js';
import { loadTrackers } from '../catalog/load.js';

const BTF = '/sys/kernel/btf/vmlinux';

describe.skipIf(!existsSync(BTF))('the tracepoints of the running kernel', () => {
  it('are known with how many arguments they have', () => {
    const found = parseTracepoints(readFileSync(BTF));
    expect(found.get('sys_enter')).toBe(2);
    expect(found.get('inet_sock_set_state')).toBe(3);
    expect(found.has('no_such_tracepoint')).toBe(false);
    expect(found.size).toBeGreaterThan(100);
  });
});

describe.skipIf(!existsSync(BTF))('the types of the running kernel', () => {
  it('are told from names of other things, and from what is not there', () => {
    const names = new Set(['task_struct', 'pid_t', 'vfs_read', 'no_such_type', 'nsproxy']);
    expect(parseTypeNames(readFileSync(BTF), names)).toEqual(new Set(['task_struct', 'pid_t', 'nsproxy']));
  });
});

describe('the blind spots of a tracker', () => {
  it('are told for each tracker, in whole sentences', async () => {
    for (const { name, blindSpots, blindWithout = [] } of await loadTrackers()) {
      expect([name, blindSpots.length]).toEqual([name, expect.any(Number)]);
      expect(blindSpots.length).toBeGreaterThan(0);
      for (const text of [...blindSpots, ...blindWithout.map(({ what, lacking }) => `${what}: ${lacking}.`)])
        expect(text).toMatch(/^(io_uring\b|[`A-Z]).*[.)]$/);
    }
  });

  it('tell of each optional program what is not seen without it', async () => {
    for (const { optional = {}, blindWithout = [] } of await loadTrackers()) {
      expect(new Set(blindWithout.flatMap(({ programs }) => programs))).toEqual(new Set(Object.keys(optional)));
    }
  });
});
