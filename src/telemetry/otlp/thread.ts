import { Channel } from '../../base/channel.js';
import { messageOf } from '../../base/errors.js';
import { workerFile } from '../../base/paths.js';
import type { ExportProtocol, Signal, SignalCounts, OtlpThreadSpec } from './protocol.js';

const RESTART_MS = 5000;
/** What waits is bounded to a few dozen mebibytes; what is more is a mistake of ours that is to end this thread alone. */
const HEAP_MIB = 512;

const none: SignalCounts = { sent: 0, refused: 0, failures: 0, queued: 0, queuedBytes: 0, problem: null };

/** The server's end of the thread that exports. A thread that ended by a mistake is started again, a while later; its counts go on. */
export class ExportThread {
  readonly #channel: Channel<ExportProtocol>;
  readonly #onProblem: (signal: Signal | 'thread', problem: string | null) => void;
  #counts: Readonly<Record<Signal, SignalCounts>> = { logs: none, metrics: none };
  /** Of threads that have ended. */
  #before: Readonly<Record<Signal, SignalCounts>> = { logs: none, metrics: none };

  constructor(spec: OtlpThreadSpec, onProblem: (signal: Signal | 'thread', problem: string | null) => void) {
    this.#onProblem = onProblem;
    this.#channel = new Channel<ExportProtocol>({
      file: workerFile('telemetry/otlp/worker'),
      worker: {
        name: 'otlp',
        workerData: spec,
        resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
        execArgv: [],
      },
      restartAfterMs: RESTART_MS,
      notes: { counts: (counts) => this.#count(counts) },
      died: () => new Error('the thread that exports has ended'),
      onDeath: (_error, cause) => {
        if (cause) onProblem('thread', cause.message);
        this.#before = { logs: this.counts('logs'), metrics: this.counts('metrics') };
        this.#counts = { logs: none, metrics: none };
      },
    });
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
  async call<Kind extends keyof ExportProtocol['asks']>(
    kind: Kind,
    ask: ExportProtocol['asks'][Kind]['ask'],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<void> {
    try {
      await this.#channel.ask(kind, ask, transfer);
    } catch (error) {
      // Of a thread that has ended it was told already.
      if (!this.#channel.dead) this.#onProblem('thread', messageOf(error));
      throw error;
    }
  }

  /** Throws when the thread has ended. */
  metrics(metrics: ExportProtocol['posts']['metrics']): void {
    this.#channel.post('metrics', metrics);
  }

  /** Ends the thread; what waits is given up. */
  close(): Promise<void> {
    return this.#channel.end(new Error('the export is closed'));
  }

  #count(counts: Readonly<Record<Signal, SignalCounts>>): void {
    for (const signal of ['logs', 'metrics'] as const) {
      const { problem } = counts[signal];
      if ((problem === null) !== (this.#counts[signal].problem === null)) this.#onProblem(signal, problem);
    }
    this.#counts = counts;
  }
}
