const MAX_WAITING = 10_000;

interface Waiting<Item> {
  readonly item: Item;
  readonly sinceMs: number;
  readonly dueMs: number;
}

/** Events after which another one has to come in time: what waits for it, by what both have in common. */
export class AbsenceBook<Item> {
  readonly #withinMs: number;
  /** In the order of their ends. */
  readonly #waiting = new Map<string, Waiting<Item>>();
  /** Not waited for, for there were too many. */
  evicted = 0;

  constructor(withinMs: number) {
    this.#withinMs = withinMs;
  }

  /** Of several events with one key, the oldest counts. */
  begin(key: string, item: () => Item, atMs: number): void {
    if (this.#waiting.has(key)) return;
    if (this.#waiting.size >= MAX_WAITING) return void this.evicted++;
    this.#waiting.set(key, { item: item(), sinceMs: atMs, dueMs: atMs + this.#withinMs });
  }

  /** The other event has come. */
  settle(keys: readonly string[], atMs: number): void {
    for (const key of keys) {
      const waiting = this.#waiting.get(key);
      if (waiting && atMs >= waiting.sinceMs && atMs <= waiting.dueMs) this.#waiting.delete(key);
    }
  }

  /** When the next one is due; null when nothing waits. */
  get nextDueMs(): number | null {
    const [first] = this.#waiting.values();
    return first?.dueMs ?? null;
  }

  /** Those for which nothing has come up to this time. Others may begin and settle between two of them. */
  *due(nowMs: number): Generator<Item, void> {
    for (const [key, { item, dueMs }] of this.#waiting) {
      if (dueMs >= nowMs) return;
      this.#waiting.delete(key);
      yield item;
    }
  }
}
