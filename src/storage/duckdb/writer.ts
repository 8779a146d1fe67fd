import type { Container } from '../../inventory/container.js';
import { RecordBatch, headerOffsets, type EventBatch } from '../../record/batch.js';
import { createRuntime, type TrackerRuntime } from '../../record/runtime.js';
import { BatchReader } from '../../record/wire.js';
import { loadTrackers } from '../../catalog/load.js';
import { nanosOf } from '../../record/nanos.js';
import { ChunkWriter } from './chunk.js';
import type { Database } from './database.js';
import { ContainerTable, offsetOf, ProcessNumbers } from './dimension.js';
import { encoderOf, readerOf, type FieldEncoder, type Reader } from './encode.js';
import { deleteTold, writeLineage } from './lineage.js';
import type { Packet, SeenProcesses } from './protocol.js';
import { lineageColumns, processColumns, type EventTable } from './table.js';

/** How a tracker's events become rows. */
interface TableWriter {
  readonly table: EventTable;
  /** Which column each of the tracker's own fields is. */
  readonly places: readonly number[];
  readonly encoders: readonly FieldEncoder[];
  readonly readers: readonly Reader[];
}

/** A session that is being recorded. */
interface Recorded {
  readonly reader: BatchReader;
  /** By the number of the tracker in its session, and by name. */
  readonly trackers: readonly TableWriter[];
  readonly byName: ReadonlyMap<string, TableWriter>;
  processes: ProcessNumbers;
  containers: ContainerTable;
}

/** They are the first in each table. */
const [SESSION, SEQ, TIME, BOOT, CGROUP, PROCESS, CONTAINER] = [0, 1, 2, 3, 4, 5, 6] as const;
const SAFE_WORDS = 4294967296;

/**
 * Writes packets into one transaction after the other. What is in a transaction that fails is given back, to be written again: the
 * caller keeps packets until they are committed.
 */
export class EventWriter {
  readonly #tables: readonly EventTable[];
  readonly #sessions = new Map<number, Recorded>();
  readonly #runtimes = new Map<string, Promise<TrackerRuntime>>();
  #database: Database;
  #open = false;
  #writers = new Map<string, ChunkWriter>();
  #nextProcess = 1;
  #nextContainer = 1;
  /** Rows of the transaction. */
  rows = 0;

  readonly #onSeen: (seen: SeenProcesses) => void;

  /** `onSeen` is told of processes of events before the events are committed. */
  constructor(
    database: Database,
    tables: readonly EventTable[],
    onSeen: (seen: SeenProcesses) => void = () => undefined,
  ) {
    this.#onSeen = onSeen;
    this.#database = database;
    this.#tables = tables;
  }

  /** To be called before any packet, and after each failure with the file as it is open then. */
  async use(database: Database): Promise<void> {
    this.#database = database;
    this.#open = false;
    this.#writers = new Map();
    this.rows = 0;
    const [process] = await database.write('SELECT coalesce(max(id), 0) FROM processes');
    const [container] = await database.write('SELECT coalesce(max(id), 0) FROM containers');
    this.#nextProcess = Number(process?.[0] ?? 0) + 1;
    this.#nextContainer = Number(container?.[0] ?? 0) + 1;
    // Rows of a transaction that failed are gone, and so are the numbers in them.
    for (const session of this.#sessions.values()) Object.assign(session, this.#dimensions());
  }

  async begin(number: number, trackers: readonly string[]): Promise<void> {
    const reader = await BatchReader.create(trackers);
    const writers = await Promise.all(trackers.map((name) => this.#tableWriter(name)));
    this.#sessions.set(number, {
      reader,
      trackers: writers,
      byName: new Map(writers.map((writer) => [writer.table.tracker, writer])),
      ...this.#dimensions(),
    });
  }

  /** What is known of a session's containers by now. To be called between two transactions. */
  async tell(number: number, containers: readonly Container[]): Promise<void> {
    const session = this.#sessions.get(number);
    if (session) await this.#writeContainers(number, session.containers.of(containers));
  }

  /** Processes of a session get new numbers from now on. To be called when all of its events that were written are committed. */
  forget(number: number): void {
    const session = this.#sessions.get(number);
    if (session) session.processes = this.#processes();
  }

  /** Whether a session is being recorded: one that was removed is not. */
  has(number: number): boolean {
    return this.#sessions.has(number);
  }

  end(number: number): void {
    this.#sessions.delete(number);
  }

  /** Writes a packet into the transaction. Rejects when DuckDB does; the whole transaction is lost then. */
  async write({ number, batches, gap, seq, processes }: Packet): Promise<void> {
    const session = this.#sessions.get(number);
    if (!session) throw new RangeError(`no session ${number} is being recorded`);
    await this.#begin();
    if (gap) {
      await this.#database.write(
        'INSERT INTO gaps VALUES (?::INTEGER, ?::BIGINT, ?::BIGINT, ?::BIGINT, ?::BIGINT, ?::BIGINT, ?)',
        [
          String(number),
          String(seq),
          String(nanosOf(gap.from)),
          String(nanosOf(gap.to)),
          String(gap.lost),
          String(gap.dropped),
          gap.where === 'OFF' ? gap.where : gap.dropped ? 'STORE' : 'KERNEL',
        ],
      );
    }
    for (const message of batches) {
      const batch = session.reader.read(message);
      if (batch instanceof RecordBatch) await this.#writeRecords(number, session, batch);
      else await this.#writeRows(number, session, batch);
      this.rows += batch.count;
    }
    if (processes?.length) await this.#writeLineage(number, processes);
  }

