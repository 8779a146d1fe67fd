import { limitExceeded } from './limits.js';
import type { EunomiaError } from '../errors.js';

/** Counts WebSocket connections and SSE streams: each holds memory for as long as it is open. */
export class Connections {
  readonly #limit: number;
  #open = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes a place; null when there was one, else why not. */
  take(): EunomiaError | null {
    if (this.#open >= this.#limit) {
      return limitExceeded(
        'connections',
        this.#limit,
        this.#open + 1,
        `${this.#open} WebSocket connections and SSE streams are open, and at most ${this.#limit} are allowed; close one, or start the server with a larger --max-connections`,
      );
    }
    this.#open += 1;
    return null;
  }

  release(): void {
    this.#open -= 1;
  }
}
