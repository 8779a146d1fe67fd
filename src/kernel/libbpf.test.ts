import { expect, it } from 'vitest';
import { hintFor } from './libbpf.js';

it('says which capabilities are needed, also for an object that has no programs', () => {
  expect(hintFor('EPERM', [])).toContain('root, or CAP_BPF and CAP_PERFMON, and');
  expect(hintFor('EPERM', ['cgroup/connect4'])).toContain('CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN');
});
