import { isOfGraph } from './data-field.js';
import type { TraceEvent } from './event.js';

/** A process as it was at a time, as far as the table of processes knows it: what filters and groups read of it and of its ancestors. */
export interface ProcessAt {
  readonly pid: number;
  /** ns since boot: with the pid, which process it is. */
  readonly startNs: number;
  readonly ppid: number;
  readonly uid: number;
  readonly gid: number;
  readonly comm: string;
  readonly mountNs: string | null;
  readonly executable: string | null;
  readonly executableDeleted: boolean | null;
  readonly args: readonly string[] | null;
  readonly cwd: string | null;
  /** As it was at the same time. */
  readonly parent: ProcessAt | null;
}

/** Of the processes of events, what no event has. */
export interface Lineage {
  /** The event's process as of the event; null where it is not known. The same object for the same answer. Waits for nothing. */
  of(event: TraceEvent): ProcessAt | null;
  /** Null when all that has happened is known; else resolves when what happened before this call is. Never rejects. */
  ready(): Promise<void> | null;
  /** Why no process is known, and what would mend it; null while some may be. */
  readonly problem: string | null;
  /** What happened before this, in ns since 1970, is not known. */
  readonly sinceNs: bigint;
}

/** Where no process is known. */
export function noLineage(problem: string): Lineage {
  return { of: () => null, ready: () => null, problem, sinceNs: 0n };
}

const PROCESS = 'process.';
const OF_PROGRAM = ['executable', 'executableDeleted', 'args', 'cwd'] as const;
const OF_PARENT = ['pid', 'ppid', 'uid', 'gid', 'comm', 'mountNs', ...OF_PROGRAM] as const;

/** The single values that it has of the event's process and of the parent, by path: each is the field of `Process` of its last name. */
export const lineageValues: ReadonlyMap<string, string> = new Map([
  ...OF_PROGRAM.map((name) => [`${PROCESS}${name}`, name] as const),
  ...OF_PARENT.map((name) => [`${PROCESS}parent.${name}`, name] as const),
]);

/** The path within the event's process, "parent.comm", of what the lineage has; null for what the event has itself. */
export function lineagePath(path: string): string | null {
  if (!path.startsWith(PROCESS)) return null;
  const inside = path.slice(PROCESS.length);
  const [first = ''] = inside.split('.');
  return isOfGraph('Process', first) ? inside : null;
}

/** Ancestors that are looked at, counted from the parent. */
export const MOST_ANCESTORS = 256;
