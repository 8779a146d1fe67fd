import type { Slice } from '../../record/batch-buffer.js';
import type { CatalogTracker } from '../../catalog/catalog.js';
import { amountsOf, columnsOf, isKernelAggregate, nameOf, OWN_TAGS, rollupOf, type PointColumn } from './column.js';
import { isInt64, tag } from './line.js';
import { nanosecondsOf } from './point.js';

/** What is asked of the aggregate of one tracker; as its input in the schema, sizes in milliseconds. */
export interface RollupInput {
  readonly groupBy: readonly string[];
  readonly measures: readonly {
    readonly fn: Part['fn'];
    readonly field: string;
    readonly name: string;
    readonly q?: number;
  }[];
  readonly window: { readonly size: number };
  readonly maxGroups: number;
}

interface RollupRow {
  readonly key: readonly { readonly value: string | null }[];
  readonly count: number;
  readonly values: readonly { readonly name: string; readonly number: number | null; readonly text: string | null }[];
  readonly window: { readonly from: string } | null;
  readonly other: boolean;
}

/** An aggregate that grows with the events and closes windows behind them. The composition root gives the one of consumers/aggregate. */
export interface LiveGroups {
  addBatch(batch: Slice['batch'], from: number, to: number): void;
  takeChanges(nowMs: number | null): {
    readonly rows: readonly RollupRow[];
    readonly closed: readonly { readonly from: string }[];
    readonly more: boolean;
  };
  readonly hasOpenWindows: boolean;
  /** Windows that end by then, in milliseconds since the epoch, have closed. */
  readonly closedUntilMs: number;
  /** Events that came too late, when their window had been written. */
  readonly missedEvents: number;
}

/** For events of one tracker; windows wait `graceMs` for late ones. */
export type MakeGroups = (input: RollupInput, tracker: string, graceMs: number) => LiveGroups;

export const WINDOW_MS = 10_000;
const WINDOW_NS = BigInt(WINDOW_MS) * 1_000_000n;
const BILLION = 1_000_000_000n;
/** Of changes that are taken at once, each some thousand rows. */
const ROUNDS = 10;
/** How long a window waits for events that are under way. */
const GRACE_MS = 3000;
/** Groups of a window; what is beyond is one point with the tag `other`. */
const MAX_GROUPS = 5000;

type Part = { readonly fn: 'COUNT' | 'SUM' | 'MIN' | 'MAX' | 'QUANTILE'; readonly prefix: string; readonly q?: number };
/** Also for a total from the kernel. */
const OF_TOTALS: readonly Part[] = [
  { fn: 'COUNT', prefix: 'count' },
  { fn: 'SUM', prefix: 'sum' },
];
const PARTS: readonly Part[] = [
  ...OF_TOTALS,
  { fn: 'MIN', prefix: 'min' },
  { fn: 'MAX', prefix: 'max' },
  { fn: 'QUANTILE', prefix: 'p99', q: 0.99 },
];

/** What one tracker's rollups say of a group. */
export function rollupInput(tracker: CatalogTracker): {
  readonly input: RollupInput;
  readonly tags: readonly PointColumn[];
} {
  const tags = columnsOf(tracker).filter(({ kind, path }) => kind === 'tag' && path !== 'tracker');
  const measures = amountsOf(tracker).flatMap((field) =>
    (isKernelAggregate(tracker) ? OF_TOTALS : PARTS).map(({ fn, prefix, q }) => ({
      fn,
      field,
      name: `${prefix}_${nameOf(field)}`,
      ...(q === undefined ? {} : { q }),
    })),
  );
  return {
    input: { groupBy: tags.map(({ path }) => path), measures, window: { size: WINDOW_MS }, maxGroups: MAX_GROUPS },
    tags,
  };
}

