/** What a process may do with capabilities(7) that this server needs, and for which hooks. Everything that says so is made from this. */
export interface NeededCapability {
  readonly name: string;
  /** As the rest of "needed ". */
  readonly why: string;
  /** Of which hooks' programs, as libbpf names them; null for none of a tracker's: for the server. */
  readonly hooks: RegExp | null;
}

export const neededCapabilities: readonly NeededCapability[] = [
  { name: 'CAP_BPF', why: 'to load BPF programs and make their maps', hooks: /^/ },
  { name: 'CAP_PERFMON', why: 'for programs that read the memory of the kernel, as all do', hooks: /^/ },
  {
    name: 'CAP_NET_ADMIN',
    why:
      'to attach programs to cgroups, which see packets, the addresses that processes connect to, and the parameters of the kernel and ' +
      'the devices that they use',
    hooks: /^(?:cgroup(?:_skb)?\/|sockops$)/,
  },
  {
    name: 'CAP_SYS_PTRACE',
    why: 'to read the namespaces of other processes, which associate events with containers that have no v2 cgroup',
    hooks: null,
  },
];

/** It stands for all that programs need (`bpf_capable`, `perfmon_capable` and `bpf_net_capable` of the kernel). */
const SUBSTITUTE = 'CAP_SYS_ADMIN';

/** The capabilities that programs on these hooks need. */
export function capabilitiesFor(hooks: readonly string[]): string[] {
  return neededCapabilities
    .filter(({ hooks: which }) => which !== null && hooks.some((hook) => which.test(hook)))
    .map(({ name }) => name);
}

/** Those of them that a process with the capabilities `held` lacks. */
export function missingCapabilities(hooks: readonly string[], held: ReadonlySet<string>): string[] {
  return held.has(SUBSTITUTE) ? [] : capabilitiesFor(hooks).filter((name) => !held.has(name));
}
