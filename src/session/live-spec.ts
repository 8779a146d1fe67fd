import type { Log } from '../base/log.js';
import { nowText } from '../event/clock.js';
import type { ContainerRegistry } from '../inventory/registry.js';
import type { TrackerRuntime } from '../record/runtime.js';
import { changedAsked, type Asked } from './asked.js';
import { Capture } from './capture.js';
import type { Change, Criteria, Programs } from './programs.js';
import type { SessionSpec, TargetSpec } from './spec.js';
import { CgroupMatcher } from './target.js';

export interface LiveSpecOptions {
  /** The session's id. */
  readonly session: string;
  readonly trackers: readonly TrackerRuntime[];
  readonly registry: ContainerRegistry;
  readonly log: Log;
  /** What is loaded captures by another mask. It must not throw. */
  readonly setCapture: (object: number, mask: bigint) => void;
  /** The programs to change. Throws NOT_RUNNING where nothing can be changed, or no more. */
  readonly requireRunning: () => Programs;
  /** How long events may wait for others now. */
  readonly delayMs: () => number;
  /** The place of the next event. */
  readonly nextSeq: () => number;
  /** Its events are stored from the next place on, or no longer. */
  readonly onStored: (isStored: boolean) => void;
  /** Called with the one before once a change holds. */
  readonly onChange: (before: SessionSpec) => void;
}

/** What a session is to do, as it holds now: whom it watches and what it captures, and changes of that while it runs. */
export class LiveSpec {
  readonly capture: Capture;
  readonly #options: LiveSpecOptions;
  #spec: SessionSpec;
  #matcher: CgroupMatcher;
  /** Settles when the change that is under way is done; changes come one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #isChanging = false;
  /** Events of which its targets before could not be decided. */
  #undecidedBefore = 0;

  /** Throws UNKNOWN_CONTAINER. */
  constructor(spec: SessionSpec, options: LiveSpecOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#matcher = this.#matcherOf(spec.target);
    this.capture = new Capture(spec, options.trackers, options.setCapture);
  }

  get current(): SessionSpec {
    return this.#spec;
  }

  get matcher(): CgroupMatcher {
    return this.#matcher;
  }

  get criteria(): Criteria {
    return this.#criteriaOf(this.#spec, this.#matcher);
  }

  /** Whether other programs may be taking over. */
  get isChanging(): boolean {
    return this.#isChanging;
  }

  /** Resolves when no change that was asked for before is under way. */
  get settled(): Promise<unknown> {
    return this.#changing;
  }

  /** Events that were kept though nobody can say whether its target, now or before, holds their container. */
  get undecided(): number {
    return this.#undecidedBefore + this.#matcher.undecidedEvents;
  }

  /** As `Session.change` has it. */
  change(make: (spec: SessionSpec) => SessionSpec | Promise<SessionSpec>, undo: () => Promise<void>): Promise<number> {
    const { requireRunning } = this.#options;
    const changed = this.#changing.then(async () => {
      this.#isChanging = true;
      try {
        requireRunning();
        return await this.#change(await make(this.#spec));
      } catch (error) {
        await undo();
        throw error;
      } finally {
        this.#isChanging = false;
      }
    });
    this.#changing = changed.catch(() => undefined);
    return changed;
  }

  /** The recorded session was changed here. */
  changeReplayed(to: Pick<Asked, 'input' | 'where'>, change: Change): void {
    const before = this.#spec;
    const { asked } = before;
    if (!asked) return;
    this.#hold({ ...before, asked: { ...asked, ...to } }, change);
    this.#options.onChange(before);
  }

  async #change(spec: SessionSpec): Promise<number> {
    const { requireRunning, nextSeq, onChange } = this.#options;
    const before = this.#spec;
    const programs = requireRunning();
    let change: Change = { at: nowText(), seq: nextSeq() };
    const isStoredElsewise = spec.persist !== before.persist;
    if (spec.where !== before.where || spec.target !== before.target || isStoredElsewise)
      change = await this.#changeCriteria(spec, programs);
    else {
      this.capture.use(spec);
      this.#hold(spec, change);
    }
    onChange(before);
    return change.seq;
  }

  /** From this place on, it is another one: a reader of the event there finds that told. */
  #hold(spec: SessionSpec, change: Change): void {
    const { asked: before, persist } = this.#spec;
    if (spec.persist !== persist) this.#options.onStored(spec.persist !== null);
    this.#spec = { ...spec, asked: spec.asked && before ? changedAsked(spec.asked, before, change) : spec.asked };
  }

  async #changeCriteria(spec: SessionSpec, programs: Programs): Promise<Change> {
    const { session, log } = this.#options;
    const before = this.#spec;
    const matcher = spec.target === before.target ? this.#matcher : this.#matcherOf(spec.target);
    // Until it is changed, its filter reads what it reads now.
    const release = this.capture.add(before.where?.demand ?? new Map());
    this.capture.use(spec);
    try {
      const criteria = this.#criteriaOf(spec, matcher);
      const change = await programs.changeTo(criteria, (made) => {
        if (matcher !== this.#matcher) this.#undecidedBefore += this.#matcher.undecidedEvents;
        this.#matcher = matcher;
        this.#hold(spec, made);
        this.capture.catchUp(criteria.masks);
      });
      log.info({ session, ...change }, 'a session is changed');
      return change;
    } catch (error) {
      this.capture.use(before);
      throw error;
    } finally {
      release();
    }
  }

  #criteriaOf(spec: SessionSpec, matcher: CgroupMatcher): Criteria {
    return { spec, matcher, masks: this.capture.masks, delayMs: this.#options.delayMs() };
  }

  /** Throws UNKNOWN_CONTAINER. */
  #matcherOf(target: TargetSpec | null): CgroupMatcher {
    const { session, trackers, registry, log } = this.#options;
    const matcher = new CgroupMatcher(
      target,
      registry,
      (notices) =>
        log.warn(
          { session, notices },
          'a session keeps events of containers that no engine names: whether its target holds them is undecided',
        ),
      trackers.map(({ layout }) => layout.second),
    );
    if (target) matcher.requireContainers(target);
    return matcher;
  }
}