/** Sums up one session's events in windows, and writes each window once, when it has closed: a point that was sent is never another. */
export class RollupWriter {
  readonly #tags: string;
  readonly #trackers: readonly {
    readonly name: string;
    readonly columns: readonly PointColumn[];
    readonly groups: LiveGroups;
    readonly open: Map<string, Map<string, RollupRow>>;
  }[];
  /** The events of windows that are open, by the window's number since 1970, and the place of the first. */
  readonly #windows = new Map<number, { readonly events: number; readonly seq: number }>();

  constructor({
    host,
    session,
    trackers,
    make,
  }: {
    readonly host: string;
    readonly session: string;
    readonly trackers: readonly CatalogTracker[];
    readonly make: MakeGroups;
  }) {
    this.#tags = `${tag(OWN_TAGS.host, host)}${tag(OWN_TAGS.session, session)}`;
    this.#trackers = trackers.map((tracker) => {
      const { input, tags } = rollupInput(tracker);
      return { name: tracker.name, columns: tags, groups: make(input, tracker.name, GRACE_MS), open: new Map() };
    });
  }

  /** Events that came when their window had been written. */
  get missed(): number {
    return this.#trackers.reduce((sum, { groups }) => sum + groups.missedEvents, 0);
  }

  /** Events of one window at a time, so that it is known how many are in which, and which came too late. */
  add({ batch }: Slice, from: number, to: number): void {
    const clock = BigInt(batch.clock.seconds) * BILLION + BigInt(batch.clock.nanoseconds);
    for (let at = from; at < to;) {
      const place = (BigInt(batch.bootNsAt(at)) + clock) / WINDOW_NS;
      const [begin, end] = [Number(place * WINDOW_NS - clock), Number((place + 1n) * WINDOW_NS - clock)];
      let until = at + 1;
      while (until < to && batch.bootNsAt(until) >= begin && batch.bootNsAt(until) < end) until++;
      const before = this.missed;
      for (const { groups } of this.#trackers) groups.addBatch(batch, at, until);
      const events = until - at - (this.missed - before);
      if (events > 0) {
        const key = Number(place);
        const known = this.#windows.get(key);
        this.#windows.set(key, {
          events: (known?.events ?? 0) + events,
          seq: Math.min(known?.seq ?? Number.POSITIVE_INFINITY, batch.placeOf(at)),
        });
      }
      at = until;
    }
  }

  /** The lines of windows that have closed, and their events. `nowMs` as in `takeChanges`; infinity at the end. */
  take(nowMs: number | null): { readonly lines: readonly string[]; readonly events: number } {
    const lines: string[] = [];
    for (const { name, columns, groups, open } of this.#trackers) {
      let more = false;
      let rounds = 0;
      do {
        const changes = groups.takeChanges(nowMs);
        const { rows, closed } = changes;
        more = changes.more;
        for (const row of rows) {
          const from = row.window?.from ?? '';
          const known = open.get(from) ?? new Map<string, RollupRow>();
          open.set(from, known.set(JSON.stringify([row.other, row.key.map(({ value }) => value)]), row));
        }
        for (const { from } of closed) {
          for (const row of open.get(from)?.values() ?? []) lines.push(this.#line(name, columns, row, from));
          open.delete(from);
        }
      } while ((more && ++rounds < ROUNDS) || (nowMs === Number.POSITIVE_INFINITY && groups.hasOpenWindows));
    }
    const ends = nowMs === Number.POSITIVE_INFINITY ? nowMs : this.#closedUntilMs;
    let events = 0;
    for (const [place, window] of this.#windows) {
      if ((place + 1) * WINDOW_MS > ends) continue;
      events += window.events;
      this.#windows.delete(place);
    }
    return { lines, events };
  }

  /** Place of the first event of a window that is open; null when none is. */
  get openSeq(): number | null {
    const places = [...this.#windows.values()].map(({ seq }) => seq);
    return places.length ? Math.min(...places) : null;
  }

  get #closedUntilMs(): number {
    return Math.min(...this.#trackers.map(({ groups }) => groups.closedUntilMs));
  }

  #line(
    tracker: string,
    columns: readonly PointColumn[],
    { key, count, values, other }: RollupRow,
    from: string,
  ): string {
    const tags = columns.map(({ name }, index) => tag(name, key[index]?.value ?? null)).join('');
    const fields = values.flatMap(({ name, number, text }) => {
      if (number === null) return [];
      // Quantiles are estimates; all else is a whole number, and stays one, since a column has one type.
      if (name.startsWith('p99_')) return [`,${name}=${number}`];
      const decimal = text ?? String(number);
      return /^-?\d+$/.test(decimal) && isInt64(decimal) ? [`,${name}=${decimal}i`] : [];
    });
    return (
      `${rollupOf(tracker)}${this.#tags}${tag('tracker', tracker)}${tags}${other ? ',other=true' : ''} ` +
      `count=${count}i${fields.join('')} ${nanosecondsOf(from)}`
    );
  }
}
