import { readFile } from 'node:fs/promises';
import { objectPath } from '../base/paths.js';
import { inTurns, turns, type Work } from '../base/turn.js';
import { parseBpfFile } from '../btf/btf.js';
import { compileLayout } from '../btf/layout.js';
import { wallTimeOf } from '../event/clock.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import type { ObjectSpec } from '../kernel/object-spec.js';
import type { SnapshotRecords } from '../kernel/protocol.js';
import { RecordBatch } from '../record/batch.js';
import { compileView, type EventView } from '../record/view.js';
import { CgroupMatcher } from '../session/target.js';
import type { SnapshotDefinition } from './definition.js';
import { processSnapshot } from './process.js';
import { fileSnapshot } from './file.js';
import { Mount, namespacesOf, parseMounts, quickestFirst, readMountInfo, type Namespace } from './mount.js';
import { fileRows, processRows, socketRows, type Row } from './rows.js';
import { socketSnapshot } from './socket.js';

/** What a row weighs as an object, about. */
const ROW_BYTES = 200;
/** Records whose containers are looked up in one piece. */
const PIECE = 4096;
/** Of what the kernel tells of mounts: as much as of records. A mount weighs more as an object than as a line. */
const MOST_MOUNT_BYTES = 64 << 20;
const MOUNT_BYTES = 800;
const PATIENCE = { atOnce: 2, quickMs: 500, mostMs: 5_000, allMs: 15_000 };
/** Mounts that are filtered in one piece. */
const MOUNTS = 64;

/** What snapshots need of the kernel thread. */
export interface SnapshotKernel {
  snapshot(object: ObjectSpec): Promise<SnapshotRecords>;
}

interface Kind {
  readonly definition: SnapshotDefinition;
  readonly rows: (batch: RecordBatch, matches: ((row: Row) => boolean) | null) => Work<readonly Row[]>;
}

export const snapshotKinds = {
  processes: { definition: processSnapshot, rows: processRows },
  sockets: { definition: socketSnapshot, rows: socketRows },
  openFiles: { definition: fileSnapshot, rows: fileRows },
} as const satisfies Readonly<Record<string, Kind>>;

/** What the kernel lists by an iterator. */
export type IteratedKind = keyof typeof snapshotKinds;
export type SnapshotKind = IteratedKind | 'mounts';

/** The types of rows in the schema, and what messages call them. */
export const snapshotTypes: Readonly<Record<SnapshotKind, Pick<SnapshotDefinition, 'name' | 'type' | 'noun'>>> = {
  processes: processSnapshot,
  sockets: socketSnapshot,
  openFiles: fileSnapshot,
  mounts: { name: 'mount', type: 'Mount', noun: 'mount' },
};

/** What there was at a moment, as far as it matches. */
export interface Snapshot {
  /** When its reading began, RFC 3339. */
  readonly takenAt: string;
  /** False where the kernel had more than 64 MiB of records, or took too long to tell of mounts. */
  readonly complete: boolean;
  readonly rows: readonly Row[];
  /** What its rows keep in memory, about. */
  readonly bytes: number;
}

/** Takes snapshots of all namespaces, each with the container of each process. */
export class SnapshotReader {
  readonly #kernel: SnapshotKernel;
  readonly #registry: ContainerRegistry;
  readonly #kinds = new Map<IteratedKind, Promise<RecordSource>>();

  /** Settles when no mounts are being read. */
  #under: Promise<unknown> = Promise.resolve();

  constructor(kernel: SnapshotKernel, registry: ContainerRegistry) {
    this.#kernel = kernel;
    this.#registry = registry;
  }

  /**
   * Reads the kernel once, after this call has begun. Rejects with a KernelError where the kernel cannot, and with the signal's reason once
   * it aborts. `ready`: as that of an `EventFilter`, of which `matches` is.
   */
  async take(
    kind: SnapshotKind,
    matches: ((row: Row) => boolean) | null,
    signal?: AbortSignal,
    ready: (() => Promise<void> | null) | null = null,
  ): Promise<Snapshot> {
    if (kind === 'mounts') {
      // One after the other: each may keep threads for seconds that others need too.
      const made = this.#under.then(() => this.#mounts(matches, signal, ready));
      this.#under = made.catch(() => undefined);
      return made;
    }
    const source = await this.#source(kind);
    const { records, batch } = await source.read();
    await ready?.();
    signal?.throwIfAborted();
    const rows = await inTurns(snapshotKinds[kind].rows(batch, matches), signal);
    return {
      takenAt: wallTimeOf(records.clock, records.from),
      complete: records.complete,
      rows,
      bytes: records.data.buffer.byteLength + rows.length * ROW_BYTES,
    };
  }

