import { turns } from '../../base/turn.js';
import type { TraceEvent } from '../../event/event.js';
import type { Container } from '../../inventory/container.js';

/** What is known of whether engines have described containers. */
export interface EngineDescriptions {
  /** Whether an engine may yet describe this container. */
  awaits(container: Container): boolean;
  /** Calls the listener when an engine has told something; returns what ends that. */
  watch(listener: () => void): () => void;
}

interface Held {
  readonly container: Container | null;
  readonly evaluate: () => void;
}

const MOST = 1000;
const MOST_MS = 2000;
/** Events between two looks at the clock. */
const PART = 32;

/**
 * Events of containers that their engine has not described yet, for the rules that read what it tells. They wait in their order, and what
 * comes after them waits behind them, so that a rule sees all events of a session in order. A container is waited for once, for 2 s, and no
 * more than 1,000 events wait: beyond that they are evaluated with what is known, and counted.
 */
export class HeldEvents {
  readonly #facts: EngineDescriptions;
  readonly #mostMs: number;
  readonly #queue: Held[] = [];
  /** Until when a container is waited for, from its first event on. */
  readonly #until = new WeakMap<Container, number>();
  readonly #unwatch: () => void;
  #timer: NodeJS.Timeout | null = null;
  #isReleasing = false;
  #isClosed = false;
  /** Events that were evaluated without what an engine would have told. */
  givenUp = 0;

  constructor(facts: EngineDescriptions, mostMs = MOST_MS) {
    this.#facts = facts;
    this.#mostMs = mostMs;
    this.#unwatch = facts.watch(() => {
      if (this.#queue.length > 0) void this.#release();
    });
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Whether an event has to wait: it is of such a container, or comes after one that waits. None does after `close`. */
  waits({ container }: TraceEvent): boolean {
    if (this.#isClosed) return false;
    return this.#queue.length > 0 || this.#isUnknown(container as Container | null);
  }

  /** Keeps an event that has to wait. `evaluate` is called once, and does not throw. */
  add({ container }: TraceEvent, evaluate: () => void): void {
    this.#queue.push({ container: container as Container | null, evaluate });
    if (this.#queue.length > MOST) this.#evaluateFirst();
    this.#watchTime();
  }

  /** Evaluates what waits now: nothing comes any more. */
  close(): void {
    this.#isClosed = true;
    this.#unwatch();
    if (this.#timer) clearTimeout(this.#timer);
    while (this.#queue.length > 0) this.#evaluateFirst();
  }

  /** Whether an engine may yet tell of it, and it is waited for. */
  #isUnknown(container: Container | null): boolean {
    return this.#awaits(container) && performance.now() < this.#untilMs(container);
  }

  #awaits(container: Container | null): container is Container {
    return container !== null && this.#facts.awaits(container);
  }

  #untilMs(container: Container): number {
    const known = this.#until.get(container);
    if (known !== undefined) return known;
    const until = performance.now() + this.#mostMs;
    this.#until.set(container, until);
    return until;
  }

  /** The first one, with what is known. */
  #evaluateFirst(): void {
    const first = this.#queue.shift();
    if (!first) return;
    if (this.#awaits(first.container)) this.givenUp++;
    first.evaluate();
  }

  /** Those at the front that need not wait any more. */
  async #release(): Promise<void> {
    if (this.#isReleasing) return;
    this.#isReleasing = true;
    for (let left = PART, [first] = this.#queue; first && !this.#isClosed; [first] = this.#queue) {
      if (this.#isUnknown(first.container)) break;
      this.#evaluateFirst();
      left -= 1;
      if (left > 0) continue;
      left = PART;
      if (!turns.isOpen) await turns.next('FLOW');
    }
    this.#isReleasing = false;
    this.#watchTime();
  }

  #watchTime(): void {
    const [first] = this.#queue;
    if (!first || this.#timer || this.#isClosed) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        void this.#release();
      },
      Math.max(1, (first.container ? this.#untilMs(first.container) : 0) - performance.now() + 1),
    ).unref();
  }
}
