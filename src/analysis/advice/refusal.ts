import type { Refusal } from '../../event/advice.js';
import type { TraceEvent } from '../../event/event.js';
import type { AnyReportFeed, FactKind } from '../../event/report-feed.js';
import { add } from './group.js';
import { isOfRuntime } from './runtime.js';

/** What a file system or the kernel refuses with, whatever seccomp allows. */
const DENIED: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);
const MAX_REFUSALS = 10_000;
/** Calls that ended with a refusal, with their stacks. */
const MAX_CALLS = 10_000;
/** The event of a call's end and that of what it was refused are as far apart at most. */
const SAME_CALL_MS = 10;
/** Of one call, refusals with as many arguments are told apart. */
const MAX_ARGUMENTS = 64;

interface Program {
  readonly since: string;
  readonly executable: string | null;
  readonly args: readonly string[] | null;
}

/** A call that was refused, whatever for. */
interface RefusedCall {
  readonly call: string;
  readonly errno: string;
  readonly tid: number;
  readonly time: string;
  readonly stack: readonly string[];
}

type Denied = Pick<Refusal, 'kind' | 'what' | 'argument' | 'call' | 'errno'>;
type Fact = Readonly<Record<string, unknown>>;

/** What facts of a kind say was refused. Kinds that are not here say nothing of it. */
const readers: Partial<Record<FactKind, (fact: Fact) => readonly Denied[]>> = {
  refusals: ({ name, argument, errno }) => {
    const call = String(name);
    return [
      {
        kind: 'CALL',
        what: call,
        argument: typeof argument === 'number' ? argument : null,
        call,
        errno: textOf(errno),
      },
    ];
  },
  // A check in no call is the kernel's own, and nobody waits for it. In a namespace of its own a process has its own capabilities.
  capabilities: ({ capability, granted, call, level }) =>
    granted === true || call === null || Number(level ?? 0) > 0
      ? []
      : [{ kind: 'CAPABILITY', what: String(capability), argument: null, call: textOf(call), errno: null }],
  files: ({ absolute, errno }) => pathsOf([absolute], errno),
  changes: ({ made, removed, changed, errno }) => pathsOf([made, removed, changed], errno),
};

function pathsOf(paths: readonly unknown[], errno: unknown): readonly Denied[] {
  const why = textOf(errno);
  if (why === null || !DENIED.has(why)) return [];
  return paths.flatMap((path): Denied[] => {
    if (typeof path !== 'string' || !path.startsWith('/')) return [];
    const kind = path.startsWith('/dev/') && why === 'EPERM' ? 'DEVICE' : 'PATH';
    return [{ kind, what: path, argument: null, call: null, errno: why }];
  });
}

function stackOf(event: TraceEvent): Refusal['stack'] {
  const stack: unknown = Reflect.get(event, 'stack');
  return Array.isArray(stack) ? stack.map(String) : null;
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

type Seen = Denied & Pick<TraceEvent, 'process' | 'time'> & Pick<Refusal, 'stack'>;

/**
 * Collects what a container was refused, each once, with the program that its process ran. What its runtime is refused counts only where
 * the filter refuses it: its capabilities are not the container's.
 */
export class Refusals {
  readonly #seen = new Map<string, Seen>();
  readonly #arguments = new Map<string, Set<number>>();
  readonly #programs = new Map<number, Program[]>();
  /** By process. */
  readonly #calls = new Map<number, RefusedCall[]>();
  #callCount = 0;

  get all(): readonly Refusal[] {
    const all = [...this.#seen.values()].sort((a, b) => (a.time < b.time ? -1 : 1));
    return all.map((seen) => {
      const { process, ...denied } = seen;
      const { executable = null, args = null } = this.#programOf(process, denied.time) ?? {};
      const stack = seen.stack ?? this.#stackOf(seen);
      return { ...denied, stack, process: { pid: process.pid, comm: process.comm, executable, args } };
    });
  }

  /** In any order. `feed` is that of the event's tracker. */
  add(event: TraceEvent, feed: AnyReportFeed): void {
    const fact = feed.read(event) as Fact | null;
    if (fact === null) return;
    const { process, time } = event;
    if (feed.feeds === 'programs') return this.#learn(process.pid, time, fact);
    const stack = stackOf(event);
    if (feed.feeds === 'syscalls') return this.#learnCall(event, fact, stack);
    for (const found of readers[feed.feeds]?.(fact) ?? []) {
      if (found.kind !== 'CALL' && isOfRuntime(process)) continue;
      const denied = this.#apart(found);
      const key = refusalKey(denied);
      if (this.#seen.has(key) || this.#seen.size >= MAX_REFUSALS) continue;
      const { pid, tid, ppid, comm } = process;
      this.#seen.set(key, { ...denied, time, stack, process: { ...process, pid, tid, ppid, comm } });
    }
  }

  #apart(denied: Denied): Denied {
    const { what, argument } = denied;
    if (argument === null) return denied;
    const known = this.#arguments.get(what) ?? new Set<number>();
    this.#arguments.set(what, known);
    if (known.size < MAX_ARGUMENTS) known.add(argument);
    return known.has(argument) ? denied : { ...denied, argument: null };
  }

  #learn(pid: number, since: string, { path, args, errno }: Fact): void {
    if (errno !== null) return;
    const program = { since, executable: textOf(path), args: Array.isArray(args) ? args.map(String) : null };
    add(this.#programs, pid, program);
  }

  #learnCall(event: TraceEvent, { name }: Fact, stack: Refusal['stack']): void {
    const { process, time } = event;
    const { pid, tid } = process;
    const errno = textOf(Reflect.get(event, 'errno'));
    if (errno === null || stack === null || !DENIED.has(errno) || this.#callCount >= MAX_CALLS) return;
    this.#callCount += 1;
    add(this.#calls, pid, { call: String(name), errno, tid, time, stack });
  }

  /** That of the call in which it happened: of a capability the first such call that was refused; of a path that of the same moment. */
  #stackOf({ kind, call, errno, time, process: { pid, tid } }: Seen): Refusal['stack'] {
    const calls = this.#calls.get(pid) ?? [];
    const isThis = (one: RefusedCall): boolean =>
      kind === 'CAPABILITY'
        ? one.call === call
        : one.tid === tid && one.errno === errno && Math.abs(Date.parse(one.time) - Date.parse(time)) <= SAME_CALL_MS;
    return calls.find(isThis)?.stack ?? null;
  }

  /** A process that has executed nothing runs the program of its parent. */
  #programOf({ pid, ppid }: Seen['process'], time: string): Program | null {
    const of = (id: number): Program | undefined =>
      (this.#programs.get(id) ?? []).reduce<Program | undefined>(
        (latest, one) => (one.since <= time && (latest === undefined || one.since >= latest.since) ? one : latest),
        undefined,
      );
    return of(pid) ?? of(ppid) ?? null;
  }
}

/** Equal for what is refused in the same way, whoever attempts it. */
export function refusalKey({ kind, what, argument, call, errno }: Denied): string {
  return JSON.stringify([kind, what, argument, call, errno]);
}
