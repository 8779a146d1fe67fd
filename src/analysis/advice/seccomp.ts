import type { Observation, SeccompDefault, SeccompProfile, SeccompRule, SeenCall } from '../../event/advice.js';
import { listed } from '../../base/listed.js';
import { add } from './group.js';
import { callArguments } from '../../linux/call-arguments.js';
import { nanosOf } from '../../record/nanos.js';
import { halfOf } from './coverage.js';
import { nativeAbi } from '../../linux/syscalls.js';

const EPERM = 1;
const ENOSYS = 38;
/** CLONE_NEW… in the flags of clone, as include/uapi/linux/sched.h has them; CLONE_NEWTIME is of clone3 only. */
const NAMESPACE_FLAGS = 0x7e020000;
/** What personality is usually asked for: PER_LINUX, PER_LINUX32, with UNAME26 each, and the current one. */
const PERSONALITIES = [0, 8, 0x20000, 0x20008, 0xffffffff];

/** The part of an argument that the kernel takes of one that has 32 bits. */
const LOWER_32 = 0xffffffff;
/** More values than this of an argument are no list of what a program needs. */
const FEW_ARGUMENTS = 16;

/** Calls without which no program ends or handles a signal. They do not return to their caller, so that no tracker sees them. */
export const unobservable: readonly string[] = ['exit', 'exit_group', 'restart_syscall', 'rt_sigreturn'];
const UNOBSERVABLE_I386 = 'sigreturn';

const architectures: Readonly<Record<string, string>> = {
  X86_64: 'SCMP_ARCH_X86_64',
  I386: 'SCMP_ARCH_X86',
  X32: 'SCMP_ARCH_X32',
  ARM64: 'SCMP_ARCH_AARCH64',
  ARM: 'SCMP_ARCH_ARM',
};

/** The calls of the container's programs, by name. Without those that its present profile refuses each time: it lives without them. */
export function neededCalls(observation: Observation): Map<string, SeenCall[]> {
  const refused = refusalsOf(observation);
  const found = new Map<string, SeenCall[]>();
  for (const call of observation.calls) if (!call.runtime) add(found, call.name, call);
  for (const [name, seen] of found) {
    const count = sumOf(seen, 'count');
    const fails = count > 0 && failsAlways(seen);
    const isRefused = fails && (refused.get(name) ?? 0) >= count;
    // Where it is not allowed, Docker's profile has it that there is no such call, and libraries use clone.
    const isMissing = name === 'clone3' && fails;
    if (isRefused || isMissing) found.delete(name);
  }
  return found;
}

/** Whether its programs were seen to make no namespaces. */
function makesNoNamespaces({ privileges, unobserved }: Observation): boolean {
  if (unobserved.includes('privileges')) return false;
  return !privileges.some(({ call, errno, runtime }) => !runtime && errno === null && call.startsWith('clone'));
}

/**
 * The values of the argument that tells calls of this name apart, in their order: where all calls were seen with theirs, the values are
 * few, and none came in the second half of the time only. Without those that the present profile refuses each time. Null where it says
 * too little of the next call.
 */
function argumentsOf(name: string, seen: readonly SeenCall[], observation: Observation): number[] | null {
  const half = halfOf(observation);
  const { truncated, unobserved } = observation;
  if (truncated || unobserved.includes('syscalls') || seen.length === 0 || half === null) return null;
  const byValue = new Map<number, SeenCall[]>();
  for (const call of seen) {
    if (call.argument === null) return null;
    add(byValue, call.argument, call);
  }
  const failing = [...byValue].filter(([, calls]) => sumOf(calls, 'count') > 0 && failsAlways(calls));
  const refused = refusalsOf(observation).get(name) ?? 0;
  const failures = failing.reduce((sum, [, calls]) => sum + sumOf(calls, 'count'), 0);
  if (refused >= failures) for (const [value] of failing) byValue.delete(value);
  const isNew = [...byValue.values()].some((calls) => calls.every(({ first }) => nanosOf(first) >= half));
  return isNew || byValue.size > FEW_ARGUMENTS ? null : [...byValue.keys()].sort((a, b) => a - b);
}

const sumOf = (calls: readonly SeenCall[], of: 'count' | 'errors'): number =>
  calls.reduce((sum, call) => sum + call[of], 0);
const failsAlways = (calls: readonly SeenCall[]): boolean => sumOf(calls, 'errors') === sumOf(calls, 'count');

/** How often the present profile refused calls, by their name. */
function refusalsOf({ refusals }: Observation): Map<string, number> {
  const refused = new Map<string, number>();
  for (const { kind, what, count } of refusals)
    if (kind === 'CALL') refused.set(what, (refused.get(what) ?? 0) + count);
  return refused;
}

