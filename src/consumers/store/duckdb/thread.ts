import { Worker } from 'node:worker_threads';
import { EunomiaError } from '../../../errors.js';
import type { AskKind, Asks, Condition, FromThread, Packet, Progress, StoreThreadData, ToThread } from './protocol.js';

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** The store's thread as the server sees it. */
export class StoreThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #death: EunomiaError | null = null;
  #condition: Condition = { kind: 'condition', state: 'PAUSED', problem: 'the store is being opened' };
  readonly #opened: Promise<void>;
  #resolveOpened: () => void = () => {};
  onProgress: (progress: Progress) => void = () => {};
  onCondition: (condition: Condition) => void = () => {};

  constructor(data: StoreThreadData) {
    this.#opened = new Promise((resolve) => (this.#resolveOpened = resolve));
    // From src/ (tests) and from dist/ alike: what was compiled.
    this.#worker = new Worker(new URL('../../../../dist/consumers/store/duckdb/worker.js', import.meta.url), {
      workerData: data,
      execArgv: [],
    });
    this.#worker.on('message', (message: FromThread) => this.#take(message));
    this.#worker.on('error', (error) => this.#die(`the store's thread has ended: ${error.message}`));
    this.#worker.on('exit', (code) => this.#die(`the store's thread has ended with ${code}`));
    this.#worker.unref();
  }

  get condition(): Condition {
    return this.#condition;
  }

  /** Resolves once it is known whether the file can be opened. */
  get opened(): Promise<void> {
    return this.#opened;
  }

  ask<Kind extends AskKind>(kind: Kind, ask: Asks[Kind]['ask']): Promise<Asks[Kind]['answer']> {
    if (this.#death) return Promise.reject(this.#death);
    const id = this.#nextId++;
    return new Promise<Asks[Kind]['answer']>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as Waiting['resolve'], reject });
      this.#post({ kind, id, ...ask } as unknown as ToThread);
    });
  }

  send(packet: Packet, transfer: readonly ArrayBuffer[]): void {
    if (!this.#death) this.#worker.postMessage(packet, [...transfer]);
  }

  async close(): Promise<void> {
    if (!this.#death) await this.ask('close', {}).catch(() => null);
    this.#death ??= new EunomiaError('STORE_UNAVAILABLE', 'the store is closed');
    this.onCondition = () => {};
    await this.#worker.terminate();
  }

  #post(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #take(message: FromThread): void {
    if (message.kind === 'progress') return this.onProgress(message);
    if (message.kind === 'condition') {
      this.#condition = message;
      this.#resolveOpened();
      return this.onCondition(message);
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.kind === 'answer') waiting?.resolve(message.answer as never);
    else waiting?.reject(new EunomiaError(message.code, message.message));
  }

  #die(why: string): void {
    this.#death ??= new EunomiaError('STORE_UNAVAILABLE', why);
    for (const { reject } of this.#waiting.values()) reject(this.#death);
    this.#waiting.clear();
    if (this.#condition.state !== 'FAILED') {
      this.#condition = { kind: 'condition', state: 'FAILED', problem: why };
      this.onCondition(this.#condition);
    }
    this.#resolveOpened();
  }
}
