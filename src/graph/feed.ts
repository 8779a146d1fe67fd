import { readFile } from 'node:fs/promises';
import type { Log } from '../base/log.js';
import { objectPath } from '../base/paths.js';
import { parseBpfFile } from '../btf/btf.js';
import { compileLayout } from '../btf/layout.js';
import { sightingOf } from '../event/sighting.js';
import { readProcess } from '../inventory/process.js';
import { bootNow, ClockWatch } from '../kernel/clock.js';
import type { ObjectSpec } from '../kernel/object-spec.js';
import type { Chunk, SourceSpec } from '../kernel/protocol.js';
import type { ChunkReceiver, KernelSource } from '../kernel/thread.js';
import { RecordBatch, type BatchContext } from '../record/batch.js';
import { compileView } from '../record/view.js';
import { processSnapshot } from '../snapshot/process.js';
import { snapshotView, type SnapshotKernel } from '../snapshot/reader.js';
import { imageOf, toldAt } from './decode.js';
import { UNKNOWN_CGROUP, type Image, type Told } from './process.js';
import type { ProcessTable } from './table.js';

/** About a second of a machine that forks 2,000 processes a second, each of which executes a program. */
const RING_BYTES = 1 << 21;
/** Nobody waits for a record: who asks has the ring read. So while processes come and go, the thread wakes this seldom. */
const DELAY_MS = 5_000;
/** After a loss, the processes there are are listed again, this often at most. */
const MEND_MS = 1_000;
/** Processes that are looked for in /proc after a list. */
const MOST_BEYOND = 16;

/** What the feed needs of the kernel thread. */
export interface FeedKernel extends SnapshotKernel {
  load(spec: SourceSpec, onChunk: ChunkReceiver): Promise<KernelSource>;
}

/**
 * Feeds a table of processes: by what programs of its own tell of forks, execs, renames and exits, and by an iterator that lists all there
 * are once these programs are attached, and again where records were lost.
 */
export class ProcessFeed {
  readonly #kernel: FeedKernel;
  readonly #table: ProcessTable;
  readonly #log: Log;
  #source: KernelSource | null = null;
  #lost = 0;
  #lists = 0;
  #mending: Promise<void> | null = null;
  #mendAt = 0;
  /** Records were lost since the last list was begun. */
  #missed = false;
  #closed = false;
  /** All that happened before this, in ns since boot, is in the table. */
  #knownToNs = 0;
  #reading: Promise<void> | null = null;

  private constructor(kernel: FeedKernel, table: ProcessTable, log: Log) {
    this.#kernel = kernel;
    this.#table = table;
    this.#log = log;
  }

