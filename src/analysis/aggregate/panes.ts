import { finish, type Work } from '../../base/turn.js';
import { type GroupFactory, Pane } from './pane.js';

/** log2 of the most panes in a window. */
const LEVELS = 10;

/**
 * Panes by their place in time, and windows made of them. The merge of each aligned power of two of panes is kept, so that the
 * next window of a thousand panes costs about twenty merges, and not a thousand.
 */
export class Panes {
  readonly #factory: GroupFactory;
  readonly #leaves = new Map<number, Pane>();
  /** By level − 1 and first pane: 2^level panes, all of them before the newest. */
  readonly #merged: readonly Map<number, Pane>[] = Array.from({ length: LEVELS }, () => new Map<number, Pane>());
  #newest = Number.NEGATIVE_INFINITY;

  constructor(factory: GroupFactory) {
    this.#factory = factory;
  }

  get size(): number {
    return this.#leaves.size;
  }

  get newest(): number {
    return this.#newest;
  }

  /** Places of the panes that have events, in order. */
  get places(): number[] {
    return [...this.#leaves.keys()].sort((a, b) => a - b);
  }

  /** The pane at a place, to be added to. */
  open(place: number): Pane {
    if (place > this.#newest) this.#newest = place;
    // Out of order: what was merged of it is made again.
    else this.#merged.forEach((level, i) => level.delete(place - (place % 2 ** (i + 1))));
    let pane = this.#leaves.get(place);
    if (!pane) this.#leaves.set(place, (pane = new Pane(this.#factory)));
    return pane;
  }

  at(place: number): Pane | null {
    return this.#leaves.get(place) ?? null;
  }

  /** All events from one place up to, not including, another. Not to be added to: a single pane is returned as it is. */
  window(from: number, to: number): Pane | null {
    return finish(this.merging(from, to));
  }

  /** As `window`, in pieces. No event may be added meanwhile. */
  *merging(from: number, to: number): Work<Pane | null> {
    const parts: Pane[] = [];
    for (let at = from; at < to;) {
      let level = 0;
      while (level < LEVELS && at % 2 ** (level + 1) === 0 && at + 2 ** (level + 1) <= to) level++;
      const part = yield* this.#block(level, at);
      if (part) parts.push(part);
      at += 2 ** level;
    }
    return yield* this.#mergeOf(parts);
  }

  /** Forgets the panes before a place. */
  dropBefore(place: number): void {
    for (const at of this.#leaves.keys()) if (at < place) this.#leaves.delete(at);
    this.#merged.forEach((level, i) => {
      for (const at of level.keys()) if (at + 2 ** (i + 1) <= place) level.delete(at);
    });
  }

  get bytes(): number {
    let bytes = 0;
    for (const level of [this.#leaves, ...this.#merged]) for (const pane of level.values()) bytes += pane.bytes;
    return bytes;
  }

  *#block(level: number, at: number): Work<Pane | null> {
    if (level === 0) return this.#leaves.get(at) ?? null;
    const cache = this.#merged[level - 1];
    const known = cache?.get(at);
    if (known) return known;
    const half = 2 ** (level - 1);
    const parts = [yield* this.#block(level - 1, at), yield* this.#block(level - 1, at + half)].filter(
      (part) => part !== null,
    );
    const pane = yield* this.#mergeOf(parts);
    if (pane && parts.length > 1 && at + 2 ** level <= this.#newest) cache?.set(at, pane);
    return pane;
  }

  *#mergeOf(parts: readonly Pane[]): Work<Pane | null> {
    const [first, second] = parts;
    if (!first || !second) return first ?? null;
    const merged = new Pane(this.#factory);
    for (const part of parts) yield* merged.merging(part);
    return merged;
  }
}
