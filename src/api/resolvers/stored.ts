import { addSlices, Aggregator, type AggregateRow, type AggregateSpec } from '../../consumers/aggregate/index.js';
import { storedPage, queryOf, type PageArguments, type StoredSource } from '../../consumers/store/query.js';
import { SessionRecording } from '../../consumers/store/recording.js';
import { ResumedStream } from '../../consumers/store/resume.js';
import { StoredSession } from '../../consumers/store/session.js';
import { storedParts, type StoredWhole } from '../../consumers/store/parts.js';
import type { EventQuery, Store } from '../../consumers/store/store.js';
import { EunomiaError, invalid } from '../../errors.js';
import type { Demand } from '../../event.js';
import type { EventFilter } from '../../filter/index.js';
import { parseCursor } from '../../pipeline/cursor.js';
import { heldParts, type Part } from '../../pipeline/parts.js';
import type { Page, Session } from '../../pipeline/session.js';
import type { RequestContext, Services } from '../context.js';
import { unknownSession } from './server.js';

/** A session, wherever its events are: memory, a store, or both. */

export type AnySession = Session | StoredSession;

/** How long a query waits until what just happened is stored. */
const REACH_MS = 3000;

/** The session in memory, counted as used, or in a store; null when there is none. */
export async function findSession(
  id: string,
  { services }: { readonly services: Services },
): Promise<AnySession | null> {
  const session = services.manager.get(id);
  session?.touch();
  if (session) return session;
  for (const store of services.stores.values()) {
    const record = await whileItLasts(store.session(id), null);
    if (record) return new StoredSession(record, store);
  }
  return null;
}

export async function needSession(id: string, context: RequestContext): Promise<AnySession> {
  const session = await findSession(id, context);
  if (!session) throw unknownSession(id);
  return session;
}

/** Those of the stores that are in no memory any more, and then those in memory; each oldest first. */
export async function allSessions({ services }: RequestContext): Promise<AnySession[]> {
  const stored = await Promise.all(
    [...services.stores.values()].map(async (store) =>
      (await whileItLasts(store.sessions(), [])).map((record) => new StoredSession(record, store)),
    ),
  );
  return [...stored.flat().filter(({ id }) => !services.manager.get(id)), ...services.manager.list()];
}

/** A store that does not answer costs what only it knows, and no other answer. */
async function whileItLasts<Value>(answer: Promise<Value>, otherwise: Value): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof EunomiaError && error.code === 'STORE_UNAVAILABLE') return otherwise;
    throw error;
  }
}

export function trackersOf(session: AnySession): readonly string[] {
  return session instanceof StoredSession ? session.trackers : session.spec.trackers.map(({ name }) => name);
}

/** Of its trackers, by name. */
export function optionsOf(session: AnySession): Readonly<Record<string, Readonly<Record<string, unknown>>>> {
  return session instanceof StoredSession
    ? session.record.options
    : Object.fromEntries(session.spec.trackers.map(({ name, options }) => [name, options]));
}

/** Where events of a session that runs are stored too, each of them; null where memory is all there is. */
function recordingOf(session: Session): { readonly recording: SessionRecording; readonly source: StoredSource } | null {
  const { recording } = session;
  if (!(recording instanceof SessionRecording) || recording.stats.mode !== 'EVENTS') return null;
  return { recording, source: { id: session.id, store: recording.store, trackers: trackersOf(session) } };
}

export async function pageOf(session: AnySession, page: PageArguments): Promise<Page> {
  if (session instanceof StoredSession) return session.page(page);
  session.touch();
  const { first, last, after, where } = page;
  const recorded = recordingOf(session);
  const wanted = after ? parseCursor(after, session.id, session.nextSeq) : 0;
  const inMemory = last == null || where ? wanted >= session.oldestSeq : session.nextSeq - session.oldestSeq >= last;
  if (recorded && !inMemory) {
    const next = session.nextSeq;
    const written = recorded.recording.writtenSeq;
    // A page that is full of what is written already need not wait for the rest.
    if (last == null && written > wanted) {
      const whole = await storedPage(recorded.source, page, written, next);
      if (whole.hasNext) return whole;
    }
    if (await recorded.recording.reach(next, REACH_MS)) return storedPage(recorded.source, page, next, next);
  }
  return where ? session.pageWhere({ first, last, after, where }) : session.page({ first, last, after });
}

