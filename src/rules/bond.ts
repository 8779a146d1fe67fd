import { nanosecondsSince1970 } from '../event/clock.js';
import type { TraceEvent } from '../event/event.js';
import type { Lineage, ProcessAt } from '../event/lineage.js';
import type { Bond } from './definition.js';

/** Ancestors of a process that may be the root of its tree. */
const MOST_UP = 32;
export const HOST = 'host';
/** What /proc tells of a start: the table has some from there. */
const TICK_NS = 10_000_000;

/** Finds what an event has in common with others: texts that are equal for events of one process, tree or container. */
export class Bonds {
  readonly #lineage: Lineage | null;

  constructor(lineage: Lineage | null) {
    this.#lineage = lineage;
  }

  /** What an event that comes first is remembered by. */
  keyOf(event: TraceEvent, bond: Bond): string {
    if (bond === 'container') return containerOf(event);
    if (bond === 'process') return processOf(event);
    const process = this.#lineage?.of(event);
    if (!process) return processOf(event);
    const { parent } = process;
    return keyOfProcess(parent && isOfTree(process, parent) ? parent : process);
  }

  /** What the events may be remembered by that this one has in common with. */
  keysOf(event: TraceEvent, bond: Bond): readonly string[] {
    if (bond !== 'tree') return [this.keyOf(event, bond)];
    const process = this.#lineage?.of(event);
    if (!process) return [processOf(event)];
    const keys: string[] = [];
    for (let one: ProcessAt | null = process; one && keys.length < MOST_UP; one = one.parent)
      keys.push(keyOfProcess(one));
    return keys;
  }
}

/**
 * Whether a process and what its parent started besides it are one tree: they are not where the parent starts programs of all kinds, as
 * init does, or from outside of the container.
 */
function isOfTree(process: ProcessAt, parent: ProcessAt): boolean {
  return parent.pid > 1 && parent.ppid > 0 && parent.mountNs !== null && parent.mountNs === process.mountNs;
}

/** The id of the event's container; `HOST` outside of containers. */
export function containerOf({ container }: Pick<TraceEvent, 'container'>): string {
  const id: unknown = container && Reflect.get(container, 'id');
  return typeof id === 'string' ? id : HOST;
}

/** As that of its process in the table. The wall clock may have been set since the event before: since boot, the start is the same. */
function processOf(event: TraceEvent): string {
  return keyOfProcess({ pid: event.process.pid, startNs: startOf(event) });
}

/** When the event's process started, in ns since boot. */
export function startOf({ process, time, bootNs }: TraceEvent): number {
  const ageNs = nanosecondsSince1970(time) - nanosecondsSince1970(process.startTime);
  return Number(BigInt(bootNs) - ageNs);
}

function keyOfProcess({ pid, startNs }: Pick<ProcessAt, 'pid' | 'startNs'>): string {
  return `${pid} ${Math.round(startNs / TICK_NS)}`;
}
