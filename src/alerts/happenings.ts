import type { Alert, AlertChange } from './alert.js';

/** The receivers that were told last. */
const MAX_PLACES = 100;

/** What happened to an alert: it was raised (no change), or somebody changed it. */
export interface Happening {
  readonly revision: number;
  readonly alert: Alert;
  readonly change: AlertChange | null;
}

/** What happened to alerts, by revision, and up to where receivers were told of it. */
export class Happenings {
  #all: Happening[] = [];
  readonly #places = new Map<string, number>();

  add(happening: Happening): void {
    this.#all.push(happening);
  }

  /** To be called when all are there that were added in another order than that of their revisions. */
  sort(): void {
    this.#all.sort((a, b) => a.revision - b.revision);
  }

  /** Forgets those of other alerts. */
  retain(isKept: (alert: Alert) => boolean): void {
    this.#all = this.#all.filter(({ alert }) => isKept(alert));
  }

  /** The first behind a revision, of an alert that is meant; null when there is none. */
  after(revision: number, isMeant: (alert: Alert) => boolean): Happening | null {
    let low = 0;
    for (let high = this.#all.length; low < high;) {
      const middle = (low + high) >> 1;
      if ((this.#all[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    for (; low < this.#all.length; low++) {
      const happening = this.#all[low];
      if (happening && isMeant(happening.alert)) return happening;
    }
    return null;
  }

  /** Up to which revision each receiver was told. */
  get places(): ReadonlyMap<string, number> {
    return this.#places;
  }

  setPlace(receiver: string, revision: number): void {
    this.#places.delete(receiver);
    this.#places.set(receiver, revision);
    const [oldest] = this.#places.keys();
    if (oldest !== undefined && this.#places.size > MAX_PLACES) this.#places.delete(oldest);
  }
}
