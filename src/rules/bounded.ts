/** A map that forgets what was used least recently beyond a size, and counts it. */
export class BoundedMap<Value> {
  readonly #values = new Map<string, Value>();
  readonly #most: number;
  /** Forgotten to make room. */
  evicted = 0;

  constructor(most: number) {
    this.#most = Math.max(1, most);
  }

  get size(): number {
    return this.#values.size;
  }

  /** Counts as a use. */
  get(key: string): Value | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    this.#values.delete(key);
    this.#values.set(key, value);
    return value;
  }

  set(key: string, value: Value): void {
    this.#values.delete(key);
    this.#values.set(key, value);
    if (this.#values.size <= this.#most) return;
    const [oldest] = this.#values.keys();
    if (oldest === undefined) return;
    this.#values.delete(oldest);
    this.evicted++;
  }

  delete(key: string): boolean {
    return this.#values.delete(key);
  }

  /** The least recently used first. */
  entries(): IterableIterator<[string, Value]> {
    return this.#values.entries();
  }
}
