// include/uapi/linux/capability.h; the index is the number.
const names: readonly string[] = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN' +
  ' NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME' +
  ' SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ' +
  ' PERFMON BPF CHECKPOINT_RESTORE'
)
  .split(' ')
  .map((name) => `CAP_${name}`);

/** The capabilities that have a name, by their number. */
export const capabilities: readonly string[] = names;

/** Whether it is the name of a capability, as `capabilityName` gives it. */
export function isCapability(name: string): boolean {
  const [, digits] = /^CAP_(\d{1,2})$/.exec(name) ?? [];
  return names.includes(name) || (Number(digits ?? -1) >= names.length && Number(digits) < 64);
}

/** 21 → "CAP_SYS_ADMIN"; a number without a name → "CAP_63". */
export function capabilityName(capability: number): string {
  return names[capability] ?? `CAP_${capability}`;
}

/** Names the capabilities of a set of 64 bits, given as a decimal number, in the order of their numbers. */
export function capabilityNames(set: string | bigint): string[] {
  const found: string[] = [];
  for (let rest = BigInt.asUintN(64, BigInt(set)), i = 0; rest; rest >>= 1n, i++)
    if (rest & 1n) found.push(capabilityName(i));
  return found;
}
