import { BoundedMap } from './bounded.js';

/** Times, or different values, of all keys of a rule together. */
const MAX_ENTRIES = 200_000;

/** Counts events, or different values, within a time, by key. */
export class RateWindow {
  readonly #count: number;
  readonly #withinMs: number;
  /** By key: each different value → when it was seen last, the oldest first. */
  readonly #windows: BoundedMap<Map<string | number, number>>;
  #nextEvent = 0;

  constructor(count: number, withinMs: number) {
    this.#count = count;
    this.#withinMs = withinMs;
    this.#windows = new BoundedMap(Math.min(10_000, Math.floor(MAX_ENTRIES / count)));
  }

  /** Keys that were forgotten to make room, whose counts began anew. */
  get evicted(): number {
    return this.#windows.evicted;
  }

  /** Counts an event; `value` is null where events are counted. Returns whether the count is reached: it begins anew then. */
  add(key: string, value: string | null, atMs: number): boolean {
    let window = this.#windows.get(key);
    if (!window) this.#windows.set(key, (window = new Map()));
    const entry = value ?? this.#nextEvent++;
    window.delete(entry);
    window.set(entry, atMs);
    for (const [old, seenMs] of window) {
      if (atMs - seenMs <= this.#withinMs) break;
      window.delete(old);
    }
    if (window.size < this.#count) return false;
    this.#windows.delete(key);
    return true;
  }
}

/** Lets so many through within a time. */
export class ThrottleWindow {
  readonly #most: number;
  readonly #withinMs: number;
  /** When the last ones passed, the oldest first; those before `#first` are too old. */
  #passed: number[] = [];
  #first = 0;

  constructor(most: number, withinMs: number) {
    this.#most = most;
    this.#withinMs = withinMs;
  }

  take(atMs: number): boolean {
    const passed = this.#passed;
    while (this.#first < passed.length && atMs - (passed[this.#first] ?? 0) >= this.#withinMs) this.#first++;
    if (passed.length - this.#first >= this.#most) return false;
    // Copied once for as many as are dropped.
    if (this.#first * 2 > passed.length) {
      passed.splice(0, this.#first);
      this.#first = 0;
    }
    passed.push(atMs);
    return true;
  }
}

/** Combines what has the same key for a time. */
export class Recent<Value> {
  /** The one that ends first is the first: all are kept for the same time. */
  readonly #known = new Map<string, { readonly value: Value; readonly untilMs: number }>();
  readonly #forMs: number;
  readonly #most: number;

  constructor(forMs: number, most: number) {
    this.#forMs = forMs;
    this.#most = most;
  }

  get size(): number {
    return this.#known.size;
  }

  find(key: string, atMs: number): Value | null {
    const known = this.#known.get(key);
    return known && atMs < known.untilMs ? known.value : null;
  }

  add(key: string, value: Value, atMs: number): void {
    this.#known.delete(key);
    for (const [old, { untilMs }] of this.#known) {
      if (atMs < untilMs && this.#known.size < this.#most) break;
      this.#known.delete(old);
    }
    if (this.#forMs > 0) this.#known.set(key, { value, untilMs: atMs + this.#forMs });
  }
}
