import type { TraceEvent } from '../../event/event.js';
import { textOfNanos } from '../../record/nanos.js';
import { parsed } from '../facts.js';
import { quote, type ColumnKind, type EventTable } from './table.js';
import type { SqlRow, SqlValue } from './protocol.js';

/** How rows become events again. */

const HEAD = [
  'e._session',
  'e._seq',
  'e.time',
  'e.bootNs',
  'e.cgroupId',
  'e.container',
  'p.pid',
  'p.tid',
  'p.ppid',
  'p.uid',
  'p.gid',
  'p.comm',
  'p.startTime',
  'p.mountNs',
];

/** The columns that `eventOf` takes, in their order. */
export function eventColumns({ own }: EventTable): string {
  return [...HEAD, ...own.map(({ name }) => `e.${quote(name)}`)].join(', ');
}

export interface ReadEvent {
  readonly event: TraceEvent;
  readonly session: number;
  readonly seq: number;
  readonly time: bigint;
}

/** An event as it was while it was a record: the same fields with the same values. `containerOf` knows the facts by their number. */
export function eventOf(
  row: SqlRow,
  { tracker, eventType, own }: EventTable,
  containerOf: (id: number) => object | null,
): ReadEvent {
  const [session, seq, time, bootNs, cgroupId, container, pid, tid, ppid, uid, gid, comm, startTime, mountNs] = row;
  const event: TraceEvent & Record<string, unknown> = {
    __typename: eventType,
    tracker,
    time: textOfNanos(BigInt(time ?? 0)),
    bootNs: String(bootNs),
    cgroupId: String(cgroupId),
    process: {
      pid: Number(pid),
      tid: Number(tid),
      ppid: Number(ppid),
      uid: Number(uid),
      gid: Number(gid),
      comm: String(comm ?? ''),
      startTime: textOfNanos(BigInt(startTime ?? 0)),
      mountNs: mountNs == null ? null : String(mountNs),
    },
    container: container == null ? null : containerOf(Number(container)),
  };
  own.forEach(({ name, kind }, i) => put(event, name, valueOf(row[HEAD.length + i] ?? null, kind)));
  return { event, session: Number(session), seq: Number(seq), time: BigInt(time ?? 0) };
}

export function put(event: Record<string, unknown>, path: string, value: unknown): void {
  const [first = path, ...rest] = path.split('.');
  if (!rest.length) {
    event[first] = value;
    return;
  }
  const inner = (event[first] ??= {}) as Record<string, unknown>;
  put(inner, rest.join('.'), value);
}

export function valueOf(value: SqlValue, kind: ColumnKind): unknown {
  if (value === null) return null;
  switch (kind) {
    case 'int64':
    case 'uint64':
      return String(value);
    case 'time':
      return textOfNanos(BigInt(value));
    case 'list':
    case 'histogram':
      return parsed(value) ?? null;
    default:
      return value;
  }
}
