import { existsSync, readFileSync } from 'node:fs';
import { EunomiaError } from '../base/errors.js';
import { capabilityNames } from '../linux/capability.js';
import { capabilitiesFor, missingCapabilities } from '../linux/hook-capability.js';
import { loadLibbpf } from './libbpf.js';
import { listed } from '../base/listed.js';

/** Those that trackers of any kind need. */
const ANY_HOOK = 'tp_btf/sys_exit';

/** The capabilities that this process has in effect, by name. */
export function heldCapabilities(): ReadonlySet<string> {
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return new Set(capabilityNames(BigInt(`0x${effective}`)));
}

/** Throws NO_LIBBPF, LIBBPF_TOO_OLD, NOT_PRIVILEGED or NO_BTF, with what would mend it. Returns libbpf's version. */
export function checkEnvironment(): string {
  const { version } = loadLibbpf();
  if (missingCapabilities([ANY_HOOK], heldCapabilities()).length > 0) {
    throw new EunomiaError(
      'NOT_PRIVILEGED',
      `loading BPF programs needs root, or the capabilities ${listed(capabilitiesFor([ANY_HOOK]))}: start it with sudo`,
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
