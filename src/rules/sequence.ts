import { BoundedMap } from './bounded.js';

const MAX_WAITING = 10_000;

interface Waiting {
  /** When its first step was. */
  readonly sinceMs: number;
  /** When its last step was. */
  readonly lastMs: number;
}

/** The sequences of one rule that have begun and are not complete: by what their events have in common, and the step that comes next. */
export class SequenceBook {
  readonly #steps: number;
  readonly #withinMs: number;
  readonly #waiting: readonly BoundedMap<Waiting>[];

  constructor(steps: number, withinMs: number) {
    this.#steps = steps;
    this.#withinMs = withinMs;
    this.#waiting = Array.from({ length: steps }, () => new BoundedMap<Waiting>(MAX_WAITING));
  }

  get evicted(): number {
    return this.#waiting.reduce((sum, { evicted }) => sum + evicted, 0);
  }

  /** An event matched the first step: of several, the newest counts. */
  begin(key: string, atMs: number): void {
    this.#waiting[1]?.set(key, { sinceMs: atMs, lastMs: atMs });
  }

  /**
   * An event matched a later step, and may have one of these keys in common with the steps before. Returns how far
   * it has brought a sequence; null where there is none.
   */
  advance(step: number, keys: readonly string[], atMs: number): 'FURTHER' | 'COMPLETE' | null {
    const book = this.#waiting[step];
    for (const key of keys) {
      const waiting = book?.get(key);
      if (!waiting) continue;
      const isLate = atMs - waiting.sinceMs > this.#withinMs;
      if (!isLate && atMs < waiting.lastMs) continue;
      book?.delete(key);
      if (isLate) continue;
      if (step === this.#steps - 1) return 'COMPLETE';
      this.#waiting[step + 1]?.set(key, { ...waiting, lastMs: atMs });
      return 'FURTHER';
    }
    return null;
  }
}
