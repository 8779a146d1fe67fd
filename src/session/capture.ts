import type { Demand } from '../event/event.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { SessionSpec } from './spec.js';

/** Which on-demand fields a session captures: what its `capture` mode selects, and what its readers demand while they read. */
export class Capture {
  #spec: Pick<SessionSpec, 'capture' | 'fields' | 'where'>;
  readonly #trackers: readonly TrackerRuntime[];
  readonly #onChange: (object: number, mask: bigint) => void;
  readonly #demands = new Set<Demand>();
  #masks: bigint[];

  /** `onChange` is called with the mask of each tracker's object that a demand changes. It must not throw. */
  constructor(
    spec: Pick<SessionSpec, 'capture' | 'fields' | 'where'>,
    trackers: readonly TrackerRuntime[],
    onChange: (object: number, mask: bigint) => void,
  ) {
    this.#spec = spec;
    this.#trackers = trackers;
    this.#onChange = onChange;
    this.#masks = trackers.map((tracker) => this.#maskOf(tracker));
  }

  /** The capture mask of each tracker's object, in the order of the trackers. */
  get masks(): readonly bigint[] {
    return this.#masks;
  }

  /** Names of the on-demand fields that are captured now. */
  fields(): string[] {
    const fields = this.#trackers.flatMap((tracker, i) =>
      tracker.onDemand.filter((field) => (tracker.captureOf(field) & ~(this.#masks[i] ?? 0n)) === 0n),
    );
    return [...new Set(fields)];
  }

  /** Captures what a reader selects until the returned function is called; further calls of that do nothing. */
  add(demand: Demand): () => void {
    const held = new Map(demand); // one entry a call, also when two readers share the map
    this.#demands.add(held);
    this.#apply();
    return () => {
      if (this.#demands.delete(held)) this.#apply();
    };
  }

  /** Captures by another specification from now on. */
  use(spec: Pick<SessionSpec, 'capture' | 'fields' | 'where'>): void {
    this.#spec = spec;
    this.#apply();
  }

  /** Tells of what differs from these masks: a source that was opened with them could not be told of demands that came meanwhile. */
  catchUp(opened: readonly bigint[]): void {
    this.#masks.forEach((mask, object) => {
      if (mask !== opened[object]) this.#onChange(object, mask);
    });
  }

  #apply(): void {
    const before = this.#masks;
    this.#masks = this.#trackers.map((tracker) => this.#maskOf(tracker));
    this.catchUp(before);
  }

  #maskOf(tracker: TrackerRuntime): bigint {
    const { capture, fields, where } = this.#spec;
    if (capture === 'ALL') return tracker.allCaptures;
    const usual = capture === 'DEFAULT' ? tracker.usualCaptures : 0n;
    let mask = fields.reduce((m, field) => m | tracker.captureOf(field), usual);
    for (const demand of where ? [where.demand, ...this.#demands] : this.#demands)
      for (const field of demand.get(tracker.definition.name) ?? []) mask |= tracker.captureOf(field);
    return mask;
  }
}
