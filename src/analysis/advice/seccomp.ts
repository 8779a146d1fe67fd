import type { Observation, SeccompDefault, SeccompProfile, SeccompRule, SeenCall } from '../../event/advice.js';
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
export function neededCalls({ calls, refusals }: Observation): Map<string, SeenCall[]> {
  const refused = new Map<string, number>();
  for (const { kind, what, count } of refusals)
    if (kind === 'CALL') refused.set(what, (refused.get(what) ?? 0) + count);
  const found = new Map<string, SeenCall[]>();
  for (const call of calls) if (!call.runtime) add(found, call.name, call);
  for (const [name, seen] of found) {
    const count = seen.reduce((sum, one) => sum + one.count, 0);
    const errors = seen.reduce((sum, one) => sum + one.errors, 0);
    const isRefused = count > 0 && errors === count && (refused.get(name) ?? 0) >= count;
    // Where it is not allowed, Docker's profile has it that there is no such call, and libraries use clone.
    const isMissing = name === 'clone3' && count > 0 && errors === count;
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
 * few, and none came in the second half of the time only. Null where it says too little of the next call.
 */
export function argumentsOf(name: string, seen: readonly SeenCall[], observation: Observation): number[] | null {
  if (callArguments[name] === undefined || observation.truncated || seen.length === 0) return null;
  const firsts = new Map<number, string>();
  for (const { argument, first } of seen) {
    if (argument === null) return null;
    const known = firsts.get(argument);
    if (known === undefined || first < known) firsts.set(argument, first);
  }
  const half = halfOf(observation);
  const isNew = [...firsts.values()].some((first) => half !== null && nanosOf(first) >= half);
  return isNew || firsts.size > FEW_ARGUMENTS ? null : [...firsts.keys()].sort((a, b) => a - b);
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
    // With which arguments the runtime makes a call is not known.
    const values = runtime.includes(name) ? null : argumentsOf(name, seen.get(name) ?? [], observation);
    if (values === null || !all.delete(name)) continue;
    for (const value of values) {
      const lower = { index, value: 0xffffffff, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' } as const;
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

/** The calls that a profile allows, with any arguments or with some. */
export function allowedBy({ syscalls }: SeccompProfile): string[] {
  return [
    ...new Set(syscalls.filter(({ action }) => action === 'SCMP_ACT_ALLOW').flatMap(({ names }) => names)),
  ].sort();
}