  /** Rejects with a KernelError; nothing stays in the kernel then. */
  static async start(kernel: FeedKernel, table: ProcessTable, log: Log): Promise<ProcessFeed> {
    const feed = new ProcessFeed(kernel, table, log);
    const path = objectPath('lineage');
    const layout = compileLayout(parseBpfFile(await readFile(path), path), 'lineage');
    const view = compileView({ name: 'lineage', minimumKernel: '5.17', blindSpots: [] }, layout);
    const context = { views: [view], containerAt: () => null };
    const filter = { cgroups: null, pids: null, descendants: false, uids: null, comms: null };
    // Where the tracepoint is another one, names are those of the last exec.
    const optional = { lineage_rename: [2] };
    const object = { name: 'lineage', path, constants: {}, unneeded: [], capture: 0n, optional };
    feed.#source = await kernel.load({ ringBytes: RING_BYTES, delayMs: DELAY_MS, filter, objects: [object] }, (chunk) =>
      feed.#take(chunk, context),
    );
    try {
      await feed.#list();
      await feed.read();
    } catch (error) {
      await feed.close();
      throw error;
    }
    return feed;
  }

  /** Records that the ring had no room for. Mended by listing all processes anew: what lived between two lists is not known. */
  get lost(): number {
    return this.#lost;
  }

  /** How often all processes were listed. */
  get lists(): number {
    return this.#lists;
  }

  /** All that happened before this, in ns since boot, is in the table. */
  get knownToNs(): number {
    return this.#knownToNs;
  }

  /** Resolves when all that happened before this call is in the table. Calls at one time share a reading. */
  read(): Promise<void> {
    // A reading that has begun may have passed what its caller knows of.
    const reading = this.#reading;
    if (reading) return reading.then(() => this.#readNow());
    return this.#readNow();
  }

  /** Leaves nothing in the kernel. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#mending;
    await this.#source?.close();
  }

  #readNow(): Promise<void> {
    return (this.#reading ??= this.#read().finally(() => (this.#reading = null)));
  }

  async #read(): Promise<void> {
    const now = bootNow();
    await this.#source?.read();
    await this.#mending;
    this.#knownToNs = now;
  }

  #take(chunk: Chunk, context: BatchContext): void {
    const { data, offsets, clock, lost } = chunk;
    const table = this.#table;
    const batch = new RecordBatch(data, offsets, context, { clock, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 });
    for (let i = 0; i < batch.count; i++) {
      const event = batch.event(i);
      const told = toldAt(batch, i, event, Number(Reflect.get(event, 'parentStartNs')));
      switch (Reflect.get(event, 'step')) {
        case 'FORK':
          table.forked(told);
          break;
        case 'EXEC':
          table.executed(told, imageOf(event) ?? NO_IMAGE);
          break;
        case 'RENAME':
          table.renamed(told);
          break;
        default:
          table.exited(told, Number(Reflect.get(event, 'exitCode')));
      }
    }
    if (lost === 0) return;
    this.#lost += lost;
    this.#missed = true;
    this.#mendSoon();
  }

  #mendSoon(): void {
    this.#mending ??= this.#mend().finally(() => {
      this.#mending = null;
      // The list may have passed by then what was lost while it was made.
      if (this.#missed && !this.#closed) this.#mendSoon();
    });
  }

  async #mend(): Promise<void> {
    const wait = this.#mendAt - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait).unref());
    if (this.#closed) return;
    this.#mendAt = performance.now() + MEND_MS;
    this.#missed = false;
    try {
      await this.#list();
      this.#log.warn({ lost: this.#lost }, 'the table of processes missed some, and has listed all again');
    } catch (error) {
      this.#log.warn({ err: error }, 'the table of processes missed some, and cannot list them');
    }
  }

  async #list(): Promise<void> {
    const { view, path } = await snapshotView(processSnapshot);
    const object: ObjectSpec = { name: processSnapshot.name, path, constants: {}, unneeded: [] };
    const { data, offsets, clock, from, complete } = await this.#kernel.snapshot(object);
    const context = { views: [view], containerAt: () => null };
    const batch = new RecordBatch(data, offsets, context, { clock, seq: 0, lost: 0, lostFrom: 0, lostTo: 0 });
    const all = Array.from({ length: batch.count }, (_, i) => {
      const event = batch.event(i);
      return { ...toldAt(batch, i, event, null), image: imageOf(event) };
    });
    all.push(...(await parentsBeyond(all)));
    this.#table.there(all, complete ? from : 0);
    this.#lists++;
  }
}

type Listed = Told & { readonly image: Image | null };

/**
 * Parents of listed processes that are not listed themselves, by /proc: a kernel may keep a process of its own from iterators, as some
 * virtual machines do with the first one.
 */
async function parentsBeyond(all: readonly Listed[]): Promise<Listed[]> {
  const listed = new Set(all.map(({ pid }) => pid));
  const missing = new Set(all.map(({ ppid }) => ppid).filter((ppid) => ppid !== 0 && !listed.has(ppid)));
  const found = await Promise.all([...missing].slice(0, MOST_BEYOND).map((pid) => readProcess(pid, new ClockWatch())));
  return found.flatMap((process) => {
    const sighting = process && sightingOf(process);
    if (!sighting) return [];
    const { pid, ppid, comm, uid, gid, mountNs } = process;
    const { startNs, atNs } = sighting;
    const traits = { comm, uid, gid, cgroupId: UNKNOWN_CGROUP, mountNs: Number(mountNs), initPid: 0, initStart: 0 };
    return [{ ...traits, pid, startNs, ppid, parentStartNs: null, atNs, image: null }];
  });
}

/** An exec of which nothing could be read. */
const NO_IMAGE = {
  executable: null,
  executableState: null,
  executableDeleted: null,
  args: null,
  argsTruncated: null,
  cwd: null,
  cwdState: null,
  cwdDeleted: null,
};
