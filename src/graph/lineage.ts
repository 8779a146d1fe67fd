import type { TraceEvent } from '../event/event.js';
import { MOST_ANCESTORS, type Lineage } from '../event/lineage.js';
import { sightingOf } from '../event/sighting.js';
import type { ClockOffset } from '../event/clock.js';
import { headerOffsets, RecordBatch } from '../record/batch.js';
import { startNsAt } from './decode.js';
import { Standing, type KnownProcess } from './process.js';
import { isOfBoot, rememberedAs, sightingOfRow } from './past.js';
import type { ProcessTable } from './table.js';

/** So long one waits at most, where the table lists all processes anew or the kernel thread is busy: then what is known has to do. */
const MOST_WAIT_MS = 500;
/** The version of what is stored: it does not change. */
const PAST = -1;

/** What a lineage needs of the graph. */
export interface LineageSource {
  readonly table: ProcessTable;
  /** Null when all that has happened is known; else resolves when it is. */
  /** Which boot the table is of. */
  readonly boot: string;
  ready(): Promise<void> | null;
  clock(): ClockOffset;
  problem(): string | null;
  sinceNs(): bigint;
}

/** The processes of events, and their ancestors, by what is stored of their session, or by the table of processes. */
export class TableLineage implements Lineage {
  readonly #source: LineageSource;

  constructor(source: LineageSource) {
    this.#source = source;
  }

  get problem(): string | null {
    return this.#source.problem();
  }

  get sinceNs(): bigint {
    return this.#source.sinceNs();
  }

  ready = (): Promise<void> | null => {
    const ready = this.#source.ready();
    if (!ready) return null;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, MOST_WAIT_MS);
      void ready.finally(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  };

  of(event: TraceEvent): Standing | null {
    const { table, clock, boot } = this.#source;
    const { batch, at } = event as Partial<{ readonly batch: unknown; readonly at: number }>;
    // Of a record, without an object for its process.
    if (batch instanceof RecordBatch && at !== undefined) {
      const { view } = batch;
      const known = table.find(view.getUint32(at + headerOffsets.pid, true), startNsAt(view, at));
      return known && this.#standing(known, bootNsAt(view, at), table.version);
    }
    const sighting = sightingOf(event.process) ?? sightingOfRow(event, clock());
    if (!sighting) return null;
    const past = rememberedAs(sighting);
    if (past) return this.#standing(past, sighting.atNs, PAST);
    if (!isOfBoot(sighting, boot)) return null;
    const known = table.find(sighting.pid, sighting.startNs, sighting.toleranceNs);
    return known && this.#standing(known, sighting.atNs, table.version);
  }

  #standing(known: KnownProcess, atNs: number, version: number): Standing {
    const holds = (one: Standing | null): one is Standing =>
      one !== null && one.version === version && atNs >= one.fromNs && atNs < one.toNs;
    const chain: KnownProcess[] = [];
    let next: KnownProcess | null = known;
    while (next && !holds(next.standing) && chain.length <= MOST_ANCESTORS) {
      chain.push(next);
      next = next.parent;
    }
    const isWhole = !next || holds(next.standing);
    let standing: Standing | null = next && holds(next.standing) ? next.standing : null;
    for (const one of chain.reverse()) {
      standing = new Standing(one, atNs, standing, version);
      // One whose ancestors were not all looked at is right for its descendant alone.
      if (isWhole || one === known) one.standing = standing;
    }
    return standing ?? new Standing(known, atNs, null, version);
  }
}

function bootNsAt(view: DataView, at: number): number {
  return (
    view.getUint32(at + headerOffsets.bootNs + 4, true) * 4294967296 + view.getUint32(at + headerOffsets.bootNs, true)
  );
}
