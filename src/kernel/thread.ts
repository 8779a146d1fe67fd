import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { EunomiaError, KernelError } from '../errors.js';
import type { ObjectSpec } from './object.js';
import { root } from './paths.js';
import type {
  Acknowledgement,
  Chunk,
  Failure,
  FeatureProbe,
  Request,
  Response,
  SourceCounters,
  SourceSpec,
} from './protocol.js';

/** Chunks are acknowledged when so much was taken: each acknowledgement wakes the kernel thread. A small part of what may be untaken. */
const TAKEN_BYTES = 1 << 20;

/** Gets a chunk, and the function that gives its memory back for another: once, when nobody reads it any more, or never. */
export type ChunkReceiver = (chunk: Chunk, giveBack: () => void) => void;

type Unnumbered<T> = T extends unknown ? Omit<T, 'id'> : never;

/** What the kernel thread hands to the server's thread; `close` detaches and delivers what is left first. */
export interface KernelSource {
  setCapture(object: number, mask: bigint): Promise<void>;
  judge(cgroups: readonly (readonly [id: number, keep: boolean | null])[]): Promise<void>;
  /** Exact counts. All that was in the ring at that moment was delivered before this resolves. */
  counters(): Promise<SourceCounters>;
  /** All that happened before it was asked was delivered before this resolves: what is in the ring, and what is summed in maps. */
  read(): Promise<void>;
  close(): Promise<SourceCounters>;
}

/**
 * The server's end of the kernel thread. `load` and `close` never block the caller's event loop.
 * When the thread dies, all that is pending rejects and `onDeath` is called.
 */
export class KernelThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #receivers = new Map<number, ChunkReceiver>();
  #next = 1;
  /** Taken and not acknowledged yet. */
  #taken = 0;
  #spare: ArrayBuffer[] = [];
  #dead: Error | null = null;
  onDeath: (error: Error) => void = () => {};

  constructor() {
    // libbpf's calls and the waiter on the rings run on libuv's pool, next to file and name look-ups.
    process.env.UV_THREADPOOL_SIZE ??= '8';
    this.#worker = new Worker(join(root, 'dist/kernel/worker.js'), { name: 'eunomia-kernel' });
    this.#worker.on('message', (response: Response) => this.#receive(response));
    this.#worker.on('error', (error) => this.#die(error));
    this.#worker.on('exit', () => this.#die(new EunomiaError('KERNEL_THREAD_ENDED', 'the kernel thread has ended')));
  }

  /** Loads and attaches; `onChunk` gets its records, in order, from then on. Rejects with a KernelError, nothing stays attached then. */
  async load(spec: SourceSpec, onChunk: ChunkReceiver): Promise<KernelSource> {
    const source = this.#next++;
    this.#receivers.set(source, onChunk);
    try {
      await this.#ask({ kind: 'load', source, spec });
    } catch (error) {
      this.#receivers.delete(source);
      throw error;
    }
    return {
      setCapture: async (object, mask) => void (await this.#ask({ kind: 'capture', source, object, mask })),
      judge: async (cgroups) => void (await this.#ask({ kind: 'judge', source, cgroups })),
      counters: () => this.#ask({ kind: 'counters', source }) as Promise<SourceCounters>,
      read: async () => void (await this.#ask({ kind: 'read', source })),
      close: async () => {
        try {
          return (await this.#ask({ kind: 'close', source })) as SourceCounters;
        } finally {
          this.#receivers.delete(source);
        }
      },
    };
  }

  probe(): Promise<FeatureProbe[]> {
    return this.#ask({ kind: 'probe' }) as Promise<FeatureProbe[]>;
  }

  /** Loads an object and drops it: whether this kernel's verifier accepts it. Rejects with a KernelError. */
  async tryLoad(object: ObjectSpec): Promise<void> {
    await this.#ask({ kind: 'try', object });
  }

  /** Closes all sources and ends the thread. */
  async close(): Promise<void> {
    if (this.#dead) return;
    this.onDeath = () => {};
    await this.#ask({ kind: 'stop' }).catch(() => {});
    await this.#worker.terminate();
  }

  #ask(request: Unnumbered<Request>): Promise<unknown> {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...request, id });
    });
  }

  #receive(response: Response): void {
    if (response.kind === 'chunk') {
      const { data } = response.chunk;
      this.#taken += data.byteLength;
      this.#receivers.get(response.source)?.(response.chunk, () => this.#spare.push(data.buffer as ArrayBuffer));
      if (this.#taken < TAKEN_BYTES) return;
      this.#worker.postMessage(
        { kind: 'taken', bytes: this.#taken, spare: this.#spare } satisfies Acknowledgement,
        this.#spare,
      );
      this.#taken = 0;
      this.#spare = [];
      return;
    }
    const waiting = this.#waiting.get(response.id);
    this.#waiting.delete(response.id);
    if (response.kind === 'done') waiting?.resolve(response.value);
    else waiting?.reject(revive(response.failure));
  }

  #die(error: Error): void {
    if (this.#dead) return;
    this.#dead = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    this.onDeath(error);
  }
}

function revive({ code, message, kernel }: Failure): Error {
  return kernel
    ? new KernelError(kernel.operation, kernel.errno, kernel.hint, kernel.verifierLog)
    : new EunomiaError(code, message);
}
