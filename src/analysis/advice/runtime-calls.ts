import type { TraceEvent } from '../../event/event.js';

/** System calls that return to nobody, which no event shows, and with which a process begins and ends. */
const UNSEEN = ['execve', 'exit', 'exit_group', 'rt_sigreturn'];

const value = (event: TraceEvent, name: string): unknown => Reflect.get(event, name);

/**
 * The calls that a container's runtime makes between loading a seccomp filter and the exec of the container's program, from events of the
 * trackers `syscall` and `privilege`: without them, no container starts under the filter. Sorted.
 */
export function runtimeCallsOf(events: readonly TraceEvent[]): string[] {
  const found = new Set<string>();
  const byProcess = new Map<number, TraceEvent[]>();
  for (const event of events) {
    const own = byProcess.get(event.process.pid) ?? [];
    byProcess.set(event.process.pid, own);
    own.push(event);
  }
  for (const own of byProcess.values()) {
    const ordered = own.sort((a, b) => Number(BigInt(a.bootNs) - BigInt(b.bootNs)));
    const filtered = ordered.findLastIndex(loadsFilter);
    const begun = ordered.findLastIndex(
      (event) => event.tracker === 'syscall' && value(event, 'name') === 'execve' && value(event, 'errno') === null,
    );
    // A program that loads a filter of its own has executed before.
    if (filtered < 0 || begun < filtered) continue;
    for (const event of ordered.slice(filtered + 1, begun))
      if (event.tracker === 'syscall') found.add(String(value(event, 'name')));
  }
  return found.size === 0 ? [] : [...new Set([...found, ...UNSEEN])].sort();
}

function loadsFilter(event: TraceEvent): boolean {
  if (event.tracker !== 'privilege' || value(event, 'errno') !== null) return false;
  const command = value(event, 'command');
  return command === 'SECCOMP_SET_MODE_FILTER' || command === 'PR_SET_SECCOMP';
}
