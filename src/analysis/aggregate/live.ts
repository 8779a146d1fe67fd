import type { Gap } from '../../event/event.js';
import { turns } from '../../base/turn.js';
import { textOfMs } from '../../event/clock.js';
import type { Slice } from '../../record/batch-buffer.js';
import type { Aggregator, Changes } from './aggregator.js';
import { addSlices } from './scan.js';

/** What an aggregate reads: a session's `EventStream`. */
export interface AggregateSource {
  next(): Promise<IteratorResult<{ readonly slices: readonly Slice[]; readonly gap: Gap | null }, undefined>>;
  return(): Promise<unknown>;
  readonly stats: { readonly queued: number };
}

export interface AggregateChange extends Changes {
  /** When it was made; RFC 3339. */
  readonly at: string;
  /** Since the subscription began. */
  readonly events: number;
  readonly discarded: number;
  readonly missed: number;
  readonly lost: number;
  readonly dropped: number;
  /** Every event since then is in a row or was discarded by the filter. */
  readonly complete: boolean;
  /** The last one: the session has ended, all windows are closed. */
  readonly final: boolean;
}

type Waiting = {
  readonly resolve: (result: IteratorResult<AggregateChange, undefined>) => void;
  readonly reject: (error: unknown) => void;
};

const NEVER = Number.POSITIVE_INFINITY;

/**
 * An aggregate that is kept up to date with a session: returns what changed, at most every `everyMs`, and nothing while nothing changes.
 * A reader that is slow gets fewer and larger changes; its events are still counted. Reading starts with the construction.
 */
export class LiveAggregate implements AsyncIterableIterator<AggregateChange> {
  readonly #aggregator: Aggregator;
  readonly #source: AggregateSource;
  readonly #refresh: (() => Promise<void>) | null;
  readonly #failed: () => boolean;
  readonly #timer: NodeJS.Timeout;
  readonly #waiting: Waiting[] = [];
  readonly #gaps = { lost: 0, dropped: 0 };
  #toldGaps = 0;
  #ticked = false;
  #refreshing = false;
  #state: 'READING' | 'ENDED' | 'CLOSED' = 'READING';
  #failure: { readonly error: unknown } | null = null;

  /**
   * `refresh` has the source brought up to date, where it is not by itself: before each change. What it rejects with is
   * left to the source to tell. `failed`: whether the source has ended early, so that events may be missing that nobody counted.
   */
  constructor(
    aggregator: Aggregator,
    source: AggregateSource,
    everyMs: number,
    refresh: (() => Promise<void>) | null = null,
    failed: () => boolean = () => false,
  ) {
    this.#aggregator = aggregator;
    this.#source = source;
    this.#refresh = refresh;
    this.#failed = failed;
    this.#timer = setInterval(() => void this.#tick(), everyMs).unref();
    void this.#read();
  }

  next(): Promise<IteratorResult<AggregateChange, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      // A tick that found no reader, or the end, is served now.
      if (this.#ticked || this.#state !== 'READING') this.#serve();
    });
  }

  async return(): Promise<IteratorResult<AggregateChange, undefined>> {
    this.#close();
    await this.#source.return();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #read(): Promise<void> {
    try {
      for (
        let result = await this.#source.next();
        !result.done && this.#state === 'READING';
        result = await this.#source.next()
      ) {
        const { slices, gap } = result.value;
        if (gap) {
          this.#gaps.lost += gap.lost;
          this.#gaps.dropped += gap.dropped;
        }
        await addSlices(this.#aggregator, slices, 'FLOW');
      }
    } catch (error) {
      this.#failure = { error };
      await this.#source.return().catch(() => undefined);
    }
    if (this.#state === 'READING') this.#state = 'ENDED';
    clearInterval(this.#timer);
    this.#serve();
  }

  async #tick(): Promise<void> {
    if (this.#refreshing) return;
    if (this.#refresh) {
      this.#refreshing = true;
      await this.#refresh().catch(() => undefined);
      await turns.next(); // behind the reader of what came with it
      this.#refreshing = false;
    }
    this.#ticked = true;
    this.#serve();
  }

  #serve(): void {
    while (this.#waiting.length) {
      if (this.#state === 'READING') {
        const change = this.#change(this.#source.stats.queued === 0 ? Date.now() : null, false);
        if (!change) return;
        this.#ticked = change.more; // the rest is for whoever asks next
        this.#waiting.shift()?.resolve({ done: false, value: change });
        return;
      }
      if (this.#state === 'CLOSED') return this.#close();
      const failure = this.#failure;
      if (failure) {
        this.#waiting.shift()?.reject(failure.error);
        return this.#close();
      }
      const change = this.#change(NEVER, true);
      if (change?.final ?? true) this.#state = 'CLOSED';
      if (change) this.#waiting.shift()?.resolve({ done: false, value: change });
    }
  }

  /** What there is to tell; null when it is nothing, unless it is the end. */
  #change(nowMs: number | null, ended: boolean): AggregateChange | null {
    const changes = this.#aggregator.takeChanges(nowMs);
    const { events, discarded, missed } = this.#aggregator;
    const { lost, dropped } = this.#gaps;
    const gaps = lost + dropped + missed;
    const news = changes.rows.length > 0 || changes.closed.length > 0 || gaps !== this.#toldGaps;
    if (!news && !ended) return null;
    this.#toldGaps = gaps;
    return {
      ...changes,
      at: textOfMs(Date.now()),
      events,
      discarded,
      missed,
      lost,
      dropped,
      complete: gaps === 0 && !(ended && this.#failed()),
      final: ended && !changes.more && !this.#aggregator.hasOpenWindows,
    };
  }

  #close(): void {
    this.#state = 'CLOSED';
    clearInterval(this.#timer);
    for (const { resolve } of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }
}
