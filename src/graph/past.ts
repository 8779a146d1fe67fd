import type { Work } from '../base/turn.js';
import type { ClockOffset } from '../event/clock.js';
import type { TraceEvent } from '../event/event.js';
import { sightedAs, type Sighting } from '../event/sighting.js';
import { nanosOf } from '../record/nanos.js';
import { placeOf } from '../record/place.js';
import { KnownProcess, type Exit, type Generation } from './process.js';

/** What is stored of a process: all that the table knew of it, as plain data. */
export interface ProcessFacts {
  readonly pid: number;
  readonly startNs: number;
  readonly ppid: number;
  /** Null where its parent is not known. */
  readonly parentStartNs: number | null;
  /** Oldest first; never empty. */
  readonly generations: readonly Generation[];
  /** Null while it runs. */
  readonly exit: Exit | null;
}

/** The clock of an event and that of now are apart by more than this: the event is of another boot, or of another machine. */
const SAME_BOOT_NS = 60_000_000_000n;
/** Processes that are made or looked at in one piece. */
const PIECE = 256;

/** The processes that a store remembers of a session: those of its events, with their ancestors. It never changes. */
export class PastProcesses {
  readonly boot: string;
  readonly #byIdentity: ReadonlyMap<string, KnownProcess>;

  private constructor(boot: string, byIdentity: ReadonlyMap<string, KnownProcess>) {
    this.boot = boot;
    this.#byIdentity = byIdentity;
  }

  get size(): number {
    return this.#byIdentity.size;
  }

  static *of(boot: string, all: readonly ProcessFacts[]): Work<PastProcesses> {
    const found = new Map<string, KnownProcess>();
    for (const [i, facts] of all.entries()) {
      const known = new KnownProcess(facts);
      known.generations.push(...facts.generations);
      known.exit = facts.exit;
      found.set(identityOf(facts.pid, facts.startNs), known);
      if (i % PIECE === PIECE - 1) yield;
    }
    // Without children: through init, each process would hold all others in memory.
    for (const [i, { pid, startNs, ppid, parentStartNs }] of all.entries()) {
      const known = found.get(identityOf(pid, startNs));
      const parent = parentStartNs === null ? undefined : found.get(identityOf(ppid, parentStartNs));
      if (known && parent && parent !== known) known.parent = parent;
      if (i % PIECE === PIECE - 1) yield;
    }
    return new PastProcesses(boot, found);
  }

  find(pid: number, startNs: number): KnownProcess | null {
    return this.#byIdentity.get(identityOf(pid, startNs)) ?? null;
  }

  /** Gives the processes of the session's events, plain data as its store has them, their sightings. */
  *sight(events: readonly TraceEvent[]): Work<void> {
    for (const [i, event] of events.entries()) {
      const sighting = sightingOfRow(event, null);
      const known = sighting && this.find(sighting.pid, sighting.startNs);
      if (sighting) sightedAs(event.process, { ...sighting, past: { boot: this.boot, known } });
      if (i % PIECE === PIECE - 1) yield;
    }
  }
}

/** The process that a store remembers; null for one that is looked for in the table. */
export function rememberedAs({ past }: Pick<Sighting, 'past'>): KnownProcess | null {
  return past?.known instanceof KnownProcess ? past.known : null;
}

/** Whether the table of processes of a boot may know it: pids and starts of other boots are other processes'. */
export function isOfBoot({ past }: Pick<Sighting, 'past'>, boot: string): boolean {
  return past === undefined || past.boot === boot;
}

export function identityOf(pid: number, startNs: number): string {
  return `${pid}:${startNs}`;
}

/**
 * Of the process of an event that is plain data, as a stored one. `clock`: that of now; null where it is of another boot. Without a clock,
 * of whichever boot it is.
 */
export function sightingOfRow(event: TraceEvent, clock: ClockOffset | null): Sighting | null {
  const { process, bootNs, time } = event;
  // Exact, whatever the wall clock was set to: both were shown with one offset.
  const offset = nanosOf(time) - BigInt(bootNs);
  const apart = clock && offset - BigInt(clock.seconds) * 1_000_000_000n - BigInt(clock.nanoseconds);
  if (apart !== null && (apart > SAME_BOOT_NS || -apart > SAME_BOOT_NS)) return null;
  return {
    pid: process.pid,
    startNs: Number(nanosOf(process.startTime) - offset),
    toleranceNs: 0,
    atNs: Number(bootNs),
    clock: { seconds: Number(offset / 1_000_000_000n), nanoseconds: Number(offset % 1_000_000_000n) },
    session: placeOf(event)?.session ?? null,
    container: event.container,
  };
}