  /** Ends the transaction. Rejects when it is not sure to be on disk. */
  async commit(): Promise<void> {
    if (!this.#open) return;
    for (const [number, session] of this.#sessions) await this.#writeDimensions(number, session);
    for (const writer of this.#writers.values()) writer.flush();
    await this.#database.write('COMMIT');
    this.#open = false;
    this.rows = 0;
  }

  /** Ends what is open without a word: it failed before. */
  abandon(): void {
    for (const writer of this.#writers.values()) {
      try {
        writer.close();
      } catch {
        // What it held is lost with the transaction.
      }
    }
    this.#writers = new Map();
    this.#open = false;
  }

  async #begin(): Promise<void> {
    if (this.#open) return;
    await this.#database.write('BEGIN');
    this.#open = true;
  }

  #dimensions(): { processes: ProcessNumbers; containers: ContainerTable } {
    return { processes: this.#processes(), containers: new ContainerTable(() => this.#nextContainer++) };
  }

  #processes(): ProcessNumbers {
    return new ProcessNumbers(() => this.#nextProcess++);
  }

  async #tableWriter(name: string): Promise<TableWriter> {
    const table = this.#tables.find(({ tracker }) => tracker === name);
    if (!table) throw new RangeError(`there is no table for the tracker ${name}`);
    const runtime = await this.#runtime(name);
    const names = (this.#database.columns.get(table.name) ?? []).map((column) => column.name);
    return {
      table,
      places: table.own.map((column) => names.indexOf(column.name)),
      encoders: table.own.map((column) => encoderOf(column, runtime)),
      readers: table.own.map((column) => readerOf(column.name)),
    };
  }

  #runtime(name: string): Promise<TrackerRuntime> {
    const known = this.#runtimes.get(name);
    if (known) return known;
    const made = loadTrackers().then((definitions) => {
      const definition = definitions.find((one) => one.name === name);
      if (!definition) throw new RangeError(`there is no tracker ${name}`);
      return createRuntime(definition);
    });
    this.#runtimes.set(name, made);
    return made;
  }

  #chunks({ name }: EventTable): Promise<ChunkWriter> {
    return this.#writerOf(name, this.#database.columns.get(name) ?? []);
  }

  async #writerOf(table: string, columns: ConstructorParameters<typeof ChunkWriter>[0]): Promise<ChunkWriter> {
    const known = this.#writers.get(table);
    if (known) return known;
    const made = new ChunkWriter(columns, await this.#database.writer.createAppender(table));
    this.#writers.set(table, made);
    return made;
  }

  async #writeLineage(number: number, processes: Packet['processes'] & object): Promise<void> {
    const writer = await this.#writerOf('lineage', lineageColumns);
    // What is told again may have been told in this transaction.
    writer.flush();
    await deleteTold(this.#database, number, processes);
    this.rows += writeLineage(writer, number, processes);
  }

  async #writeRecords(number: number, session: Recorded, batch: RecordBatch): Promise<void> {
    const chunks: ChunkWriter[] = [];
    for (const { table } of session.trackers) chunks.push(await this.#chunks(table));
    const words = new Uint32Array(batch.view.buffer as ArrayBuffer, 0, batch.view.buffer.byteLength >> 2);
    const offset = offsetOf(batch.clock);
    const offsetLow = Number(offset & 0xffffffffn);
    const offsetHigh = Number(offset >> 32n);
    for (let i = 0; i < batch.count; i++) {
      const at = batch.offsets[i] ?? 0;
      const tracker = batch.view.getUint16(at + headerOffsets.tracker, true);
      const writer = session.trackers[tracker];
      const chunk = chunks[tracker];
      if (!writer || !chunk) throw new RangeError(`record ${i} of the batch is of no tracker of its session`);
      const row = chunk.next();
      const { columns } = chunk;
      const seq = batch.placeOf(i);
      columns[SESSION]?.setWord(row, number);
      columns[SEQ]?.setWords(row, seq % SAFE_WORDS, Math.floor(seq / SAFE_WORDS));
      const word = at >> 2;
      const bootLow = words[word] ?? 0;
      const bootHigh = words[word + 1] ?? 0;
      const low = bootLow + offsetLow;
      columns[TIME]?.setWords(row, low, bootHigh + offsetHigh + (low > 0xffffffff ? 1 : 0));
      columns[BOOT]?.setWords(row, bootLow, bootHigh);
      columns[CGROUP]?.setWords(row, words[word + 2] ?? 0, words[word + 3] ?? 0);
      columns[PROCESS]?.setWord(row, session.processes.ofRecord(batch, words, at));
      const container = batch.containerAt(at) as Container | null;
      if (container) columns[CONTAINER]?.setWord(row, session.containers.idOf(container));
      else columns[CONTAINER]?.setNull(row);
      const event = batch.event(i);
      const { encoders, places } = writer;
      for (let own = 0; own < encoders.length; own++) {
        const column = columns[places[own] ?? -1];
        if (column) encoders[own]?.(batch, at, event, column, row);
      }
    }
  }

  async #writeRows(number: number, session: Recorded, batch: EventBatch): Promise<void> {
    for (let i = 0; i < batch.count; i++) {
      const event = batch.event(i);
      const writer = session.byName.get(event.tracker);
      if (!writer) throw new RangeError(`event ${i} of the batch is of no tracker of its session`);
      const chunk = await this.#chunks(writer.table);
      const row = chunk.next();
      const container = event.container as Container | null;
      const shared = [
        number,
        batch.placeOf(i),
        event.time,
        event.bootNs,
        event.cgroupId,
        session.processes.ofView(event.process, batch.clock),
        container && session.containers.idOf(container),
      ];
      shared.forEach((value, column) => chunk.columns[column]?.setValue(row, value));
      writer.readers.forEach((read, own) => chunk.columns[writer.places[own] ?? -1]?.setValue(row, read(event)));
    }
  }

  async #writeDimensions(number: number, { processes, containers }: Recorded): Promise<void> {
    const rows = processes.take();
    if (rows.length) {
      const writer = await this.#writerOf('processes', processColumns);
      this.#onSeen({ number, processes: rows.map(({ pid, startNs }) => [pid, startNs] as const) });
      for (const process of rows) {
        const row = writer.next();
        const { id, pid, tid, ppid, uid, gid, comm, startTime, mountNs } = process;
        [number, id, pid, tid, ppid, uid, gid, comm, startTime, mountNs].forEach((value, column) =>
          writer.columns[column]?.setValue(row, value),
        );
      }
    }
    await this.#writeContainers(number, containers.take());
  }

  async #writeContainers(number: number, containers: ReturnType<ContainerTable['take']>): Promise<void> {
    for (const { id, facts, known } of containers) {
      if (known)
        await this.#database.write('UPDATE containers SET facts = ? WHERE id = ?::INTEGER', [facts, String(id)]);
      else
        await this.#database.write('INSERT INTO containers VALUES (?::INTEGER, ?::INTEGER, ?)', [
          String(number),
          String(id),
          facts,
        ]);
    }
  }
}
