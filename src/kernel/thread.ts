import { Channel } from '../base/channel.js';
import { EunomiaError } from '../base/errors.js';
import { intake } from '../base/turn.js';
import type { ObjectSpec, Unloaded } from './object-spec.js';
import { workerFile } from '../base/paths.js';
import type {
  CgroupVerdict,
  Chunk,
  FeatureProbe,
  KernelProtocol,
  SnapshotRecords,
  SourceCounters,
  SourceSpec,
} from './protocol.js';

/** Chunks are acknowledged when so much was taken: each acknowledgement wakes the kernel thread. A small part of what may be untaken. */
const TAKEN_BYTES = 1 << 20;

/**
 * Gets a chunk, and the function that gives its memory back for another: once, when nobody reads it any more, or never.
 * Where it needs more than this turn of the event loop, the next chunk comes when its promise has resolved.
 */
export type ChunkReceiver = (chunk: Chunk, giveBack: () => void) => Promise<void> | null | void;

/** What the kernel thread hands to the server's thread; `close` detaches and delivers what is left first. */
export interface KernelSource {
  /** The optional programs that its objects are without, by object. */
  readonly unloaded: readonly Unloaded[];
  setCapture(object: number, mask: bigint): Promise<void>;
  setVerdicts(cgroups: readonly (readonly [id: number, verdict: CgroupVerdict | null])[]): Promise<void>;
  /** How long an event may wait for others before it is handed over, in milliseconds, from now on. */
  setDelay(ms: number): void;
  /** What waits in the ring, or else the next event, is handed over at once. */
  hurry(): void;
  /** Exact counts. All that was in the ring at that moment was delivered before this resolves. */
  counters(): Promise<SourceCounters>;
  /** All that happened before it was asked was delivered before this resolves: what is in the ring, and what is aggregated in maps. */
  read(): Promise<void>;
  close(): Promise<SourceCounters>;
}

/**
 * The server's end of the kernel thread. `load` and `close` never block the caller's event loop.
 * When the thread dies, all that is pending rejects and `onDeath` is called.
 */
export class KernelThread {
  readonly #channel: Channel<KernelProtocol>;
  readonly #receivers = new Map<number, ChunkReceiver>();
  #nextSource = 1;
  /** Taken and not acknowledged yet. */
  #taken = 0;
  #spare: ArrayBuffer[] = [];
  onDeath: (error: Error) => void = () => {};

  constructor() {
    // libbpf's calls and the waiter on the rings run on libuv's pool, next to file and name look-ups.
    process.env.UV_THREADPOOL_SIZE ??= '8';
    this.#channel = new Channel<KernelProtocol>({
      file: workerFile('kernel/worker'),
      worker: { name: 'eunomia-kernel' },
      // Many chunks may arrive at once. What is not taken is not acknowledged, and so bounded.
      turns: intake,
      notes: { chunk: ({ source, chunk }) => this.#takeChunk(source, chunk) },
      died: (cause) =>
        new EunomiaError('KERNEL_THREAD_ENDED', `the kernel thread has ended${cause ? `: ${cause.message}` : ''}`, {
          cause: cause ?? undefined,
        }),
      onDeath: (error) => this.onDeath(error),
    });
  }

  /** Loads and attaches; `onChunk` gets its records, in order, from then on. Rejects with a KernelError, nothing stays attached then. */
  async load(spec: SourceSpec, onChunk: ChunkReceiver): Promise<KernelSource> {
    const channel = this.#channel;
    const source = this.#nextSource++;
    this.#receivers.set(source, onChunk);
    let unloaded: readonly Unloaded[];
    try {
      unloaded = await channel.ask('load', { source, spec });
    } catch (error) {
      this.#receivers.delete(source);
      throw error;
    }
    return {
      unloaded,
      setCapture: (object, mask) => channel.ask('capture', { source, object, mask }),
      setVerdicts: (cgroups) => channel.ask('setVerdicts', { source, cgroups }),
      setDelay: (ms) => {
        if (!channel.dead) channel.post('delay', { source, ms });
      },
      hurry: () => {
        if (!channel.dead) channel.post('hurry', { source });
      },
      counters: () => channel.ask('counters', { source }),
      read: () => channel.ask('read', { source }),
      close: async () => {
        try {
          return await channel.ask('close', { source });
        } finally {
          this.#receivers.delete(source);
        }
      },
    };
  }

  probe(): Promise<readonly FeatureProbe[]> {
    return this.#channel.ask('probe', null);
  }

  /**
   * Loads an object and drops it: whether this kernel's verifier accepts it. Resolves to the optional programs that it
   * is without here. Rejects with a KernelError. `remembered`: an earlier process may have done it, with the same rights.
   */
  tryLoad(object: ObjectSpec, { remembered = false } = {}): Promise<Unloaded> {
    return this.#channel.ask('try', { object, remembered });
  }

  /** All that the iterator of an object tells now. Readings of one object come one after the other. Rejects with a KernelError. */
  snapshot(object: ObjectSpec): Promise<SnapshotRecords> {
    return this.#channel.ask('snapshot', object);
  }

  /** Closes all sources and ends the thread. */
  async close(): Promise<void> {
    if (this.#channel.dead) return;
    this.onDeath = () => {};
    await this.#channel.ask('stop', null).catch(() => {});
    await this.#channel.end(new EunomiaError('KERNEL_THREAD_ENDED', 'the kernel thread has ended'));
  }

  #takeChunk(source: number, chunk: Chunk): Promise<void> | null {
    const { data } = chunk;
    const bytes = data.byteLength;
    const work = this.#receivers.get(source)?.(chunk, () => this.#spare.push(data.buffer as ArrayBuffer)) ?? null;
    if (!work) this.#acknowledge(bytes);
    return work && work.then(() => this.#acknowledge(bytes));
  }

  #acknowledge(bytes: number): void {
    this.#taken += bytes;
    if (this.#taken < TAKEN_BYTES || this.#channel.dead) return;
    this.#channel.post('taken', { bytes: this.#taken, spare: this.#spare }, this.#spare);
    this.#taken = 0;
    this.#spare = [];
  }
}
