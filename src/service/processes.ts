import type { Caller } from '../access/caller.js';
import { EunomiaError } from '../base/errors.js';
import { inTurns, type Work } from '../base/turn.js';
import { wallTimeOf } from '../event/clock.js';
import type { ProcessView, TraceEvent } from '../event/event.js';
import { MOST_ANCESTORS } from '../event/lineage.js';
import { SIGHTING, sightedAs, sightingOf, type Sighting } from '../event/sighting.js';
import { ProcessOfTable, type GraphStats } from '../graph/graph.js';
import { isOfBoot, rememberedAs, sightingOfRow, type PastProcesses } from '../graph/past.js';
import type { Exit, KnownProcess } from '../graph/process.js';
import { Users } from '../inventory/users.js';
import { signalName } from '../linux/linux.js';
import { placeOf } from '../record/place.js';
import { nanosOf, textOfNanos } from '../record/nanos.js';
import type { Page } from '../session/session.js';
import type { Owner, Row } from '../snapshot/rows.js';
import { inRange } from './check.js';
import type { Parts } from './parts.js';
import type { PageRequest } from './session/handle.js';
import type { Sessions } from './sessions.js';
import type { Snapshots } from './snapshots.js';

const MOST_CHILDREN = 1000;
const MOST_HELD = 1000;
/** Lists of events of processes and containers in one operation: each reads a session. */
const MOST_LISTS = 20;
/** Processes, files and sockets in lists below the processes of one operation: some hundred megabytes while the result is made. */
const MOST_ENTRIES = 1 << 18;
/** Start times of one process may be shown this much apart: /proc has them in steps of 10 ms, and the wall clock is slewed. */
const START_NS = 11_000_000n;
const EXACT_START_NS = 1_000_000n;
/** Rows that are looked at in one piece. */
const PIECE = 512;

/** A process of the API that the table knows, and from where it was reached. */
export interface FoundProcess {
  readonly known: KnownProcess;
  readonly sighting: Sighting;
}

/** What leads on from a process: to its program, its parents and children, what it has open, what it did. */
export class Processes {
  readonly #parts: Pick<Parts, 'processes' | 'process' | 'stores' | 'manager'>;
  readonly #sessions: Sessions;
  readonly #snapshots: Snapshots;
  readonly #users = new Users();

  constructor(
    parts: Pick<Parts, 'processes' | 'process' | 'stores' | 'manager'>,
    sessions: Sessions,
    snapshots: Snapshots,
  ) {
    this.#parts = parts;
    this.#sessions = sessions;
    this.#snapshots = snapshots;
  }

  /** Of the table of processes; null where there is none. */
  table(_caller: Caller): GraphStats | null {
    const stats = this.#parts.processes?.stats();
    return stats && stats.limitBytes > 0 ? stats : null;
  }

  /** Null when all that has happened so far is known; else resolves when it is. For a reader of many processes. */
  ready(): Promise<void> | null {
    return this.#parts.processes?.ready() ?? null;
  }

  /** A promise only where the table has not heard yet of what happened before the process was seen. Null for one that is not known. */
  find(_caller: Caller, process: object): FoundProcess | null | Promise<FoundProcess | null> {
    const sighting = sightingOf(process);
    if (!sighting) return null;
    const reached = process instanceof ProcessOfTable ? process.known : rememberedAs(sighting);
    if (reached) return { known: reached, sighting };
    const graph = this.#parts.processes;
    if (!graph || !isOfBoot(sighting, graph.boot)) return null;
    const look = (): FoundProcess | null => {
      const known = graph.find(sighting);
      return known && { known, sighting };
    };
    const wait = graph.ready(sighting.atNs);
    return wait ? wait.then(look) : look();
  }

  /** A promise where /proc told of the process, whose starts are not exact. */
  identityOf(caller: Caller, process: ProcessView): string | Promise<string> {
    const { processes } = this.#parts;
    const sighting = sightingOf(process);
    const boot = sighting?.past?.boot ?? processes?.boot;
    if (boot === undefined || !sighting) return `${process.pid}:${process.startTime}`;
    const started = (startNs: number): string => `${boot}:${process.pid}:${startNs}`;
    if (sighting.toleranceNs === 0) return started(sighting.startNs);
    return Promise.resolve(this.find(caller, process)).then((found) => started((found?.known ?? sighting).startNs));
  }

