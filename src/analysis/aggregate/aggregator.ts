import { invalid } from '../../base/errors.js';
import { finish, type Work } from '../../base/turn.js';
import type { TraceEvent } from '../../event/event.js';
import { headerOffsets, RecordBatch, type EventBatch } from '../../record/batch.js';
import type { EventView } from '../../record/view.js';
import type { Measure } from './measures/index.js';
import { GroupFactory, type Group, type Pane } from './pane.js';
import { Panes } from './panes.js';
import { compileNumber, GroupMemo, type RecordAccess } from './record.js';
import { rowOf, rowsOf, spanOf, type AggregateRow, type WindowSpan } from './rows.js';
import type { AggregateSpec } from './spec.js';
import { Cell, compileKey, compileReader, type KeyReader, type KeyValue } from './value.js';

export interface AggregatorOptions {
  /** Only events that it takes are counted; the others are `discarded`. Default: all. */
  readonly accept?: (event: TraceEvent) => boolean;
  /** What has to be known before `accept` is asked: see `EventFilter.ready`. */
  readonly ready?: (() => Promise<void> | null) | null;
  /** How many happenings an event stands for. Default: as the specification's trackers say (`kernelTotals`), else 1. */
  readonly weightOf?: (event: TraceEvent) => number;
  /** Beyond it no new group is told apart; the groups that are there go on to grow. Default 64 MiB. */
  readonly maxBytes?: number;
  /**
   * Rows are taken with `takeChanges`, and windows close; beyond its panes the oldest are forgotten and counted as missed.
   * Default false: all windows stay, and too many are an error.
   */
  readonly live?: boolean;
  /** Live: how long after its end a window waits for late events. Default 1 s, what the kernel thread and a container's name may take. */
  readonly graceMs?: number;
}

export interface Changes {
  /** Rows that changed since the last call; of a sliding window all its rows, once it has closed. */
  readonly rows: readonly AggregateRow[];
  /** Windows that are complete: nothing more comes of them. */
  readonly closed: readonly WindowSpan[];
  /** Whether there are more already: a call has some thousand rows at most, which are made in one piece. */
  readonly more: boolean;
}

const NS = 1_000_000n;
const BILLION = 1_000_000_000n;
const MAX_BYTES = 64 << 20;
const MAX_WINDOWS = 10_000;
const MAX_ROWS = 20_000;
/** Panes beyond those of one window that wait for a reader. */
const WAITING_PANES = 1000;
/** Changed rows in one delivery, about; more come with the next. */
const CHANGE_ROWS = 2_000;
/** Events between two looks at the memory in use. */
const WEIGH_EVERY = 1 << 16;

/**
 * Groups and measures events as they come, in bounded memory. Every event that it was given is `discarded`, `missed`, or counted in
 * exactly one group of each window that it lies in.
 */
export class Aggregator {
  readonly spec: AggregateSpec;
  /** Counted so far, by weight. */
  events = 0;
  discarded = 0;
  /** In no row: its window had closed before, or was forgotten since nobody took it. */
  missed = 0;
  /** The same, each event once whatever it stands for. */
  missedEvents = 0;

  readonly #options: AggregatorOptions;
  readonly #weightOf: ((event: TraceEvent) => number) | null;
  readonly #factory: GroupFactory;
  readonly #panes: Panes;
  readonly #keys: readonly KeyReader[];
  readonly #cells: readonly Cell[];
  /** State of a group → its cell; -1 has none. */
  readonly #cellOf: readonly number[];
  readonly #key: KeyValue[];
  /** Fields of the cells that are read as numbers alone; null where a measure takes the value itself. */
  readonly #numbers: readonly (string | null)[];
  readonly #access = new Map<EventView, RecordAccess | null>();
  #full = false;
  #untilWeighed = WEIGH_EVERY;
  /** The pane of the event before, null when it is closed, and between which times (in the events' own clock) it lies. */
  #pane: Pane | null = null;
  #from = 0;
  #to = 0;
  /** Milliseconds since the epoch. */
  #firstMs = Number.POSITIVE_INFINITY;
  #lastMs = Number.NEGATIVE_INFINITY;
  /** Windows that end with a pane before this one are closed. */
  #nextWindow = Number.NEGATIVE_INFINITY;

