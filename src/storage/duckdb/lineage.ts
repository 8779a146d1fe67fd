import type { Work } from '../../base/turn.js';
import type { Collected } from '../../graph/collector.js';
import type { ProcessFacts } from '../../graph/past.js';
import { UNKNOWN_CGROUP, type Exit, type Generation, type Image } from '../../graph/process.js';
import type { ChunkWriter } from './chunk.js';
import type { Database } from './database.js';
import type { SqlRow } from './protocol.js';
import { quote, lineageColumns } from './table.js';
import { parsed } from '../facts.js';

/** The table of what was known of processes: how they become rows, and rows become them again. */

type Name = (typeof lineageColumns)[number]['name'];
type Values = Readonly<Record<Exclude<Name, '_session' | 'nth'>, unknown>>;

/** Rows that are put together in one piece. */
const PIECE = 1024;
/** Processes of one statement that deletes what is told anew. */
const DELETED = 1024;

/** Their columns, in the order in which `factsOf` takes them; sorted so that the programs of a process are next to each other. */
export function selectLineage(number: number): string {
  const columns = lineageColumns.map(({ name }) => quote(name)).join(', ');
  return `SELECT ${columns} FROM lineage WHERE _session = ${number} ORDER BY start, pid, nth`;
}

/** Deletes what is there of those that are told again. What is in `writer` must be flushed before. */
export async function deleteTold(database: Database, number: number, processes: readonly Collected[]): Promise<void> {
  const told = processes.filter(({ again }) => again);
  for (let at = 0; at < told.length; at += DELETED) {
    const some = told.slice(at, at + DELETED).map(({ pid, startNs }) => `(${pid}, ${startNs}::UBIGINT)`);
    await database.write(
      `DELETE FROM lineage USING (VALUES ${some.join(', ')}) AS told(p, s) ` +
        `WHERE _session = ${number} AND pid = told.p AND start = told.s`,
    );
  }
}

/** Returns the number of rows. */
export function writeLineage(writer: ChunkWriter, number: number, processes: readonly Collected[]): number {
  let rows = 0;
  for (const process of processes)
    for (const [nth, generation] of process.generations.entries()) {
      const row = writer.next();
      const values = { _session: number, nth, ...valuesOf(process, generation) };
      lineageColumns.forEach(({ name }, column) => writer.columns[column]?.setValue(row, values[name]));
      rows++;
    }
  return rows;
}

function valuesOf({ pid, startNs, ppid, parentStartNs, exit, endedAt }: Collected, generation: Generation): Values {
  const { sinceNs, comm, uid, gid, cgroupId, mountNs, initPid, initStart, image } = generation;
  return {
    pid,
    start: startNs,
    ppid,
    parentStart: parentStartNs,
    ended: endedAt,
    exit: exit?.atNs,
    exitCode: exit?.code,
    since: sinceNs,
    comm,
    uid,
    gid,
    cgroupId: cgroupId === UNKNOWN_CGROUP ? null : cgroupId,
    mountNs,
    initPid,
    initStart,
    isKnown: image !== null,
    executable: image?.executable,
    executableState: image?.executableState,
    executableDeleted: image?.executableDeleted,
    args: image?.args,
    argsTruncated: image?.argsTruncated,
    cwd: image?.cwd,
    cwdState: image?.cwdState,
    cwdDeleted: image?.cwdDeleted,
  };
}

const places = new Map<string, number>(lineageColumns.map(({ name }, i) => [name, i]));

/** A process with one of its programs; `joined` puts those of a process together. Equal texts and programs become one object. */
export class LineageRows {
  readonly #images = new Map<string, Image>();
  #bytes = 0;

  /** About what all that was read takes in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  readonly factsOf = (row: SqlRow): ProcessFacts => {
    const of = (name: Name) => row[places.get(name) ?? -1] ?? null;
    const number = (name: Name): number => Number(of(name));
    const orNull = (name: Name): number | null => (of(name) === null ? null : number(name));
    this.#bytes += ROW_BYTES;
    const exit: Exit | null = of('ended') === null ? null : { atNs: orNull('exit'), code: orNull('exitCode') };
    const generation: Generation = {
      sinceNs: number('since'),
      comm: textOf(of('comm')) ?? '',
      uid: number('uid'),
      gid: number('gid'),
      cgroupId: orNull('cgroupId') ?? UNKNOWN_CGROUP,
      mountNs: number('mountNs'),
      initPid: number('initPid'),
      initStart: number('initStart'),
      image: of('isKnown') === true ? this.#imageOf(row) : null,
    };
    return {
      pid: number('pid'),
      startNs: number('start'),
      ppid: number('ppid'),
      parentStartNs: orNull('parentStart'),
      generations: [generation],
      exit,
    };
  };

  #imageOf(row: SqlRow): Image {
    const own = row.slice(places.get('executable'));
    const key = JSON.stringify(own);
    const known = this.#images.get(key);
    if (known) return known;
    const [executable, executableState, executableDeleted, args, argsTruncated, cwd, cwdState, cwdDeleted] = own;
    const list: unknown = args === null ? null : parsed(args);
    const image: Image = {
      executable: textOf(executable),
      executableState: textOf(executableState),
      executableDeleted: flagOf(executableDeleted),
      args: Array.isArray(list) ? list.map(String) : null,
      argsTruncated: flagOf(argsTruncated),
      cwd: textOf(cwd),
      cwdState: textOf(cwdState),
      cwdDeleted: flagOf(cwdDeleted),
    };
    this.#images.set(key, image);
    this.#bytes += 2 * key.length + ROW_BYTES;
    return image;
  }
}

/** A process with one program, with its place in the map of all and in those of its boot: measured by reading 60,000 of them. */
const ROW_BYTES = 700;

/** `rows`: in the order of `selectLineage`. */
export function* joined(rows: readonly ProcessFacts[]): Work<ProcessFacts[]> {
  const all: ProcessFacts[] = [];
  for (const [i, row] of rows.entries()) {
    if (i % PIECE === PIECE - 1) yield;
    const last = all.at(-1);
    if (last?.pid === row.pid && last.startNs === row.startNs)
      all[all.length - 1] = { ...row, generations: [...last.generations, ...row.generations] };
    else all.push(row);
  }
  return all;
}

function textOf(value: SqlRow[number] | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

function flagOf(value: SqlRow[number] | undefined): boolean | null {
  return typeof value === 'boolean' ? value : null;
}