  /**
   * One that is alive; with `startTime`, only the one that started then, which may have ended. Rejects with BAD_USER_INPUT.
   */
  async process(_caller: Caller, pid: number, startTime: string | null): Promise<ProcessView | null> {
    inRange('pid', pid, 1, 2 ** 22);
    const { process: alive, processes } = this.#parts;
    const process = await alive(pid);
    if (startTime === null) return process;
    const started = nanosOf(startTime);
    const apart = process && nanosOf(process.startTime) - started;
    if (apart !== null && apart >= -START_NS && apart <= START_NS) return process;
    if (!processes) return null;
    await processes.ready();
    const { seconds, nanoseconds } = processes.clock;
    const startNs = Number(started - BigInt(seconds) * 1_000_000_000n - BigInt(nanoseconds));
    const known = processes.find({ pid, startNs, toleranceNs: Number(START_NS) });
    return known && new ProcessOfTable(known, this.#now());
  }

  parentOf({ known, sighting }: FoundProcess): ProcessView | null {
    return known.parent && new ProcessOfTable(known.parent, sighting);
  }

  /** Rejects with BAD_USER_INPUT, as the others do that take a number. */
  ancestorsOf(found: FoundProcess | null, first: number): readonly ProcessView[] | null {
    const most = inRange('first', first, 1, MOST_ANCESTORS);
    if (!found) return null;
    const { known, sighting } = found;
    const ancestors: ProcessView[] = [];
    for (let one = known.parent; one && ancestors.length < most; one = one.parent)
      ancestors.push(new ProcessOfTable(one, sighting));
    return ancestors;
  }

  /** As of now: those to come are as little of the past as those that have gone. */
  childrenOf(found: FoundProcess | null, first: number, running: boolean | null): readonly ProcessView[] | null {
    const most = inRange('first', first, 1, MOST_CHILDREN);
    if (!found) return null;
    const { sighting } = found;
    const known = this.currentOf(found);
    if (!known) return null;
    const from = { ...sighting, atNs: Number.POSITIVE_INFINITY, past: undefined };
    const children: ProcessView[] = [];
    for (const child of running === null ? (known.children ?? []) : known.childrenThat(running)) {
      if (children.length === most) break;
      children.push(new ProcessOfTable(child, from));
    }
    return children;
  }

  containerOf({ known, sighting }: FoundProcess): object | null | Promise<object | null> {
    const { processes } = this.#parts;
    if (sighting.container !== undefined || !processes || !isOfBoot(sighting, processes.boot))
      return sighting.container ?? null;
    return processes.containerOf(known.at(sighting.atNs), known.pid);
  }

  /** Null in a container, whose users this machine does not know. */
  async userOf(found: FoundProcess | null, process: ProcessView): Promise<string | null> {
    if (!found || (await this.containerOf(found))) return null;
    // Of another boot, nobody knows whether it was in a container.
    const { container } = found.sighting;
    if (container === undefined && !isOfBoot(found.sighting, this.#parts.processes?.boot ?? '')) return null;
    return this.#users.nameOf(process.uid);
  }

  /** The same process in the table, which knows what it did later; null where that does not know it, or knows nothing of its boot. */
  currentOf({ known, sighting }: FoundProcess): KnownProcess | null {
    if (sighting.past === undefined) return known;
    const { processes } = this.#parts;
    if (!processes || !isOfBoot(sighting, processes.boot)) return null;
    return processes.find({ pid: known.pid, startNs: known.startNs, toleranceNs: 0 });
  }

  #exitOf(found: FoundProcess): Exit | null {
    return found.known.exit ?? this.currentOf(found)?.exit ?? null;
  }

  exitTimeOf(found: FoundProcess): string | null {
    const { sighting } = found;
    const exit = this.#exitOf(found);
    return exit?.atNs == null ? null : wallTimeOf(sighting.clock, exit.atNs);
  }

  exitCodeOf(found: FoundProcess): number | null {
    const exit = this.#exitOf(found);
    return exit?.code == null || exit.code & 0x7f ? null : (exit.code >> 8) & 0xff;
  }

  exitSignalOf(found: FoundProcess): string | null {
    const exit = this.#exitOf(found);
    return exit?.code == null ? null : signalName(exit.code & 0x7f);
  }

  /** What one operation reads of all processes at once. */
  held(caller: Caller): HeldThings {
    return new HeldThings(caller, this.#snapshots, (found) => this.currentOf(found));
  }

  /**
   * A page of a process's events; null where there is no such session, or none is named and none has seen the process. Rejects as
   * `SessionHandle.page` does.
   */
  async eventsOf(
    caller: Caller,
    process: ProcessView,
    session: string | null,
    { where, ...range }: PageRequest,
  ): Promise<Page | null> {
    const id = session ?? sightingOf(process)?.session ?? null;
    const handle = id === null ? null : await this.#sessions.find(caller, id);
    if (!handle) return null;
    const start = nanosOf(process.startTime);
    const apart = sightingOf(process)?.toleranceNs === 0 ? EXACT_START_NS : START_NS;
    const own = {
      process: {
        pid: { eq: process.pid },
        startTime: { gte: textOfNanos(start - apart), lte: textOfNanos(start + apart) },
      },
    };
    return handle.page({ ...range, where: where == null ? own : { and: [own, where] } });
  }

  /**
   * Gives processes of events that are plain data (stored ones) their sightings: by what is stored of their session, or, of this boot, by
   * the table.
   */
  async sight(events: readonly TraceEvent[]): Promise<void> {
    const rows = events.filter(({ process }) => !(SIGHTING in process));
    for (const id of new Set(rows.map(sessionOf))) {
      const own = rows.filter((event) => sessionOf(event) === id);
      const past = id === null || this.#parts.manager.get(id) ? null : await this.#pastOf(id);
      await inTurns(past ? past.sight(own) : this.#sighting(own));
    }
  }

  *#sighting(events: readonly TraceEvent[]): Work<void> {
    const { processes } = this.#parts;
    if (!processes) return;
    const { clock } = processes;
    for (const [index, event] of events.entries()) {
      const sighting = sightingOfRow(event, clock);
      if (sighting) sightedAs(event.process, sighting);
      if (index % PIECE === PIECE - 1) yield;
    }
  }

  async #pastOf(session: string): Promise<PastProcesses | null> {
    for (const store of this.#parts.stores.values()) {
      const past = await store.processes(session);
      if (past) return past;
    }
    return null;
  }

  #now(): Pick<Sighting, 'atNs' | 'clock' | 'session'> {
    const clock = this.#parts.processes?.clock ?? { seconds: 0, nanoseconds: 0 };
    return { atNs: Number.POSITIVE_INFINITY, clock, session: null };
  }
}

function sessionOf(event: TraceEvent): string | null {
  return placeOf(event)?.session ?? null;
}

type HeldKind = 'openFiles' | 'sockets';

/** What processes have open, read once for all of an operation. */
export class HeldThings {
  readonly #caller: Caller;
  readonly #snapshots: Snapshots;
  readonly #currentOf: (found: FoundProcess) => KnownProcess | null;
  readonly #made = new Map<string, Promise<unknown>>();
  readonly #readings = new Map<HeldKind, Promise<ReadonlyMap<number, readonly HeldRow[]>>>();
  #lists = 0;
  #entries = 0;
  #refusal: EunomiaError | null = null;

