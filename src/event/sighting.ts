import type { ClockOffset } from '../base/clock.js';

/** Which process an object of the API is, and when it was seen: what leads from it to its place among all processes. */
export interface Sighting {
  readonly pid: number;
  /** When it started, in ns of CLOCK_BOOTTIME: with the pid, its identity. A double, as in all places that compare it. */
  readonly startNs: number;
  /** By how much `startNs` may be wrong: 0, or the 10 ms of /proc. */
  readonly toleranceNs: number;
  /** When it was seen. */
  readonly atNs: number;
  /** What times of the boot clock are shown with. */
  readonly clock: ClockOffset;
  /** The session that saw it; null where none did. */
  readonly session: string | null;
  /** Its container, null for the host's; undefined where it is not known and has to be looked for. */
  readonly container: object | null | undefined;
  /** Of an event of a session that is in its store only: what is stored of the process. */
  readonly past?: Past | undefined;
}

/** A process as a store remembers it. */
export interface Past {
  /** Of which boot of the machine it is: pid and start are of that alone. */
  readonly boot: string;
  /** A process of the graph; null where it was not stored. */
  readonly known: object | null;
}

/** Where processes carry it; views of records compute it when somebody asks. Not data: no column, filter or export has it. */
export const SIGHTING: unique symbol = Symbol('sighting');

/** Null for a process of which only its fields are known. */
export function sightingOf(process: object): Sighting | null {
  return (Reflect.get(process, SIGHTING) as Sighting | null | undefined) ?? null;
}

/** Gives a process that is plain data its sighting. */
export function sightedAs<Process extends object>(process: Process, sighting: Sighting): Process {
  return Object.defineProperty(process, SIGHTING, { value: sighting, configurable: true });
}
