import { existsSync, readFileSync } from 'node:fs';
import { messageOf } from '../base/errors.js';
import { cgroupRoot } from './attach.js';
import { loadLibbpf } from './libbpf.js';
import type { FeatureProbe } from './protocol.js';
import { kernelHas } from './tracepoints.js';

// include/uapi/linux/bpf.h
const PROG_RAW_TRACEPOINT = 17;
const PROG_CGROUP_SKB = 8;
const PROG_PERF_EVENT = 7;
const MAP_RINGBUF = 27;
const HELPER_GET_CURRENT_TASK_BTF = 158;
const HELPER_LOOP = 181;

/** Asks the kernel for what Eunomia uses, each by trying it. Blocks for some milliseconds. */
export function probeFeatures(): FeatureProbe[] {
  const bpf = loadLibbpf();
  const feature = (name: string, available: boolean, reason: string): FeatureProbe => ({
    name,
    available,
    reason: available ? null : reason,
  });
  const helper = (id: number) => bpf.probe_helper(PROG_RAW_TRACEPOINT, id, null) === 1;
  return [
    feature('btf', existsSync('/sys/kernel/btf/vmlinux'), 'the kernel was built without CONFIG_DEBUG_INFO_BTF'),
    feature('ringbuf', bpf.probe_map_type(MAP_RINGBUF, null) === 1, 'needs Linux 5.8, and CAP_BPF'),
    feature(
      'raw_tracepoint',
      bpf.probe_prog_type(PROG_RAW_TRACEPOINT, null) === 1,
      'needs Linux 4.17, and CAP_BPF with CAP_PERFMON',
    ),
    feature('task_btf', helper(HELPER_GET_CURRENT_TASK_BTF), 'bpf_get_current_task_btf needs Linux 5.11'),
    feature('bpf_loop', helper(HELPER_LOOP), 'bpf_loop needs Linux 5.17'),
    feature(
      'task_iterator',
      kernelHas('bpf_iter_task_file'),
      'iterators of open files need Linux 5.8; without them there are no snapshots (`Query.processes`, `Query.sockets`)',
    ),
    feature(
      'cgroup_skb',
      bpf.probe_prog_type(PROG_CGROUP_SKB, null) === 1,
      'the kernel was built without CONFIG_CGROUP_BPF',
    ),
    feature(
      'perf_event',
      bpf.probe_prog_type(PROG_PERF_EVENT, null) === 1,
      'the kernel was built without CONFIG_BPF_EVENTS',
    ),
    feature(
      'cgroup_v2',
      /^\S+ \S+ \S+ \S+ \S+ .* - cgroup2 /m.test(readFileSync('/proc/self/mountinfo', 'utf8')),
      'no cgroup2 hierarchy is mounted',
    ),
    cgroupRootFeature(),
    feature(
      'kprobes',
      existsSync('/sys/kernel/debug/kprobes') || existsSync('/proc/sys/debug/kprobes-optimization'),
      'the kernel was built without CONFIG_KPROBES; Eunomia does not need them',
    ),
  ];
}

/** Where programs of cgroups attach. A hierarchy may be mounted, and its root not be visible. */
function cgroupRootFeature(): FeatureProbe {
  try {
    cgroupRoot();
    return { name: 'cgroup_root', available: true, reason: null };
  } catch (error) {
    return { name: 'cgroup_root', available: false, reason: messageOf(error) };
  }
}