  /** What each mount namespace has, by a process in it: these are listed first. */
  async #mounts(
    matches: ((row: Row) => boolean) | null,
    signal: AbortSignal | undefined,
    ready: (() => Promise<void> | null) | null,
  ): Promise<Snapshot> {
    const processes = await this.take('processes', null, signal);
    const namespaces = await inTurns(namespacesOf(processes.rows), signal);
    await ready?.();
    const found = new Map<Namespace, readonly Row[]>();
    let read = 0;
    const take = async (one: Namespace, mostMs: number): Promise<boolean> => {
      signal?.throwIfAborted();
      if (read > MOST_MOUNT_BYTES) return false;
      const told = await readMountInfo(one, mostMs, signal);
      if (!told) return true;
      const { row, text } = told;
      read += text?.length ?? 0;
      if (!text || read > MOST_MOUNT_BYTES) return false;
      found.set(one, await inTurns(mountRows({ row, text, mountNs: one.mountNs }, matches), signal));
      return true;
    };
    const isWhole = await quickestFirst(namespaces, take, PATIENCE);
    const rows = namespaces.flatMap((one) => found.get(one) ?? []);
    return {
      takenAt: processes.takenAt,
      complete: isWhole && processes.complete,
      rows,
      bytes: processes.bytes + rows.length * MOUNT_BYTES,
    };
  }

  #source(kind: IteratedKind): Promise<RecordSource> {
    const known = this.#kinds.get(kind);
    if (known) return known;
    const made = RecordSource.create(snapshotKinds[kind].definition, this.#kernel, this.#registry);
    this.#kinds.set(kind, made);
    made.catch(() => this.#kinds.delete(kind));
    return made;
  }
}

/** The mounts that match. */
function* mountRows(
  { row, text, mountNs }: { readonly row: Row; readonly text: Buffer; readonly mountNs: Namespace['mountNs'] },
  matches: ((row: Row) => boolean) | null,
): Work<readonly Row[]> {
  const mounts = yield* parseMounts(text);
  const rows: Row[] = [];
  for (const [index, facts] of mounts.entries()) {
    if (index % MOUNTS === MOUNTS - 1) yield;
    const mount = new Mount(row, mountNs, facts);
    if (!matches || matches(mount)) rows.push(mount);
  }
  return rows;
}

interface Reading {
  readonly records: SnapshotRecords;
  readonly batch: RecordBatch;
}

/** Reads the records of one kind. Who asks while a reading is under way shares the next one with all who ask until it begins. */
class RecordSource {
  readonly #object: ObjectSpec;
  readonly #view: EventView;
  readonly #kernel: SnapshotKernel;
  readonly #matcher: CgroupMatcher;
  #under: Promise<unknown> = Promise.resolve();
  #next: Promise<Reading> | null = null;

  private constructor(object: ObjectSpec, view: EventView, kernel: SnapshotKernel, matcher: CgroupMatcher) {
    this.#object = object;
    this.#view = view;
    this.#kernel = kernel;
    this.#matcher = matcher;
  }

  static async create(
    definition: SnapshotDefinition,
    kernel: SnapshotKernel,
    registry: ContainerRegistry,
  ): Promise<RecordSource> {
    const { view, path } = await snapshotView(definition);
    const object = { name: definition.name, path, constants: {}, unneeded: [] };
    return new RecordSource(object, view, kernel, new CgroupMatcher(null, registry));
  }

  read(): Promise<Reading> {
    if (this.#next) return this.#next;
    const next = this.#under.then(() => {
      this.#next = null;
      return this.#read();
    });
    this.#next = next;
    this.#under = next.catch(() => undefined);
    return next;
  }

  async #read(): Promise<Reading> {
    const records = await this.#kernel.snapshot(this.#object);
    const { data, offsets, clock } = records;
    const matcher = this.#matcher;
    const bytes = new DataView(data.buffer, data.byteOffset, data.byteLength);
    for (let from = 0; from < offsets.length; from += PIECE) {
      if (!turns.isOpen) await turns.next('REQUEST');
      await matcher.prepare(bytes, offsets.subarray(from, from + PIECE));
    }
    const batch = new RecordBatch(
      data,
      offsets,
      { views: [this.#view], containerAt: (view, at) => matcher.containerAt(view, at) },
      { clock, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 },
    );
    return { records, batch };
  }
}

/** The view on a kind's records, from the BTF of its object. Rejects with BAD_OBJECT. */
export async function snapshotView(
  definition: SnapshotDefinition,
): Promise<{ readonly view: EventView; readonly path: string }> {
  const path = objectPath(`snapshots/${definition.name}`);
  const layout = compileLayout(parseBpfFile(await readFile(path), path), definition.name);
  return { view: compileView({ ...definition, blindSpots: [] }, layout), path };
}
