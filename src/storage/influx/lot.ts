/** Points of one session that were handed on together, and the events that they stand for. What becomes of points is told of events. */
export class Lot {
  readonly #points: number;
  readonly #events: number;
  readonly #onRefused: (events: number) => void;
  #refused = 0;

  constructor(points: number, events: number, onRefused: (events: number) => void) {
    this.#points = points;
    this.#events = events;
    this.#onRefused = onRefused;
  }

  /** So many more of its points will never be in the database; fewer than 0, where they are after all. */
  refuse(points: number): void {
    const before = this.#refusedEvents;
    this.#refused += points;
    if (this.#refusedEvents !== before) this.#onRefused(this.#refusedEvents - before);
  }

  get #refusedEvents(): number {
    return this.#points ? Math.round((this.#events * this.#refused) / this.#points) : 0;
  }
}

/** How many points of a record are of which lot, in their order. Points of none (sessions, gaps, those of a server before) have a null. */
export type LotShares = readonly { readonly lot: Lot | null; readonly points: number }[];

/** Some points of a record were refused, nobody said which: each lot bears its share. Of -n, n that were refused are not. */
export function refuse(shares: LotShares, refused: number): void {
  const all = shares.reduce((sum, { points }) => sum + points, 0);
  let before = 0;
  for (const { lot, points } of shares) {
    const of = (upTo: number): number => Math.sign(refused) * Math.floor((Math.abs(refused) * upTo) / all);
    lot?.refuse(of(before + points) - of(before));
    before += points;
  }
}
