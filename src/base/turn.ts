/**
 * Shares the event loop's time among work that could go on without end: deliveries to readers that are always ready,
 * chunks that wait, scans of millions of events. libuv polls for requests, signals and timers between two turns, so a
 * turn's budget bounds how long these wait, whatever the number of readers.
 *
 * Work asks `isOpen` before each piece (a millisecond or two at most) and goes on while it is true; else it waits with
 * `next` or `enter`. Who waits is served in the order of asking, so that each gets as many turns as any other of its
 * lane. The lanes take turns: work that somebody waits for (a page, an aggregate, a text) is not behind readers that
 * never end, nor is either behind the files that clients download, however many there are.
 */

/** `REQUEST`: work for one request, which ends. `FLOW`: work that goes on as long as events come. `FILE`: exports. */
export type Lane = 'REQUEST' | 'FLOW' | 'FILE';
const LANES: readonly Lane[] = ['REQUEST', 'FLOW', 'FILE'];

/** Milliseconds of one turn. A request takes a handful of turns, and should be served within tens of milliseconds. */
const BUDGET_MS = 5;

export class Turns {
  readonly #budgetMs: number;
  readonly #waiting: Readonly<Record<Lane, (() => void)[]>> = { REQUEST: [], FLOW: [], FILE: [] };
  /** The lane that was served last, by its index. */
  #served = LANES.length - 1;
  /** When the first piece of this turn began; null before it. */
  #since: number | null = null;

  constructor(budgetMs = BUDGET_MS) {
    this.#budgetMs = budgetMs;
  }

  /** Whether this turn of the event loop has time left. Asking begins a turn where none has begun. */
  get isOpen(): boolean {
    if (this.#since !== null) return performance.now() - this.#since < this.#budgetMs;
    this.#since = performance.now();
    // Runs after the event loop has polled, before whoever waits: it asked later.
    setImmediate(this.#end);
    return true;
  }

  /** Calls back in a later turn, behind those that wait in the lane already. */
  enter(callback: () => void, lane: Lane = 'FLOW'): void {
    this.#waiting[lane].push(callback);
    // One immediate each: promises that a callback settles are carried on before the next one asks whether there is time left.
    setImmediate(this.#serve);
  }

  /** Resolves in a later turn, behind those that wait in the lane already. */
  next(lane: Lane = 'FLOW'): Promise<void> {
    return new Promise((resolve) => this.enter(resolve, lane));
  }

  readonly #end = (): void => {
    this.#since = null;
  };

  readonly #serve = (): void => {
    if (!this.isOpen) return void setImmediate(this.#serve);
    for (let i = 1; i <= LANES.length; i++) {
      const at = (this.#served + i) % LANES.length;
      const first = this.#waiting[LANES[at] ?? 'FLOW'].shift();
      if (!first) continue;
      this.#served = at;
      return first();
    }
  };
}

/**
 * Chunks of records on their way from the kernel thread to sessions. Apart from what reads them, so that readers cannot keep a session from
 * taking its events: a reader that is slow loses its own, and is told.
 */
export const intake = new Turns();

/** All that reads and serves: deliveries to subscribers, plugins and stores, scans, aggregates, reports, exports. */
export const turns = new Turns();

/**
 * What a client waits for: begins of operations, texts of short results. Apart from the readers above, so that none of
 * them delays a request.
 */
export const requests = new Turns();

/**
 * What one client has sent, of which each part is handled in a turn: a part waits for its turn once the one before has
 * had its own. However many there are, they stand before others as one.
 */
export class Line {
  readonly #of: Turns;
  #last: Promise<void> | null = null;

  constructor(of: Turns = requests) {
    this.#of = of;
  }

  /** Resolves in the turn of the next part. Null when that is now. */
  next(): Promise<void> | null {
    if (this.#last === null && this.#of.isOpen) return null;
    const turn = this.#last ? this.#last.then(() => this.#of.next()) : this.#of.next();
    this.#last = turn;
    void turn.then(() => {
      if (this.#last === turn) this.#last = null;
    });
    return turn;
  }
}

/** Work in pieces: it yields where others may have a turn, at least once a millisecond or so, and returns its result. */
export type Work<Result> = Generator<void, Result, void>;

/** Does all of it at once. */
export function finish<Result>(work: Work<Result>): Result {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/** Does it within the turns of all other work. Rejects with what the work throws, or with the signal's reason once it aborts. */
export async function inTurns<Result>(
  work: Work<Result>,
  signal?: AbortSignal,
  of: Turns = turns,
  lane: Lane = 'REQUEST',
): Promise<Result> {
  for (;;) {
    if (!of.isOpen) await of.next(lane);
    signal?.throwIfAborted();
    const { done, value } = work.next();
    if (done) return value;
  }
}

/** Begins it at once in a turn of `of`; its result where this turn has room for all of it. The rest is done in turns of `rest`. */
export function begun<Result>(work: Work<Result>, of: Turns, rest = of): Result | Promise<Result> {
  while (of.isOpen) {
    const { done, value } = work.next();
    if (done) return value;
  }
  return inTurns(work, undefined, rest);
}

/** Items between two looks at the clock, where one takes about a microsecond. */
const SORTED = 512;

/** Sorts a copy; equal items stay in their order. */
export function* sorted<Item>(items: readonly Item[], compare: (a: Item, b: Item) => number): Work<Item[]> {
  let runs: Item[][] = [];
  for (let at = 0; at < items.length; at += SORTED) {
    runs.push(items.slice(at, at + SORTED).sort(compare));
    yield;
  }
  while (runs.length > 1) {
    const merged: Item[][] = [];
    for (let i = 0; i < runs.length; i += 2) merged.push(yield* merge(runs[i] ?? [], runs[i + 1] ?? [], compare));
    runs = merged;
  }
  return runs[0] ?? [];
}

function* merge<Item>(a: readonly Item[], b: readonly Item[], compare: (a: Item, b: Item) => number): Work<Item[]> {
  const all: Item[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const left = a[i] as Item;
    const right = b[j] as Item;
    if (compare(left, right) <= 0) {
      all.push(left);
      i++;
    } else {
      all.push(right);
      j++;
    }
    if (all.length % SORTED === 0) yield;
  }
  for (; i < a.length; i++) all.push(a[i] as Item);
  for (; j < b.length; j++) all.push(b[j] as Item);
  return all;
}