/** Where all events of a session are that there are. */
export type Origin =
  { readonly kind: 'MEMORY'; readonly session: Session } | ({ readonly kind: 'STORE' } & StoredWhole);

/** A store only for what memory does not hold. Rejects with BAD_USER_INPUT for a session of which only sums are stored. */
export async function originOf(session: AnySession): Promise<Origin> {
  if (session instanceof StoredSession) {
    if (session.record.mode !== 'EVENTS')
      throw invalid(
        'session',
        `"${session.id}" is stored as rollups, which have no single events; ask for its \`aggregate\`, or persist with mode EVENTS`,
      );
    return { kind: 'STORE', record: session.record, store: session.store };
  }
  if (session.sums) await session.refresh();
  const recorded = recordingOf(session);
  if (!recorded || session.oldestSeq === 0 || !(await recorded.recording.reach(session.nextSeq, REACH_MS)))
    return { kind: 'MEMORY', session };
  const { store } = recorded.source;
  const record = await store.session(session.id);
  return record ? { kind: 'STORE', record, store } : { kind: 'MEMORY', session };
}

/** Waits until what sessions that run in memory have seen until now is in the store, as far as it keeps up. */
export async function upToDate(store: Store, { services }: { readonly services: Services }): Promise<void> {
  const running = services.manager
    .list()
    .filter((session) => session.recording instanceof SessionRecording && session.recording.store === store);
  await Promise.all(
    running.map(async (session) => {
      if (session.sums) await session.refresh();
      await recordingOf(session)?.recording.reach(session.nextSeq, REACH_MS);
    }),
  );
}

export type Narrowing = Partial<Pick<EventQuery, 'from' | 'to' | 'containers' | 'filter'>>;

/** A session's events in their order, and what is missing among them. A store leaves out what does not match; memory only what the filter does not take. */
export function partsOf(origin: Origin, narrowing: Narrowing): AsyncGenerator<Part, void> {
  if (origin.kind === 'MEMORY') return heldParts(origin.session, narrowing.filter ?? null);
  const {
    record: { id, trackers },
    store,
  } = origin;
  return storedParts(origin, { ...queryOf({ id, trackers, store }, null), ...narrowing });
}

export interface SubscribeArguments {
  readonly replay?: number;
  readonly after?: string;
  readonly demand: Demand;
  readonly where: EventFilter | null;
}

export function subscribeTo(
  session: AnySession,
  { replay, after, demand, where }: SubscribeArguments,
): ReturnType<Session['subscribe']> | ResumedStream {
  if (session instanceof StoredSession) return session.subscribe({ replay, after, where });
  const recorded = recordingOf(session);
  const from = after ? parseCursor(after, session.id, session.nextSeq) : Math.max(0, session.nextSeq - (replay ?? 0));
  if (!recorded || from >= session.oldestSeq) return session.subscribe({ replay, after, demand, where, lends: true });
  return new ResumedStream({
    source: recorded.source,
    from,
    where,
    live: { session, recording: recorded.recording, demand },
    end: session.nextSeq,
  });
}

export async function aggregateOf(
  session: AnySession,
  spec: AggregateSpec,
  where: EventFilter | null,
): Promise<readonly AggregateRow[]> {
  if (session instanceof StoredSession) return aggregateStored(session.store, queryOf(session, where), spec);
  if (session.sums) await session.refresh();
  const recorded = recordingOf(session);
  if (recorded && session.oldestSeq > 0 && (await recorded.recording.reach(session.nextSeq, REACH_MS)))
    return aggregateStored(recorded.source.store, queryOf(recorded.source, where), spec);
  const aggregator = new Aggregator(spec, { accept: where?.matches });
  await addSlices(aggregator, session.held());
  return aggregator.rows();
}

/** Where they lie when the store can; else event by event, with others' turns in between. */
export async function aggregateStored(
  store: Store,
  query: EventQuery,
  spec: AggregateSpec,
): Promise<readonly AggregateRow[]> {
  const rows = await store.aggregate(query, spec);
  if (rows) return rows;
  const aggregator = new Aggregator(spec);
  for await (const events of store.scan(query)) aggregator.add(events);
  return aggregator.rows();
}
