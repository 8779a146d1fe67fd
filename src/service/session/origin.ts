import type { Lane } from '../../base/turn.js';
import type { ReportSource } from '../../analysis/report/index.js';
import type { ContainerRegistry } from '../../inventory/registry.js';
import type { Asked } from '../../session/asked.js';
import type { Session } from '../../session/session.js';
import { heldParts, type Held, type Part } from '../../session/stream/parts.js';
import { partsOf, storedAlike, storedBefore, storedParts } from '../../storage/parts.js';
import { queryOf, type StoredSource } from '../../storage/query.js';
import type { AlikeFields, EventQuery, Store, StoredContainer, StoredRecord } from '../../storage/store.js';

/** Where the events of a session in memory are of which the store has not all that memory lacks. */
export interface Division {
  readonly source: StoredSource;
  /** Events ahead of it are in the store. */
  readonly place: number;
  readonly held: Held;
}

export type Narrowing = Partial<Pick<EventQuery, 'from' | 'to' | 'containers' | 'filter'>>;

/** All events of one session that there are, for what reads each of them: reports and exports. */
export interface Origin {
  readonly source: Omit<ReportSource, 'excluded'>;
  /** What was asked of the session, which may have kept events out of it. */
  readonly asked: Asked | null;
  readonly exported: readonly string[];
  /** Whether each of them is read from a store. */
  readonly stored: boolean;
  /**
   * In their order, with what is missing among them, read in turns of `lane`. A store leaves out what does not match; memory only what the
   * filter does not take.
   */
  parts(narrowing: Narrowing, lane?: Lane): AsyncGenerator<Part, void>;
  /** All that match, as one where these fields do not differ, and what is missing. Null where they have to be read as `parts`. */
  alike(narrowing: Narrowing, fields: AlikeFields): ReturnType<typeof storedAlike>;
  /** Those that the events are of; of a session in memory also those there are, which did nothing then. */
  containers(): Promise<readonly StoredContainer[]>;
}

export function heldOrigin(session: Session, registry: ContainerRegistry): Origin {
  const { id, spec, startedAt, stoppedAt } = session;
  return {
    source: {
      id,
      trackers: spec.trackers.map(({ name }) => name),
      options: Object.fromEntries(spec.trackers.map(({ name, options }) => [name, options])),
      from: startedAt,
      to: stoppedAt,
    },
    asked: spec.asked,
    exported: spec.exported ?? [],
    stored: false,
    parts: ({ filter = null }, lane) => heldParts(session, filter, { lane }),
    alike: () => Promise.resolve(null),
    async containers() {
      const seen = new Map<string, StoredContainer>(registry.list().map((container) => [container.id, container]));
      for await (const { events } of heldParts(session, null)) {
        for (const { container } of events)
          if (container) seen.set((container as StoredContainer).id, container as StoredContainer);
      }
      return [...seen.values()];
    },
  };
}

/** Of a session that is stored in part: what is ahead of a place from its store, and from there on what memory holds. */
export function dividedOrigin(
  session: Session,
  { source, place, held }: Division,
  registry: ContainerRegistry,
): Origin {
  const origin = heldOrigin(session, registry);
  return {
    ...origin,
    async *parts(narrowing, lane) {
      for await (const page of storedBefore(source, place, {
        ...queryOf(source, null),
        ...narrowing,
        turn: lane,
      }))
        yield* partsOf(page);
      yield* heldParts(session, narrowing.filter ?? null, { held, from: place, lane });
    },
    async containers() {
      const known = await Promise.all([source.store.containers(queryOf(source, null)), origin.containers()]);
      return [...new Map(known.flat().map((container) => [container.id, container])).values()];
    },
  };
}

export function storedOrigin(record: StoredRecord, store: Store): Origin {
  const { id, trackers, options, startedAt, stoppedAt, asked } = record;
  const query = queryOf({ id, trackers }, null);
  return {
    source: { id, trackers, options, from: startedAt, to: stoppedAt },
    asked,
    exported: [],
    stored: true,
    parts: (narrowing, turn) => storedParts({ record, store }, { ...query, ...narrowing, turn }),
    alike: (narrowing, fields) => storedAlike({ record, store }, { ...query, ...narrowing }, fields),
    containers: () => store.containers(query),
  };
}
