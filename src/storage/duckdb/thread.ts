import { Channel } from '../../base/channel.js';
import { workerFile } from '../../base/paths.js';
import { EunomiaError, messageOf } from '../../base/errors.js';
import type {
  Asks,
  StoreCondition,
  Packet,
  Progress,
  Removed,
  SeenProcesses,
  StoreProtocol,
  StoreThreadData,
} from './protocol.js';

/** The store's thread as the server sees it. */
export class StoreThread {
  readonly #data: StoreThreadData;
  #channel: Channel<StoreProtocol> | null = null;
  #condition: StoreCondition = { state: 'PAUSED', problem: 'the store is being opened' };
  readonly #opened: Promise<void>;
  #resolveOpened: () => void = () => {};
  onSeen: (seen: SeenProcesses) => void = () => {};
  onProgress: (progress: Progress) => void = () => {};
  onRemoved: (removed: Removed) => void = () => {};
  onCondition: (condition: StoreCondition) => void = () => {};

  constructor(data: StoreThreadData) {
    this.#data = data;
    this.#opened = new Promise((resolve) => (this.#resolveOpened = resolve));
  }

  get isStarted(): boolean {
    return this.#channel !== null;
  }

  /** Starts it, unless it was. Resolves once it is known whether the file can be opened. */
  open(): Promise<void> {
    this.#start();
    return this.#opened;
  }

  #start(): Channel<StoreProtocol> {
    return (this.#channel ??= new Channel<StoreProtocol>({
      file: workerFile('storage/duckdb/worker'),
      worker: { workerData: this.#data, execArgv: [] },
      started: (worker) => worker.unref(),
      notes: {
        seen: (seen) => this.onSeen(seen),
        progress: (progress) => this.onProgress(progress),
        removed: (removed) => this.onRemoved(removed),
        condition: (condition) => this.#became(condition),
      },
      died: (cause) =>
        new EunomiaError('STORE_UNAVAILABLE', `the store's thread has ended${cause ? `: ${cause.message}` : ''}`),
      onDeath: ({ message }) => {
        if (this.#condition.state !== 'FAILED') this.#became({ state: 'FAILED', problem: message });
        this.#resolveOpened();
      },
    }));
  }

  get condition(): StoreCondition {
    return this.#condition;
  }

  ask<Kind extends keyof Asks>(kind: Kind, ask: Asks[Kind]['ask']): Promise<Asks[Kind]['reply']> {
    return this.#start().ask(kind, ask);
  }

  /** Events that a dead thread does not get are missing in the file; how many the sessions' sinks count. */
  send(packet: Packet, transfer: readonly ArrayBuffer[]): void {
    if (this.#channel?.dead === null) this.#channel.post('events', packet, transfer);
  }

  stopCopy(): void {
    if (this.#channel?.dead === null) this.#channel.post('stopCopy', null);
  }

  /** Resolves to why the last words of sessions could not be written; null when all is in the file. */
  async close(): Promise<string | null> {
    const problem = this.isStarted ? await this.ask('close', {}).then(() => null, messageOf) : null;
    this.onCondition = () => {};
    await this.#channel?.end(new EunomiaError('STORE_UNAVAILABLE', 'the store is closed'));
    if (this.#condition.state !== 'FAILED') this.#became({ state: 'FAILED', problem: 'the store is closed' });
    return problem;
  }

  #became(condition: StoreCondition): void {
    this.#condition = condition;
    this.#resolveOpened();
    this.onCondition(condition);
  }
}