  constructor(spec: AggregateSpec, options: AggregatorOptions = {}) {
    this.spec = spec;
    this.#options = options;
    const { kernelTotals } = spec;
    this.#weightOf = options.weightOf ?? kernelTotals?.weightOf ?? null;
    this.#factory = new GroupFactory(spec);
    this.#panes = new Panes(this.#factory);
    this.#keys = spec.groupBy.map(({ path, mixed }) => compileKey(path, mixed, spec.lineage));
    this.#key = spec.groupBy.map(() => null);
    const { fields } = this.#factory;
    const read = [...new Set(fields.filter((field) => field !== null))];
    this.#cells = read.map(
      (field) =>
        new Cell(
          compileReader(field, spec.lineage),
          kernelTotals && ((event) => kernelTotals.totalOf(event.tracker, field)),
        ),
    );
    this.#numbers = read.map((field) =>
      kernelTotals === null && spec.measures.every((measure) => measure.field !== field || takesNumbers(measure))
        ? field
        : null,
    );
    this.#cellOf = fields.map((field) => (field === null ? -1 : read.indexOf(field)));
  }

  /** The events of a batch from one index up to, not including, another. */
  addBatch(batch: EventBatch, from = 0, to = batch.count): void {
    if (to <= from) return;
    const clock = BigInt(batch.clock.seconds) * BILLION + BigInt(batch.clock.nanoseconds);
    const clockMs = Number(clock) / 1e6;
    this.#see(clockMs + batch.bootNsAt(from) / 1e6);
    this.#see(clockMs + batch.bootNsAt(to - 1) / 1e6);
    this.#from = this.#to = 0; // opened anew: merges of windows since the last batch are told of what comes
    if (batch instanceof RecordBatch && !this.#options.accept && !this.#weightOf)
      this.#addRecords(batch, from, to, clock);
    else this.#addEvents(batch, from, to, clock);
    this.#weigh(to - from);
  }

  #addEvents(batch: EventBatch, from: number, to: number, clock: bigint): void {
    for (let i = from; i < to; i++) {
      const event = batch.event(i);
      if (this.#options.accept && !this.#options.accept(event)) {
        this.discarded++;
        continue;
      }
      const at = batch.bootNsAt(i);
      if (at < this.#from || at >= this.#to) this.#turnTo(BigInt(at), clock);
      this.#take(event);
    }
  }

  /**
   * The same for events that all count once. No event is made of a record whose group was seen a moment ago and whose
   * numbers lie in its bytes.
   */
  #addRecords(batch: RecordBatch, from: number, to: number, clock: bigint): void {
    const { view, offsets } = batch;
    const accesses = batch.context.views.map((each) => this.#accessOf(each));
    for (let i = from; i < to; i++) {
      const ns = batch.bootNsAt(i);
      if (ns < this.#from || ns >= this.#to) {
        this.#turnTo(BigInt(ns), clock);
        for (const access of accesses) access?.groups.clear();
      }
      const at = offsets[i] ?? 0;
      const access = accesses[view.getUint16(at + headerOffsets.tracker, true)];
      const pane = this.#pane;
      if (!access || !pane) {
        this.#take(batch.event(i));
        continue;
      }
      let group = access.groups.find(batch, at);
      if (!group) {
        group = this.#find(batch.event(i), pane);
        access.groups.keep(batch, at, group);
      }
      for (let j = 0; j < this.#cells.length; j++) {
        const number = access.numbers[j]?.(view, at) ?? Number.NaN;
        if (Number.isNaN(number)) this.#cells[j]?.load(batch.event(i));
        else this.#cells[j]?.setNumber(number);
      }
      pane.take(group, this.#cells, this.#cellOf, 1);
      this.events++;
    }
  }

  #accessOf(view: EventView): RecordAccess | null {
    const known = this.#access.get(view);
    if (known !== undefined) return known;
    const { source } = view;
    const groups = source
      ? GroupMemo.create(
          source,
          this.spec.groupBy.map(({ path }) => path),
        )
      : null;
    const access = source &&
      groups && {
        groups,
        numbers: this.#numbers.map((field) => (field === null ? null : compileNumber(source, field))),
      };
    this.#access.set(view, access ?? null);
    return access ?? null;
  }

  /** Events without their batch: as `addBatch`, a little slower. */
  add(events: Iterable<TraceEvent>): void {
    let count = 0;
    this.#from = this.#to = 0;
    for (const event of events) {
      count++;
      if (this.#options.accept && !this.#options.accept(event)) {
        this.discarded++;
        continue;
      }
      const ms = Date.parse(event.time);
      this.#see(ms);
      if (ms < this.#from || ms >= this.#to) {
        this.#turnTo(BigInt(ms) * NS, 0n);
        this.#from /= 1e6;
        this.#to /= 1e6;
      }
      this.#take(event);
      if (count % WEIGH_EVERY === 0) this.#weigh(WEIGH_EVERY);
    }
  }

  /**
   * All rows, window by window, the oldest first; a sliding window is one that ends with a pane that has events, or
   * lies before the last that has. Throws BAD_USER_INPUT when they are too many.
   */
  rows(): AggregateRow[] {
    return finish(this.collecting());
  }

  /** As `rows`, in pieces. No event may be added meanwhile. */
  *collecting(): Work<AggregateRow[]> {
    const { window } = this.spec;
    const whole = window ? null : this.#panes.at(0);
    if (!window) return whole ? yield* rowsOf(this.spec, this.#factory, whole, null, this.#seconds(0)) : [];
    const rows: AggregateRow[] = [];
    for (const place of this.#windowsBetween(Number.NEGATIVE_INFINITY, this.#panes.newest)) {
      rows.push(...(yield* this.#rowsAt(place)));
      yield;
      if (rows.length > MAX_ROWS) {
        throw invalid(
          'window.size',
          `its windows have more than ${MAX_ROWS.toLocaleString('en-US')} rows; take a longer window, a lower ` +
            `\`limit\`, or group by fewer fields`,
          { max: MAX_ROWS },
        );
      }
    }
    return rows;
  }

  /**
   * What changed since the last call. `nowMs`, milliseconds since the epoch, closes windows as time goes by; give it
   * only when all events up to now were added, and infinity at the end. Null: by the events' own time. `having`,
   * `orderBy` and `limit` shape `rows`, not these.
   */
  takeChanges(nowMs: number | null): Changes {
    const { window } = this.spec;
    if (!window)
      return { rows: this.#changesOf(0, null, CHANGE_ROWS), closed: [], more: this.#panes.at(0)?.hasChanged ?? false };
    const horizon = Math.max(this.#lastMs, nowMs ?? Number.NEGATIVE_INFINITY) - (this.#options.graceMs ?? 1000);
    const due = Math.floor(horizon / window.slideMs); // windows that end with a pane before this one
    const tumbling = window.slideMs === window.sizeMs;
    const rows: AggregateRow[] = [];
    const closed: WindowSpan[] = [];
    // At the end, windows that would go on past the last event are of no interest.
    const to = tumbling || due === Number.POSITIVE_INFINITY ? this.#panes.newest : due - 1;
    for (const place of this.#windowsBetween(this.#nextWindow, to)) {
      if (place >= due || tumbling)
        rows.push(...this.#changesOf(place, this.#spanAt(place), CHANGE_ROWS - rows.length));
      else rows.push(...finish(this.#rowsAt(place)));
      // A window closes with the last of its rows.
      if ((place >= due || tumbling) && this.#panes.at(place)?.hasChanged)
        return this.#afterClosing({ rows, closed, more: true });
      if (place < due) {
        closed.push(this.#spanAt(place));
        this.#nextWindow = place + 1;
      }
      if (rows.length >= CHANGE_ROWS) return this.#afterClosing({ rows, closed, more: true });
    }
    if (Number.isFinite(due)) this.#nextWindow = Math.max(this.#nextWindow, due);
    return this.#afterClosing({ rows, closed, more: false });
  }

  /** Whether there are windows with events that have not closed. */
  get hasOpenWindows(): boolean {
    return this.spec.window !== null && !this.#windowsBetween(this.#nextWindow, this.#panes.newest).next().done;
  }

  /** Windows that end by then, in milliseconds since the epoch, have closed: what comes for them is missed. */
  get closedUntilMs(): number {
    return this.#nextWindow * (this.spec.window?.slideMs ?? 1);
  }

  /** Null when what it reads of events is known; else resolves when it is. Never rejects. */
  ready(): Promise<void> | null {
    return (this.#options.ready ?? this.spec.lineage?.ready)?.() ?? null;
  }

  /** Whether a filter of its own is evaluated on each event. */
  get isFiltered(): boolean {
    return this.#options.accept !== undefined;
  }

  /** An estimate of what it weighs in memory. */
  get bytes(): number {
    return this.#panes.bytes;
  }

  #take(event: TraceEvent): void {
    const weight = this.#weightOf ? this.#weightOf(event) : 1;
    const pane = this.#pane;
    if (!pane) {
      this.missed += weight;
      this.missedEvents++;
      return;
    }
    for (const cell of this.#cells) cell.load(event);
    pane.take(this.#find(event, pane), this.#cells, this.#cellOf, weight);
    this.events += weight;
  }

  #find(event: TraceEvent, pane: Pane): Group {
    const key = this.#key;
    for (let i = 0; i < key.length; i++) key[i] = this.#keys[i]?.(event) ?? null;
    return pane.find(key, this.#full);
  }

  /** Opens the pane of a time: nanoseconds on a clock that is `offset` behind the wall clock. */
  #turnTo(at: bigint, offset: bigint): void {
    const { window } = this.spec;
    if (!window) {
      this.#from = Number.NEGATIVE_INFINITY;
      this.#to = Number.POSITIVE_INFINITY;
      this.#pane = this.#panes.open(0);
      return;
    }
    const slide = BigInt(window.slideMs) * NS;
    const place = (at + offset) / slide; // event times are after 1970
    this.#from = Number(place * slide - offset);
    this.#to = Number((place + 1n) * slide - offset);
    this.#pane = Number(place) < this.#nextWindow ? null : this.#open(Number(place), window);
  }

  #open(place: number, { sizeMs, slideMs }: { readonly sizeMs: number; readonly slideMs: number }): Pane {
    const pane = this.#panes.open(place);
    if (!this.#options.live) {
      if (this.#panes.size <= MAX_WINDOWS) return pane;
      throw invalid(
        'window.size',
        `the events lie in more than ${MAX_WINDOWS.toLocaleString('en-US')} windows; take a longer ` +
          `${sizeMs === slideMs ? 'window' : 'slide'}`,
        { max: MAX_WINDOWS },
      );
    }
    if (this.#panes.size > sizeMs / slideMs + WAITING_PANES) {
      const oldest = this.#panes.places[0] ?? place;
      if (oldest >= this.#nextWindow) {
        this.missed += this.#panes.at(oldest)?.count ?? 0;
        this.missedEvents += this.#panes.at(oldest)?.events ?? 0;
        this.#nextWindow = oldest + 1;
      }
      this.#panes.dropBefore(oldest + 1);
    }
    return pane;
  }

  #see(ms: number): void {
    if (ms < this.#firstMs) this.#firstMs = ms;
    if (ms > this.#lastMs) this.#lastMs = ms;
  }

  #weigh(events: number): void {
    this.#untilWeighed -= events;
    if (this.#untilWeighed > 0) return;
    this.#untilWeighed = WEIGH_EVERY;
    this.#full = this.bytes > (this.#options.maxBytes ?? MAX_BYTES);
  }

  /** Places of the last panes of the windows that have events, in order. */
  *#windowsBetween(from: number, to: number): Generator<number> {
    const { window } = this.spec;
    const panes = window ? window.sizeMs / window.slideMs : 1;
    let next = from;
    for (const place of this.#panes.places) {
      for (let last = Math.max(next, place); last < place + panes && last <= to; last++) {
        yield last;
        next = last + 1;
      }
    }
  }

  *#rowsAt(place: number): Work<AggregateRow[]> {
    const { window } = this.spec;
    const pane = window && (yield* this.#panes.merging(place + 1 - window.sizeMs / window.slideMs, place + 1));
    return pane ? yield* rowsOf(this.spec, this.#factory, pane, this.#spanAt(place), this.#seconds(place)) : [];
  }

  #changesOf(place: number, span: WindowSpan | null, most: number): AggregateRow[] {
    const seconds = this.#seconds(place);
    return (this.#panes.at(place)?.takeChanged(most) ?? []).map((group) =>
      rowOf(this.spec, this.#factory, group, span, seconds),
    );
  }

  /** What a rate is over: the part of the window that has passed; without windows, from the first event to the last. */
  #seconds(place: number): number | null {
    const { window } = this.spec;
    const from = window ? (place + 1) * window.slideMs - window.sizeMs : this.#firstMs;
    const to = window ? Math.min((place + 1) * window.slideMs, this.#lastMs) : this.#lastMs;
    return to > from ? (to - from) / 1000 : null;
  }

  #spanAt(place: number): WindowSpan {
    const { sizeMs, slideMs } = this.spec.window ?? { sizeMs: 0, slideMs: 0 };
    return spanOf((place + 1) * slideMs - sizeMs, (place + 1) * slideMs);
  }

  #afterClosing(changes: Changes): Changes {
    const { sizeMs, slideMs } = this.spec.window ?? { sizeMs: 1, slideMs: 1 };
    // A pane is needed until the last window that it lies in has closed.
    if (Number.isFinite(this.#nextWindow)) this.#panes.dropBefore(this.#nextWindow + 1 - sizeMs / slideMs);
    return changes;
  }
}

/** Measures that look at a value's number alone. */
function takesNumbers({ fn, time }: Measure): boolean {
  return !time && fn !== 'COUNT' && fn !== 'DISTINCT' && fn !== 'TOP_K';
}