  constructor(
    caller: Caller,
    snapshots: Snapshots,
    currentOf: (found: FoundProcess) => KnownProcess | null = ({ known }) => known,
  ) {
    this.#currentOf = currentOf;
    this.#caller = caller;
    this.#snapshots = snapshots;
  }

  /** Null for a process that has ended. Rejects with BAD_USER_INPUT, NO_KERNEL or a KernelError. */
  async of(
    kind: HeldKind,
    found: FoundProcess | null,
    process: object,
    first: number,
    matches: (row: Row) => boolean = () => true,
  ): Promise<readonly Row[] | null> {
    const most = inRange('first', first, 1, MOST_HELD);
    const sighting = sightingOf(process);
    const current = found && this.#currentOf(found);
    if (!sighting || current?.exit || (!current && sighting.past)) return null;
    const rows = (await this.#read(kind)).get(sighting.pid)?.filter(({ startNs }) => isOf(startNs, sighting));
    // It may have ended since the table was asked; one without descriptors (a thread of the kernel) is in the table alone.
    if (!rows?.length) return current && !current.exit ? [] : null;
    return rows
      .map(({ row }) => row)
      .filter(matches)
      .slice(0, most);
  }

  /** Made once for all of the operation that ask for the same. */
  once<Value>(key: string, make: () => Promise<Value>): Promise<Value> {
    const made = (this.#made.get(key) as Promise<Value> | undefined) ?? make();
    this.#made.set(key, made);
    return made;
  }

  /** The sockets that processes of a container have open. */
  async ofContainer(id: string): Promise<readonly Row[]> {
    const rows = new Set<Row>();
    for (const held of (await this.#read('sockets')).values())
      for (const { row } of held)
        if ((Reflect.get(row, 'owners') as readonly Owner[]).some(({ container }) => idOf(container) === id))
          rows.add(row);
    return [...rows];
  }

  /** Why the operation has no result: it asks for more than one may have. */
  get refusal(): EunomiaError | null {
    return this.#refusal;
  }

  /** Called for each list of events: whether it may be read. */
  countList(): boolean {
    const actual = ++this.#lists;
    const message =
      `an operation reads the events of at most ${MOST_LISTS} processes and containers; ` +
      "filter a session's events instead";
    const details = { limit: 'eventLists', maximum: MOST_LISTS, actual };
    if (actual > MOST_LISTS) this.#refusal ??= new EunomiaError('LIMIT_EXCEEDED', message, { details });
    return this.#refusal === null;
  }

  /** A list below a process; null once the operation has too many entries. */
  bounded<Entry>(list: readonly Entry[] | null): readonly Entry[] | null {
    this.#entries += list?.length ?? 0;
    const actual = this.#entries;
    const message =
      `lists of processes, files and sockets below the processes of an operation have at most ${MOST_ENTRIES} entries ` +
      'together: give a smaller `first`, there or to the events';
    const details = { limit: 'processEntries', maximum: MOST_ENTRIES, actual };
    if (actual > MOST_ENTRIES) this.#refusal ??= new EunomiaError('LIMIT_EXCEEDED', message, { details });
    return this.#refusal === null ? list : null;
  }

  #read(kind: HeldKind): Promise<ReadonlyMap<number, readonly HeldRow[]>> {
    const known = this.#readings.get(kind);
    if (known) return known;
    const reading = this.#snapshots
      .all(this.#caller, kind)
      .then((rows) => inTurns(byProcess(rows, kind), this.#caller.signal));
    this.#readings.set(kind, reading);
    return reading;
  }
}

function idOf(container: object | null): unknown {
  return container && Reflect.get(container, 'id');
}

interface HeldRow {
  readonly row: Row;
  /** Of the process that has it open. */
  readonly startNs: number;
}

function isOf(startNs: number, sighting: Sighting): boolean {
  return Math.abs(startNs - sighting.startNs) <= sighting.toleranceNs;
}

function* byProcess(rows: readonly Row[], kind: HeldKind): Work<ReadonlyMap<number, readonly HeldRow[]>> {
  const found = new Map<number, HeldRow[]>();
  const add = (process: object, row: Row): void => {
    const sighting = sightingOf(process);
    if (!sighting) return;
    const { pid, startNs } = sighting;
    const known = found.get(pid) ?? [];
    // Several threads of a process may have the socket.
    if (known.at(-1)?.row !== row) known.push({ row, startNs });
    found.set(pid, known);
  };
  for (const [index, row] of rows.entries()) {
    if (index % PIECE === PIECE - 1) yield;
    if (kind === 'openFiles') add(row.process, row);
    else for (const { process } of Reflect.get(row, 'owners') as readonly Owner[]) add(process, row);
  }
  return found;
}
