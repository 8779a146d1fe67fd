import type { ExecutionResult } from 'graphql';
import { turns } from '../../base/turn.js';
import { EncodedResult } from '../text/text.js';

export interface ResponseStreamOptions {
  readonly map: (payload: unknown) => Promise<ExecutionResult>;
  /** Sends results that are text already, so that the reader never gets them; it waits until one has left before the next is made. */
  readonly send: ((parts: readonly Buffer[]) => Promise<void>) | null;
  /** As `TextSink.turn`. */
  readonly turn?: (() => Promise<() => void>) | undefined;
  /** Makes the last result when the source or `map` fails. */
  readonly fail: (error: unknown) => ExecutionResult;
  /** Called once, however it ends. */
  readonly onEnd: () => void;
}

/**
 * A subscription's results, made one at a time when the reader asks: nothing is taken from the source before. Unlike with an
 * async generator, `return` ends it at once, also while a `next` waits for an event that may never come.
 */
export class ResponseStream implements AsyncGenerator<ExecutionResult, undefined, undefined> {
  readonly #source: AsyncIterator<unknown>;
  readonly #options: ResponseStreamOptions;
  readonly #onEnd: (() => void)[];
  #ended = false;
  #cursor: string | null;
  /** Ends the turn of a result that the reader got, once it asks for another. */
  #endTurn: () => void = () => {};

  constructor(source: AsyncIterator<unknown>, options: ResponseStreamOptions) {
    this.#source = source;
    this.#options = options;
    this.#onEnd = [options.onEnd];
    this.#cursor = cursorOf(source, 'startCursor');
  }

  /**
   * The position in a session's events behind the last result that was handed out, or where the stream begins; null for a subscription that
   * has none.
   */
  get cursor(): string | null {
    return this.#cursor;
  }

  /** Calls back once when the stream has ended; at once when it has already. */
  onEnd(callback: () => void): void {
    if (this.#ended) callback();
    else this.#onEnd.push(callback);
  }

  async next(): Promise<IteratorResult<ExecutionResult, undefined>> {
    this.#endTurn();
    if (this.#ended) return { done: true, value: undefined };
    try {
      while (!this.#ended) {
        const { done, value } = await this.#source.next();
        if (done) break;
        if (this.#options.turn) this.#endTurn = await this.#options.turn();
        // A client that takes each result at once would go round here without end, and nothing else would be served.
        if (!turns.isOpen) await turns.next();
        if (this.#ended) break;
        const result = await this.#options.map(value);
        // A session that changes has a cursor too, which is no place in its stream.
        if (this.#cursor !== null) this.#cursor = cursorOf(value, 'cursor') ?? this.#cursor;
        if (!this.#options.send || !(result instanceof EncodedResult)) return { done: false, value: result };
        await this.#options.send(result.parts);
        this.#endTurn();
      }
      this.#end();
      return { done: true, value: undefined };
    } catch (error) {
      await this.return();
      return { done: false, value: this.#options.fail(error) };
    }
  }

  async return(): Promise<IteratorResult<ExecutionResult, undefined>> {
    const running = !this.#ended;
    this.#end();
    if (running) await this.#source.return?.().catch(() => undefined);
    return { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<IteratorResult<ExecutionResult, undefined>> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #end(): void {
    this.#endTurn();
    if (this.#ended) return;
    this.#ended = true;
    for (const callback of this.#onEnd.splice(0)) callback();
  }
}

function cursorOf(value: unknown, property: 'cursor' | 'startCursor'): string | null {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, property) : null;
  return typeof found === 'string' ? found : null;
}