/** What is allowed: all calls, those of them that the runtime makes too, and those of the container's programs as they were seen. */
export interface AllowedCalls {
  readonly names: ReadonlySet<string>;
  readonly runtime: readonly string[];
  readonly seen: ReadonlyMap<string, readonly SeenCall[]>;
}

/** A profile that allows these calls, and refuses all others in the chosen way. */
export function profileOf(
  { names, runtime, seen }: AllowedCalls,
  observation: Observation,
  defaultAction: SeccompDefault,
): SeccompProfile {
  const abis = new Set([nativeAbi, ...observation.calls.filter(({ runtime }) => !runtime).map(({ abi }) => abi)]);
  const all = new Set([...names, ...unobservable, ...(abis.has('I386') ? [UNOBSERVABLE_I386] : [])]);
  const filtered: SeccompRule[] = [];
  if (all.has('clone') && makesNoNamespaces(observation)) {
    all.delete('clone');
    const flags = { index: 0, value: NAMESPACE_FLAGS, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' } as const;
    filtered.push({ names: ['clone'], action: 'SCMP_ACT_ALLOW', args: [flags] });
  }
  if (all.delete('personality'))
    for (const value of PERSONALITIES)
      filtered.push({
        names: ['personality'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
      });
  for (const [name, index] of Object.entries(callArguments)) {
    // With which arguments the runtime makes a call is not known. Where i386 is allowed, a filter for sockets lets socketcall make any:
    // its arguments are in memory (https://github.com/containerd/containerd/pull/13330).
    const isHidden = abis.has('I386') && name.startsWith('socket');
    const values = isHidden || runtime.includes(name) ? null : argumentsOf(name, seen.get(name) ?? [], observation);
    if (values === null || !all.delete(name)) continue;
    for (const value of values) {
      const lower = { index, value: LOWER_32, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' } as const;
      filtered.push({ names: [name], action: 'SCMP_ACT_ALLOW', args: [lower] });
    }
  }
  if (!all.has('clone3')) filtered.push({ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS });
  return {
    defaultAction,
    ...(defaultAction === 'SCMP_ACT_ERRNO' ? { defaultErrnoRet: EPERM } : {}),
    architectures: [...abis].flatMap((abi) => architectures[abi ?? ''] ?? []).sort(),
    syscalls: [{ names: [...all].sort(), action: 'SCMP_ACT_ALLOW' }, ...filtered],
  };
}

/**
 * With which values of its argument (linux/call-arguments.ts) a profile allows a call. Null for all, and a null among them where it
 * compares in another way.
 */
export function valuesIn({ syscalls }: SeccompProfile, name: string): readonly (number | null)[] | null {
  const index = callArguments[name];
  const rules = syscalls.filter(({ names, action }) => action === 'SCMP_ACT_ALLOW' && names.includes(name));
  if (index === undefined || rules.length === 0 || rules.some(({ args }) => !args?.length)) return null;
  return rules.map(({ args = [] }) => {
    const [arg] = args;
    if (!arg || args.length > 1 || arg.index !== index) return null;
    if (arg.op === 'SCMP_CMP_EQ') return arg.value;
    return arg.value === LOWER_32 ? (arg.valueTwo ?? 0) : null;
  });
}

/** The same for people: "with 2 and 10 only". Null for all. */
export function argumentsIn(profile: SeccompProfile, name: string): string | null {
  const values = valuesIn(profile, name);
  if (values === null) return null;
  if (values.includes(null)) return 'with some arguments only';
  return `with ${listed(values.map((value) => shownArgument(name, value ?? 0)))} only`;
}

/** Requests of ioctl are known by their hexadecimal numbers; families and options by those of their headers. */
function shownArgument(name: string, value: number): string {
  return name === 'ioctl' ? `0x${value.toString(16)}` : String(value);
}

/** Of which calls a profile filters arguments, and of which that was not possible: a sentence or two. */
export function filteringIn(profile: SeccompProfile): string[] {
  const filtered = profile.syscalls.flatMap(({ names, args }) => (args?.length ? names : []));
  const open = allowedBy(profile).filter((name) => name in callArguments && argumentsIn(profile, name) === null);
  return [
    filtered.length
      ? `Arguments are filtered for ${listed([...new Set(filtered)])} only.`
      : 'No arguments are filtered.',
    ...(open.length
      ? [
          `${listed(open)}: allowed with any argument, for one of these reasons: not all were seen, ` +
            `there are more than ${FEW_ARGUMENTS}, some came late, or the runtime makes the call too.`,
        ]
      : []),
  ];
}

/** The calls that a profile allows, with any arguments or with some. */
export function allowedBy({ syscalls }: SeccompProfile): string[] {
  return [
    ...new Set(syscalls.filter(({ action }) => action === 'SCMP_ACT_ALLOW').flatMap(({ names }) => names)),
  ].sort();
}
