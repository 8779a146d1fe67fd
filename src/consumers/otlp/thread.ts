import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Reply, Request, Signal, SignalCounts, ThreadSpec } from './protocol.js';

/** Two folders and dist: the same from src/ and from dist/. */
const WORKER = fileURLToPath(new URL('../../../dist/consumers/otlp/worker.js', import.meta.url));
const RESTART_MS = 5000;
/** What waits is bounded to a few dozen mebibytes; what is more is a mistake of ours that is to end this thread alone. */
const HEAP_MIB = 512;

const none: SignalCounts = { sent: 0, refused: 0, failures: 0, queued: 0, queuedBytes: 0, problem: null };

/** The server's end of the thread that exports. A thread that ended by a mistake is started again, a while later; its counts go on. */
export class ExportThread {
  readonly #spec: ThreadSpec;
  readonly #onProblem: (signal: Signal | 'thread', problem: string | null) => void;
  #worker: Worker | null = null;
  #diedAt = Number.NEGATIVE_INFINITY;
  #closed = false;
  readonly #waiting: { resolve(): void; reject(error: Error): void }[] = [];
  #counts: Record<Signal, SignalCounts> = { logs: none, metrics: none };
  /** Of threads that have ended. */
  #before: Record<Signal, SignalCounts> = { logs: none, metrics: none };

  constructor(spec: ThreadSpec, onProblem: (signal: Signal | 'thread', problem: string | null) => void) {
    this.#spec = spec;
    this.#onProblem = onProblem;
  }

  counts(signal: Signal): SignalCounts {
    const now = this.#counts[signal];
    const before = this.#before[signal];
    return {
      ...now,
      sent: now.sent + before.sent,
      refused: now.refused + before.refused,
      failures: now.failures + before.failures,
    };
  }

  /** Resolves when there is room for more. Rejects when the thread has ended: what it had is gone. */
  async call(request: Exclude<Request, { kind: 'metrics' }>, transfer: readonly ArrayBuffer[] = []): Promise<void> {
    const worker = this.#need();
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      worker.postMessage(request, [...transfer]);
    });
  }

  metrics(request: Extract<Request, { kind: 'metrics' }>): void {
    this.#need().postMessage(request);
  }

  /** Ends the thread; what waits is given up. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker?.terminate();
  }

  #need(): Worker {
    if (this.#worker) return this.#worker;
    if (this.#closed || performance.now() - this.#diedAt < RESTART_MS)
      throw new Error('the thread that exports has ended');
    const worker = new Worker(WORKER, {
      name: 'otlp',
      workerData: this.#spec,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
      execArgv: [],
    });
    worker.on('message', (reply: Reply) => this.#receive(reply));
    worker.on('error', (error) => this.#onProblem('thread', error.message));
    worker.on('exit', () => this.#died(worker));
    return (this.#worker = worker);
  }

  #receive(reply: Reply): void {
    if (reply.kind === 'taken') {
      this.#waiting.shift()?.resolve();
      return;
    }
    for (const signal of ['logs', 'metrics'] as const) {
      const { problem } = reply.counts[signal];
      if ((problem === null) !== (this.#counts[signal].problem === null)) this.#onProblem(signal, problem);
    }
    this.#counts = { ...reply.counts };
  }

  #died(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    this.#diedAt = performance.now();
    this.#before = { logs: this.counts('logs'), metrics: this.counts('metrics') };
    this.#counts = { logs: none, metrics: none };
    for (const { reject } of this.#waiting.splice(0)) reject(new Error('the thread that exports has ended'));
  }
}
