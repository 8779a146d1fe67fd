import { messageOf } from '../base/errors.js';
import { packBatch } from '../record/wire.js';
import type { Part } from './input.js';
import { PluginDied, type Done, type PluginThread } from './thread.js';

/** Calls that are under way: the thread always has the next one. */
const CALLS = 2;
/** Calls in a row that may fail. */
const MAX_FAILURES = 10;

/** What the calls of a thread that has died were given. */
export interface Abandoned {
  /** By the call that was under way, which ended the thread; null for a call without events. */
  readonly victim: Part | null;
  /** By those behind it, which had not begun. */
  readonly behind: readonly Part[];
}

/** The calls of one thread, in their order. */
export class Calls {
  readonly #thread: PluginThread;
  readonly #onDone: (done: Done, part: Part | null) => void;
  readonly #onChange: () => void;
  /** Oldest first; null stands for a call without events. */
  #underWay: (Part | null)[] = [];
  #failures = 0;
  #died: PluginDied | null = null;

  /** `onDone` gets what each call has returned; `onChange` is called after that, and when no more calls can be made. */
  constructor(thread: PluginThread, onDone: (done: Done, part: Part | null) => void, onChange: () => void) {
    this.#thread = thread;
    this.#onDone = onDone;
    this.#onChange = onChange;
  }

  get isIdle(): boolean {
    return this.#underWay.length === 0;
  }

  get isFull(): boolean {
    return this.#underWay.length >= CALLS;
  }

  /** Why no more calls can be made: the thread has ended, or too many calls in a row have failed. Null while they can. */
  get died(): PluginDied | null {
    return this.#died;
  }

  /** Hands events to the plugin. */
  batch(part: Part): void {
    const { message, transfer } = packBatch(part.batch);
    const { from, to, gap } = part;
    void this.#follow(this.#thread.call('batch', { message, from, to, gap }, transfer), part);
  }

  /** Lets the plugin do what it does at intervals. */
  interval(): void {
    void this.#follow(this.#thread.call('interval', null), null);
  }

  /** Forgets those that are under way; the thread has died. */
  abandon(): Abandoned {
    const [victim = null, ...behind] = this.#underWay;
    this.#underWay = [];
    return { victim, behind: behind.filter((part) => part !== null) };
  }

  async #follow(call: Promise<Done>, part: Part | null): Promise<void> {
    this.#underWay.push(part);
    try {
      const done = await call;
      this.#underWay.shift();
      this.#onDone(done, part);
      this.#failures = done.error ? this.#failures + 1 : 0;
      if (done.error && this.#failures >= MAX_FAILURES)
        this.#died ??= new PluginDied({
          message: `${MAX_FAILURES} calls in a row failed, the last with: ${done.error.message}`,
          at: done.error.at,
        });
    } catch (error) {
      this.#died ??= error instanceof PluginDied ? error : new PluginDied({ message: messageOf(error), at: null });
    }
    this.#onChange();
  }
}
