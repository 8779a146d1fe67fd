/** Callers that wait for something to become known of a key, each for a limited time. */
export class Waiters {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** Resolves at the next `wake(key)` or when the time is out. Never rejects. */
  async wait(key: string, timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const waiting = this.#waiting.get(key) ?? new Set();
      this.#waiting.set(key, waiting);
      const done = (): void => {
        clearTimeout(timer);
        waiting.delete(done);
        if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      waiting.add(done);
    });
  }

  wake(key: string): void {
    for (const done of this.#waiting.get(key) ?? []) done();
  }

  wakeAll(): void {
    for (const key of this.#waiting.keys()) this.wake(key);
  }
}
