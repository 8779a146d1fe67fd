import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../src/base/paths.js';
import { checkSections, refusals } from './sections.mjs';

it.each([
  'SEC("cgroup/connect4")',
  'SEC("cgroup_skb/egress")',
  'SEC( "sockops" )',
  'SEC("sk_msg")',
  'SEC("xdp")',
  'SEC("lsm/file_open")',
  'SEC("fmod_ret/x")',
  'SEC("?cgroup/connect4")',
  'SEC(EGRESS)',
  '__attribute__((section("cgroup/dev"), used))',
])('%s defines no program', (section) => {
  expect(refusals('bpf/trackers/a.bpf.c', `int x;\n${section}\nint f(void *ctx) { return 0; }`)).toEqual([
    expect.stringMatching(/^bpf\/trackers\/a\.bpf\.c:2: .*: .* EU_CGROUP_PROGRAM/) as string,
  ]);
});

it.each([
  'SEC("tp_btf/sys_exit")',
  'SEC("iter/task_file")',
  'SEC(".maps")',
  'SEC("license")',
  'SEC(".data.eu_control")',
])('%s may be written', (section) => {
  expect(refusals('bpf/trackers/a.bpf.c', section)).toEqual([]);
});

it('holds for all programs, and only cgroup.bpf.h is exempt', () => {
  expect(checkSections()).toEqual([]);
  const macro = readFileSync(join(root, 'bpf/include/cgroup.bpf.h'), 'utf8');
  expect(refusals('bpf/include/cgroup.bpf.h', macro)).toEqual([]);
  expect(refusals('bpf/include/other.bpf.h', macro)).toHaveLength(1);
});
