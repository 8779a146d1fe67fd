import { setMaxListeners } from 'node:events';

interface Waiting {
  readonly enter: () => void;
}

/**
 * Lets one through at a time; the others wait. Whoever asks for many gets one turn before all others that wait have had theirs.
 */
export class FairGate {
  /** By whom they are of, in the order of their next turns. */
  readonly #waiting = new Map<object, Waiting[]>();
  /** Whose turn it is; null for nobody's. */
  #current: object | null = null;

  /** Resolves with the function that gives the place back, idempotent. Rejects with the signal's reason once it aborts. */
  async enter(of: object, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#current === null) this.#current = of;
    else await this.#wait(of, signal);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      this.#leave();
    };
  }

  #wait(of: object, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const own = this.#waiting.get(of) ?? [];
      const waiting: Waiting = {
        enter: () => {
          signal?.removeEventListener('abort', give);
          resolve();
        },
      };
      const give = (): void => {
        this.#remove(of, waiting);
        reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
      };
      this.#waiting.set(of, own);
      own.push(waiting);
      // One operation may wait for as many places as it has fields.
      if (signal) setMaxListeners(0, signal);
      signal?.addEventListener('abort', give, { once: true });
    });
  }

  #remove(of: object, waiting: Waiting): void {
    const own = this.#waiting.get(of) ?? [];
    const at = own.indexOf(waiting);
    if (at >= 0) own.splice(at, 1);
    if (own.length === 0) this.#waiting.delete(of);
  }

  #leave(): void {
    const all = [...this.#waiting.keys()];
    const of = all.find((one) => one !== this.#current) ?? all[0] ?? null;
    this.#current = of;
    if (of === null) return;
    const [next, ...rest] = this.#waiting.get(of) ?? [];
    this.#waiting.delete(of);
    // Behind all that wait by now.
    if (rest.length > 0) this.#waiting.set(of, rest);
    next?.enter();
  }
}
