import type { Worker } from 'node:worker_threads';
import { Channel } from '../../base/channel.js';
import { EunomiaError } from '../../base/errors.js';
import { Gate } from '../../base/gate.js';
import { workerFile } from '../../base/paths.js';
import type { AdviceProtocol } from './protocol.js';

type Asks = AdviceProtocol['asks'];

/** A thread has some tens of mebibytes, which an idle server does not need. */
const IDLE_MS = 30_000;
/** What was seen at most, several times over. */
const HEAP_MIB = 1024;

/** The server's end of the thread that makes advice. It is started when somebody asks, ends when nobody has for a while. */
export class AdviceThread {
  /** A client has two asks at a time (`ClientShare`), so that none is behind many of another one. */
  readonly #gate = new Gate(1);
  readonly #idleMs: number;
  #channel: Channel<AdviceProtocol> | null = null;
  #worker: Worker | null = null;
  #ended: EunomiaError | null = null;
  #idle: NodeJS.Timeout | null = null;

  constructor(idleMs = IDLE_MS) {
    this.#idleMs = idleMs;
  }

  /** Whether there is a thread. */
  get isStarted(): boolean {
    return this.#channel !== null;
  }

  /**
   * Rejects with what the thread refuses, with INTERNAL_SERVER_ERROR when it dies, with SHUTTING_DOWN after `end`, and with the signal's
   * reason where the client has gone before its turn: then nothing is computed.
   */
  async ask<Kind extends keyof Asks>(
    kind: Kind,
    ask: Asks[Kind]['ask'],
    { signal, transfer = [] }: { readonly signal: AbortSignal; readonly transfer?: readonly ArrayBuffer[] },
  ): Promise<Asks[Kind]['reply']> {
    const leave = await this.#gate.enter(signal);
    if (this.#idle) clearTimeout(this.#idle);
    try {
      if (this.#ended) throw this.#ended;
      const reply = this.#open().ask(kind, ask, transfer);
      // A process in which nothing else is open waits for the reply, not for the thread.
      this.#worker?.ref();
      return await reply;
    } finally {
      this.#worker?.unref();
      this.#idle = setTimeout(() => void this.#stop(), this.#idleMs).unref();
      leave();
    }
  }

  /** For good: asks under way are rejected, and those that wait or come later. Idempotent. */
  async end(): Promise<void> {
    this.#ended ??= new EunomiaError('SHUTTING_DOWN', 'the server ends, and makes no advice any more');
    await this.#stop(this.#ended);
  }

  async #stop(error = new Error('nothing was asked for a while')): Promise<void> {
    if (this.#idle) clearTimeout(this.#idle);
    const channel = this.#channel;
    this.#channel = null;
    await channel?.end(error);
  }

  #open(): Channel<AdviceProtocol> {
    return (this.#channel ??= new Channel<AdviceProtocol>({
      file: workerFile('service/advice/worker'),
      worker: { name: 'advice', resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB }, execArgv: [] },
      started: (worker) => (this.#worker = worker),
      restartAfterMs: 0,
      notes: {},
      died: (cause) =>
        new EunomiaError(
          'INTERNAL_SERVER_ERROR',
          `the thread that makes advice has ended${cause ? `: ${cause.message}` : ''}; ask again`,
        ),
    }));
  }
}
