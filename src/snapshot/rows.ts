import type { Work } from '../base/turn.js';
import { sorted } from '../base/turn.js';
import type { ProcessView, TraceEvent } from '../event/event.js';
import type { RecordBatch } from '../record/batch.js';
import type { EventView } from '../record/view.js';

/** A row of a snapshot: what a record says, as an event of it would. */
export type Row = TraceEvent;

type Matches = (row: Row) => boolean;

/** Records that are read in one piece: a filter may take some microseconds of each. */
const PIECE = 64;

/** Who has a socket open. */
export interface Owner {
  readonly process: ProcessView;
  readonly container: object | null;
  readonly cgroupId: string;
  readonly fds: readonly number[];
}

/** The processes that match, by pid. */
export function* processRows(batch: RecordBatch, matches: Matches | null): Work<readonly Row[]> {
  return yield* sorted(yield* matching(batch, matches), (a, b) => a.process.pid - b.process.pid);
}

/** The open files that match, by pid and descriptor. The kernel tells them in the order of threads, and then of descriptors. */
export function* fileRows(batch: RecordBatch, matches: Matches | null): Work<readonly Row[]> {
  const rows = yield* matching(batch, matches);
  return yield* sorted(
    rows,
    (a, b) => a.process.pid - b.process.pid || a.process.tid - b.process.tid || fdOf(a) - fdOf(b),
  );
}

const fdOf = (row: Row): number => Reflect.get(row, 'fd') as number;

function* matching(batch: RecordBatch, matches: Matches | null): Work<readonly Row[]> {
  const rows: Row[] = [];
  for (let i = 0; i < batch.count; i++) {
    if (i % PIECE === PIECE - 1) yield;
    const row = batch.event(i);
    if (!matches || matches(row)) rows.push(row);
  }
  return rows;
}

/**
 * The sockets of which a record matches, by inode. There is a record for each descriptor; a row is what the one of the
 * first process says, with all who have the socket as `owners`.
 */
export function* socketRows(batch: RecordBatch, matches: Matches | null): Work<readonly Row[]> {
  const bySocket = new Map<number, Socket>();
  for (let i = 0; i < batch.count; i++) {
    if (i % PIECE === PIECE - 1) yield;
    const record = batch.event(i);
    // The kernel counts them in 32 bits (fs/inode.c, get_next_ino).
    const inode = Number(Reflect.get(record, 'inode'));
    const socket = bySocket.get(inode) ?? { inode, records: [], matched: false };
    bySocket.set(inode, socket);
    socket.records.push(record);
    socket.matched ||= !matches || matches(record);
  }
  const found = yield* sorted(
    [...bySocket.values()].filter(({ matched }) => matched),
    (a, b) => a.inode - b.inode,
  );
  const rows: Row[] = [];
  for (const { records } of found) {
    if (rows.length % PIECE === PIECE - 1) yield;
    rows.push(socketRow(batch, records));
  }
  return rows;
}

interface Socket {
  readonly inode: number;
  readonly records: Row[];
  matched: boolean;
}

/** The record of the first owner, which has the fields, with the property `owners`. */
function socketRow(batch: RecordBatch, records: Row[]): Row {
  if (records.length > 1) records.sort((a, b) => a.process.pid - b.process.pid || a.process.tid - b.process.tid);
  const [first] = records;
  const View = first?.constructor as EventView;
  return new (owned(View))(batch, Reflect.get(Object(first), 'at') as number, records);
}

const RECORDS = Symbol('records');

/** How many records a row is made of. */
export function recordsOf(row: Row | undefined): number {
  return (Reflect.get(Object(row), RECORDS) as number | undefined) ?? 1;
}

type OwnedView = new (batch: RecordBatch, at: number, records: readonly Row[]) => Row;
const ownedViews = new WeakMap<EventView, OwnedView>();

/** A class, and not a property of each row: objects with properties or a prototype of their own are slow to make and to read. */
function owned(View: EventView): OwnedView {
  const known = ownedViews.get(View);
  if (known) return known;
  const made = class extends View {
    readonly #records: readonly Row[];

    constructor(batch: RecordBatch, at: number, records: readonly Row[]) {
      super(batch, at);
      this.#records = records;
    }

    get owners(): readonly Owner[] {
      return ownersOf(this.#records);
    }

    get [RECORDS](): number {
      return this.#records.length;
    }
  };
  ownedViews.set(View, made);
  return made;
}

function ownersOf(ordered: readonly Row[]): readonly Owner[] {
  const owners: (Owner & { readonly fds: number[] })[] = [];
  for (const record of ordered) {
    const { process } = record;
    const last = owners.at(-1);
    const fd = fdOf(record);
    if (last?.process.pid === process.pid && last.process.tid === process.tid) last.fds.push(fd);
    else owners.push({ process, container: record.container, cgroupId: record.cgroupId, fds: [fd] });
  }
  for (const { fds } of owners) fds.sort((a, b) => a - b);
  return owners;
}
