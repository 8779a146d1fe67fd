import type { Worker } from 'node:worker_threads';
import { Channel, type Protocol } from './channel.js';
import { EunomiaError } from './errors.js';
import { FairGate } from './fair-gate.js';
import { workerFile } from './paths.js';

export interface AskThreadOptions {
  /** As `workerFile` has it. */
  readonly file: string;
  /** Of the thread, for whoever looks at the process. */
  readonly name: string;
  /** What it does, for messages: "makes advice". */
  readonly does: string;
  readonly heapMiB: number;
  /** How long it waits for another ask. Default 30 s: it has some tens of mebibytes, which an idle server does not need. */
  readonly idleMs?: number | undefined;
}

const IDLE_MS = 30_000;

/**
 * The server's end of a thread that computes what would hold up the event loop. It is started when somebody asks, and ends when nobody
 * has for a while.
 */
export class AskThread<P extends Protocol> {
  readonly #gate = new FairGate();
  readonly #options: AskThreadOptions;
  #channel: Channel<P> | null = null;
  #worker: Worker | null = null;
  #ended: EunomiaError | null = null;
  #idle: NodeJS.Timeout | null = null;

  constructor(options: AskThreadOptions) {
    this.#options = options;
  }

  /** Whether there is a thread. */
  get isStarted(): boolean {
    return this.#channel !== null;
  }

  /**
   * Rejects with what the thread refuses, with INTERNAL_SERVER_ERROR when it dies, with SHUTTING_DOWN after `end`, and with the signal's
   * reason where the client has gone before its turn: then nothing is computed. `mostMs`: where it takes longer, the thread ends, and it
   * rejects with LIMIT_EXCEEDED; it ends as well when the client goes meanwhile, so that nobody waits behind what nobody asks for. `of`:
   * the client, whose asks take turns with those of others; absent: one by itself.
   */
  async ask<Kind extends keyof P['asks'] & string>(
    kind: Kind,
    ask: P['asks'][Kind]['ask'],
    {
      signal,
      of = {},
      transfer = [],
      mostMs,
    }: {
      readonly signal?: AbortSignal;
      readonly of?: object | undefined;
      readonly transfer?: readonly ArrayBuffer[];
      readonly mostMs?: number;
    } = {},
  ): Promise<P['asks'][Kind]['reply']> {
    const leave = await this.#gate.enter(of, signal);
    if (this.#idle) clearTimeout(this.#idle);
    let late: NodeJS.Timeout | null = null;
    const abandon = (): void => void this.#stop(new Error('the client that asked has gone'));
    try {
      if (this.#ended) throw this.#ended;
      const reply = this.#open().ask(kind, ask, transfer);
      // A process in which nothing else is open waits for the reply, not for the thread.
      this.#worker?.ref();
      if (mostMs !== undefined) {
        late = setTimeout(() => void this.#stop(this.#tooLong(mostMs)), mostMs);
        signal?.addEventListener('abort', abandon, { once: true });
      }
      return await reply;
    } finally {
      if (late) clearTimeout(late);
      signal?.removeEventListener('abort', abandon);
      this.#worker?.unref();
      this.#idle = setTimeout(() => void this.#stop(), this.#options.idleMs ?? IDLE_MS).unref();
      leave();
    }
  }

  /** For good: asks under way are rejected, and those that wait or come later. Idempotent. */
  async end(): Promise<void> {
    this.#ended ??= new EunomiaError('SHUTTING_DOWN', `the server ends: the thread that ${this.#options.does} is gone`);
    await this.#stop(this.#ended);
  }

  async #stop(error = new Error('nothing was asked for a while')): Promise<void> {
    if (this.#idle) clearTimeout(this.#idle);
    const channel = this.#channel;
    this.#channel = null;
    await channel?.end(error);
  }

  #tooLong(mostMs: number): EunomiaError {
    return new EunomiaError(
      'LIMIT_EXCEEDED',
      `the thread that ${this.#options.does} was ended after ${mostMs / 1000} s; ask for less`,
      {
        details: { limit: 'time', maximum: mostMs },
      },
    );
  }

  #open(): Channel<P> {
    const { file, name, does, heapMiB } = this.#options;
    return (this.#channel ??= new Channel<P>({
      file: workerFile(file),
      worker: { name, resourceLimits: { maxOldGenerationSizeMb: heapMiB }, execArgv: [] },
      started: (worker) => (this.#worker = worker),
      restartAfterMs: 0,
      notes: {} as never, // there are none
      died: (cause) =>
        new EunomiaError(
          'INTERNAL_SERVER_ERROR',
          `the thread that ${does} has ended${cause ? `: ${cause.message}` : ''}; ask again`,
        ),
    }));
  }
}
