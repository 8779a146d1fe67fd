import type { TraceEvent } from '../../event/event.js';
import type { Lineage, ProcessAt } from '../../event/lineage.js';

/** The processes of events that tests write: what a server has in its table of processes. Recorded events are of none. */
export class TestProcesses implements Lineage {
  readonly problem = null;
  readonly sinceNs = 0n;
  readonly #known = new WeakMap<TraceEvent, ProcessAt>();

  of(event: TraceEvent): ProcessAt | null {
    return this.#known.get(event) ?? null;
  }

  ready(): null {
    return null;
  }

  add(event: TraceEvent, process: ProcessAt): void {
    this.#known.set(event, process);
  }
}
