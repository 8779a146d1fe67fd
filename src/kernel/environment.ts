import { existsSync, readFileSync } from 'node:fs';
import { EunomiaError } from '../base/errors.js';
import { loadLibbpf } from './libbpf.js';

// include/uapi/linux/capability.h
const CAP_SYS_ADMIN = 21n;
const CAP_PERFMON = 38n;
const CAP_BPF = 39n;

/** Throws NO_LIBBPF, LIBBPF_TOO_OLD, NOT_PRIVILEGED or NO_BTF, with what would mend it. Returns libbpf's version. */
export function checkEnvironment(): string {
  const { version } = loadLibbpf();
  const effective = BigInt(
    `0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
  );
  const has = (capability: bigint) => ((effective >> capability) & 1n) === 1n;
  if (!has(CAP_SYS_ADMIN) && !(has(CAP_BPF) && has(CAP_PERFMON))) {
    throw new EunomiaError(
      'NOT_PRIVILEGED',
      'loading BPF programs needs root, or the capabilities CAP_BPF and CAP_PERFMON: start it with sudo',
    );
  }
  if (!existsSync('/sys/kernel/btf/vmlinux')) {
    throw new EunomiaError(
      'NO_BTF',
      'the kernel tells no types (/sys/kernel/btf/vmlinux is missing): it needs CONFIG_DEBUG_INFO_BTF=y, which ' +
        'distributions have since about Linux 5.8',
    );
  }
  return version;
}
