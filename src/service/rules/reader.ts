import { turns } from '../../base/turn.js';
import type { Demand, TraceEvent } from '../../event/event.js';
import type { Slice } from '../../record/batch-buffer.js';
import type { Variant } from '../../rules/compile.js';
import type { RuleEngine } from '../../rules/engine.js';
import type { EventsAfterAlerts } from './after.js';
import { HeldEvents, type EngineDescriptions } from './held.js';
import type { RulePart } from './part.js';
import { eventsBefore } from './around.js';
import { cursorOf } from '../../session/cursor.js';
import type { Session } from '../../session/session.js';
import type { EventStream } from '../../session/stream/stream.js';

/** Events between two looks at the clock, which also follows each alert: each may be compared with many rules. */
const PART = 32;

export interface ReaderOptions {
  readonly session: Session;
  readonly engine: RuleEngine;
  readonly demand: Demand;
  /** What its session has of trackers. */
  readonly parts: readonly RulePart[];
  readonly after: Pick<EventsAfterAlerts, 'see'>;
  readonly facts: EngineDescriptions;
  /** Called after some events were evaluated, with the time of the last one in ms since boot. */
  readonly onEvaluated: (bootMs: number) => void;
  /** Called when its session has ended, with what went wrong; null when it was stopped. Calls after the first change nothing. */
  readonly onEnd: (error: unknown) => void;
}

/** Evaluates all events of one session with the rules that are in force at the place of each. */
export class RuleReader {
  readonly session: Session;
  /** Events that no rule saw: lost in the kernel, or dropped since the server was busy. */
  missed = 0;
  readonly #options: ReaderOptions;
  #engine: RuleEngine;
  /** Those that are in force from a place on, in their order. */
  #next: { readonly engine: RuleEngine; readonly place: number }[] = [];
  readonly #stream: EventStream;
  /** Ends what the rules demand that are in force. */
  #release: () => void;
  /** While rules change: settles when they have. */
  #paused: Promise<void> | null = null;
  /** Whether it has events that it is evaluating. */
  #isReading = false;
  #isClosed = false;
  readonly #held: HeldEvents;
  /** By tracker. */
  readonly #variants: ReadonlyMap<string, Variant>;
  /** Settles when it evaluates nothing any more. */
  readonly #reading: Promise<void>;
  /** The event that is being evaluated, and whether some rules have to wait with it. */
  #event: TraceEvent | null = null;
  #isHeld = false;

  constructor(options: ReaderOptions) {
    const { session, engine, demand } = options;
    this.#options = options;
    this.session = session;
    this.#engine = engine;
    this.#held = new HeldEvents(options.facts);
    this.#variants = new Map(options.parts.map(({ tracker, variant }) => [tracker, variant]));
    this.#release = session.addDemand(demand);
    // What it has seen since it started.
    const after = cursorOf(session.id, session.oldestSeq);
    this.#stream = session.subscribe({ after, demand: new Map(), maxDelayMs: 0 });
    this.#reading = this.#read();
  }

  /** What its session has of trackers. */
  get parts(): readonly RulePart[] {
    return this.#options.parts;
  }

  /** Whether its trackers aggregate in the kernel, where a filter cannot be changed while they run. */
  get isAggregated(): boolean {
    return this.session.aggregatesInKernel;
  }

  get trackers(): readonly string[] {
    return this.session.spec.trackers.map(({ name }) => name);
  }

  /**
   * Puts other rules in force from the place on that `change` resolves with. What they demand is captured before that. Rejects with
   * what `change` rejects with; the rules before are still in force then.
   */
  async change(engine: RuleEngine, demand: Demand, change: () => Promise<number>): Promise<void> {
    let resume: () => void = () => {};
    this.#paused = new Promise((resolve) => (resume = resolve));
    const release = this.session.addDemand(demand);
    try {
      const place = await change();
      this.#next.push({ engine, place });
      this.#release();
      this.#release = release;
    } catch (error) {
      release();
      throw error;
    } finally {
      this.#paused = null;
      resume();
    }
  }

  /** Whether events that have happened may not be evaluated yet. */
  get isBehind(): boolean {
    return this.#isReading || this.#paused !== null || this.#stream.stats.queued > 0 || !this.#held.isEmpty;
  }

  /** Events that rules evaluated without what an engine would have told of their container. */
  get withoutFacts(): number {
    return this.#held.givenUp;
  }

  /** Ends its session, and resolves when all that it saw is evaluated. */
  async finish(): Promise<void> {
    await this.session.stop('REQUESTED');
    await this.#reading;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#held.close();
    this.#release();
    await this.#stream.return();
  }

  async #read(): Promise<void> {
    const { onEnd, after } = this.#options;
    try {
      for (;;) {
        this.#isReading = false;
        const { done, value } = await this.#stream.next();
        this.#isReading = true;
        // What is here may be behind the place from which on others are in force.
        if (this.#paused) await this.#paused;
        if (this.#isClosed) return;
        if (done) break;
        await (this.#next.at(-1)?.engine ?? this.#engine).ready?.();
        if (value.gap) this.missed += value.gap.lost + value.gap.dropped;
        for (const { batch, from, to } of value.slices)
          for (let i = from; i < to;) {
            if (!turns.isOpen) await turns.next('FLOW');
            for (let left = PART; i < to && left > 0; i++, left--) {
              const place = batch.placeOf(i);
              const event = batch.event(i);
              const engine = this.#engineAt(place);
              const { written } = engine;
              after.see(event);
              const before = (): (() => readonly TraceEvent[]) => eventsBefore(event, place, this.#before);
              this.#event = event;
              this.#isHeld = false;
              const seen = {
                variant: this.#variants.get(event.tracker),
                atMs: batch.bootNsAt(i) / 1e6,
                hold: this.#hold,
              };
              engine.evaluate(event, before, seen);
              if (this.#isHeld) {
                batch.lease?.keep();
                this.#held.add(event, () =>
                  this.#evaluateHeld(() => engine.evaluateHeld(event, before, seen), seen.atMs),
                );
              }
              if (engine.written > written) left = 0;
            }
            this.#options.onEvaluated(batch.bootNsAt(i - 1) / 1e6);
          }
      }
      this.#held.close();
      onEnd(null);
    } catch (error) {
      onEnd(error);
    }
  }

  readonly #hold = (): boolean => (this.#isHeld = this.#event !== null && this.#held.waits(this.#event));

  #evaluateHeld(evaluate: () => void, atMs: number): void {
    try {
      evaluate();
      this.#options.onEvaluated(atMs);
    } catch (error) {
      this.#options.onEnd(error);
    }
  }

  readonly #before = (place: number, count: number): readonly Slice[] => this.session.held({ place, count });

  #engineAt(place: number): RuleEngine {
    for (let [next] = this.#next; next && place >= next.place; [next] = this.#next) {
      this.#engine = next.engine;
      this.#next.shift();
    }
    return this.#engine;
  }
}
