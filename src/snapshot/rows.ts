import type { Work } from '../base/turn.js';
import { sorted } from '../base/turn.js';
import type { ProcessView, TraceEvent } from '../event/event.js';
import type { RecordBatch } from '../record/batch.js';

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
  const bySocket = new Map<string, { readonly records: Row[]; matched: boolean }>();
  for (let i = 0; i < batch.count; i++) {
    if (i % PIECE === PIECE - 1) yield;
    const record = batch.event(i);
    const inode = Reflect.get(record, 'inode') as string;
    const known = bySocket.get(inode) ?? { records: [], matched: false };
    bySocket.set(inode, known);
    known.records.push(record);
    known.matched ||= !matches || matches(record);
  }
  const rows: { readonly inode: bigint; readonly row: Row }[] = [];
  for (const [inode, { records, matched }] of bySocket) {
    if (rows.length % PIECE === PIECE - 1) yield;
    if (matched) rows.push({ inode: BigInt(inode), row: socketRow(records) });
  }
  return (yield* sorted(rows, (a, b) => (a.inode < b.inode ? -1 : a.inode > b.inode ? 1 : 0))).map(({ row }) => row);
}

/** The record of the first owner, which has the fields, with the property `owners`. */
function socketRow(records: readonly Row[]): Row {
  const ordered = [...records].sort((a, b) => a.process.pid - b.process.pid || a.process.tid - b.process.tid);
  const [first] = ordered;
  return Object.create(first ?? null, {
    owners: { get: () => ownersOf(ordered), enumerable: true },
  }) as Row;
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
