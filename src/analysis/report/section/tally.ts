import type { Other, Section } from '../../../event/report.js';

/** Keys of one section that are told apart. */
const MOST_KEYS = 20_000;
const MOST_SAMPLES = 10;

/** Counts by key, in bounded memory: what comes when it is full is counted together. */
export class Tally<Entry> {
  readonly #entries = new Map<string, { readonly entry: Entry; count: number }>();
  #rest = 0;

  /** The entry of this key, counted; null when there is no room for another one. */
  add(key: string, make: () => Entry, count = 1): Entry | null {
    const known = this.#entries.get(key);
    if (known) {
      known.count += count;
      return known.entry;
    }
    if (this.#entries.size >= MOST_KEYS) {
      this.#rest += count;
      return null;
    }
    const entry = make();
    this.#entries.set(key, { entry, count });
    return entry;
  }

  /** The `top` most frequent ones; of equals, by key. */
  section<Shown>(top: number, show: (entry: Entry, count: string) => Shown): Section<Shown> {
    const sorted = [...this.#entries]
      .sort(([a, x], [b, y]) => y.count - x.count || (a < b ? -1 : 1))
      .map(([, counted]) => counted);
    const beyond = sorted.slice(top);
    const other: Other = {
      entries: this.#rest > 0 ? null : beyond.length,
      count: String(beyond.reduce((sum, { count }) => sum + count, this.#rest)),
    };
    return { entries: sorted.slice(0, top).map(({ entry, count }) => show(entry, String(count))), other };
  }
}

/** Keeps the first few different ones. */
export function sample(list: string[], value: string, most = MOST_SAMPLES): void {
  if (list.length < most && !list.includes(value)) list.push(value);
}
