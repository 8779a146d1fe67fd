import type { Caller } from '../access/caller.js';
import {
  compileAggregate,
  type AggregateInput,
  type AggregateRow,
  type AggregateSpec,
} from '../analysis/aggregate/index.js';
import { EunomiaError, invalid } from '../base/errors.js';
import type { TraceEvent } from '../event/event.js';
import type { BehaviourReport } from '../event/report.js';
import { allOf, filterOf, type EventFilter } from '../filter/index.js';
import type { QueryHistoryArgs } from '../generated/schema.js';
import { nanosOf } from '../record/nanos.js';
import type { StoreKind } from '../session/spec.js';
import { placed } from '../storage/query.js';
import type { EventQuery, HistoryPlace, Store, StoredPage, StoredRecord, StoreStatus } from '../storage/store.js';
import { aggregateStored } from './aggregate.js';
import { listInRange } from './check.js';
import type { Parts } from './parts.js';
import { recordsIn, spanOf } from './range.js';
import { reportOfHistory } from './report.js';
import type { PageRequest, ReportRequest } from './session/handle.js';
import { endOf, requireSince } from './session/request.js';

const DAY_NS = 86_400_000_000_000n;
const MAX_DAYS = 366n;
const MAX_PAGE = 10_000;
const MAX_SESSIONS = 100;

export type HistoryRequest = Partial<QueryHistoryArgs>;

/** As `PageRequest` of a session has it. */
export type HistoryPageRequest = Omit<PageRequest, 'where'>;

export interface HistoryPage {
  readonly events: readonly { readonly event: TraceEvent; readonly session: string }[];
  /** The place of the event at an index. */
  cursorAt(index: number): string;
  readonly hasNext: boolean;
  readonly hasPrevious: boolean;
  readonly gaps: StoredPage['gaps'];
}

/** A range of time: which events, and the sessions that ran in it. */
export interface RecordedRange {
  readonly store: Store;
  readonly query: EventQuery;
  readonly records: readonly StoredRecord[];
}

/** What stores hold of a span of time, over sessions. */
export class History {
  readonly #store: Store;
  readonly #query: EventQuery;
  readonly #parts: Parts;
  readonly #caller: Caller;
  /** What its filter was made of. */
  readonly #where: unknown;

  constructor(store: Store, query: EventQuery, parts: Parts, caller: Caller, where: unknown) {
    this.#store = store;
    this.#query = query;
    this.#parts = parts;
    this.#caller = caller;
    this.#where = where;
  }

  /** Events in the order of their times. Rejects with BAD_CURSOR, BAD_USER_INPUT or STORE_UNAVAILABLE. */
  async page(request: HistoryPageRequest): Promise<HistoryPage> {
    await this.#ready(this.#query.filter);
    const { events, ...page } = await this.#store.history(this.#query, {
      after: placeOf('after', request.after),
      before: placeOf('before', request.before),
      ...endOf(request, MAX_PAGE),
    });
    return {
      ...page,
      events: events.map((stored) => ({ event: placed(stored), session: stored.place.session })),
      cursorAt: (index) => {
        const at = events[index]?.place;
        return at ? cursorOf(at) : '';
      },
    };
  }

  /** How many events there are; null where only evaluating each would tell. Rejects with STORE_UNAVAILABLE. */
  async count(): Promise<number | null> {
    if (this.#query.filter || this.#store.kind !== 'EMBEDDED') return null;
    const rows = await this.#store.aggregate(
      this.#query,
      this.aggregation({ groupBy: [], measures: [{ fn: 'COUNT' }] }),
    );
    return rows && rows.reduce((sum, { count }) => sum + count, 0);
  }

  /** Checks an aggregate. Throws BAD_USER_INPUT. */
  aggregation(input: AggregateInput): AggregateSpec {
    return compileAggregate(input, this.#parts.catalog, this.#query.trackers);
  }

  /** `where`: of what the history has, only this. */
  async aggregate(input: AggregateInput, where: unknown = null): Promise<readonly AggregateRow[]> {
    const { fields } = this.#parts;
    const { trackers } = this.#query;
    const spec = this.aggregation(input);
    const filter =
      where === null ? this.#query.filter : filterOf(allOf([this.#where, where]), fields, trackers, 'where');
    await this.#ready(filter, spec);
    return aggregateStored(this.#store, { ...this.#query, filter }, spec);
  }

  /** Rejects with BAD_USER_INPUT for sessions of whose processes nothing is known. */
  async #ready(filter: EventFilter | null, spec: Pick<AggregateSpec, 'lineage'> | null = null): Promise<void> {
    const { sessions, from, to } = this.#query;
    const reads = filter?.ready ? 'where' : spec?.lineage ? 'groupBy' : null;
    if (reads === null) return;
    const { fields, manager } = this.#parts;
    for (const { id, boot, createdAt, startedAt, stoppedAt } of await this.#store.sessions()) {
      if (boot !== null || manager.get(id) || (sessions && !sessions.includes(id))) continue;
      const isEarlier = from !== null && stoppedAt !== null && nanosOf(stoppedAt) < from;
      const isLater = to !== null && nanosOf(startedAt ?? createdAt) >= to;
      if (!isEarlier && !isLater) requireSince(nanosOf(createdAt), `the session "${id}"`, reads, fields);
    }
    await filter?.ready?.();
  }

  /** What there is to read in one go. Rejects as `report` does. */
  async recorded(): Promise<RecordedRange> {
    const [store, query] = [this.#store, this.#query];
    await this.#ready(query.filter);
    return { store, query, records: await recordsIn(spanOf(query), { store, query }, this.#parts, 'an export') };
  }

  /** Rejects as `SessionHandle.report` does. */
  async report(subject: Omit<ReportRequest, 'from' | 'to'>): Promise<BehaviourReport> {
    await this.#ready(this.#query.filter);
    return reportOfHistory({ store: this.#store, query: this.#query }, subject, this.#parts, this.#caller);
  }
}

/** The stores, and what they hold. */
export class Histories {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async stores(_caller: Caller): Promise<readonly (StoreStatus & { readonly id: string })[]> {
    const { stores, server } = this.#parts;
    return Promise.all(
      [...stores.values()].map(async (store) => ({
        ...(await store.status()),
        id: `store:${server.node.id}:${store.kind}`,
      })),
    );
  }

  /** Throws BAD_USER_INPUT or NO_STORE. */
  open(caller: Caller, { from, to, sessions, trackers, containers, where, store: kind }: HistoryRequest): History {
    const store = storeOf(kind ?? 'EMBEDDED', this.#parts);
    const until = to == null ? null : nanosOf(to);
    const since = from == null ? (until ?? BigInt(Date.now()) * 1_000_000n) - DAY_NS : nanosOf(from);
    const end = until ?? BigInt(Date.now()) * 1_000_000n;
    if (since >= end)
      throw invalid('from', `${from ?? 'a day before `to`'} is not before ${to ?? 'now'}; give a time before it`);
    if (end - since > MAX_DAYS * DAY_NS)
      throw invalid('from', `the range has more than ${MAX_DAYS} days; take a later \`from\` or an earlier \`to\``, {
        maxDays: Number(MAX_DAYS),
      });
    const { catalog, fields } = this.#parts;
    const names =
      trackers == null
        ? catalog.trackers.map(({ name }) => name)
        : listInRange('trackers', trackers, catalog.trackers.length, '["exec"]');
    names.forEach((name, index) => catalog.need(name, `trackers[${index}]`));
    if (sessions != null) listInRange('sessions', sessions, MAX_SESSIONS, '["0123456789abcdef"]');
    if (containers != null) listInRange('containers', containers, 100, '[{ name: "web-*" }]');
    const query: EventQuery = {
      sessions: sessions ?? null,
      trackers: [...new Set(names)],
      from: since,
      to: until,
      containers: containers ?? null,
      filter: filterOf(where, fields, names),
    };
    return new History(store, query, this.#parts, caller, where);
  }
}

/** Throws NO_STORE when the server was started without it. */
export function storeOf<Stored = Store>(
  kind: StoreKind,
  { stores }: { readonly stores: ReadonlyMap<StoreKind, Stored> },
): Stored {
  const store = stores.get(kind);
  if (store) return store;
  const there = [...stores.keys()];
  const how = kind === 'EMBEDDED' ? 'start the server with --data-dir' : 'start the server with --influx-url';
  throw new EunomiaError(
    'NO_STORE',
    `this server has no ${kind} store${there.length ? ` (it has ${there.join(', ')})` : ''}; ${how}`,
    { details: { store: kind, stores: there } },
  );
}

function cursorOf({ time, session, seq }: HistoryPlace): string {
  return Buffer.from(`h1:${time}:${session}:${seq}`).toString('base64url');
}

function placeOf(argument: 'after' | 'before', cursor: string | undefined): HistoryPlace | null {
  if (cursor === undefined) return null;
  const [, time, session, seq] =
    /^h1:(\d{1,19}):([^:]{1,64}):(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
  if (time === undefined || session === undefined) {
    throw new EunomiaError(
      'BAD_CURSOR',
      `${argument}: "${cursor.slice(0, 64)}" is no place in a history; use a cursor that a page of it gave, or leave it out`,
      { details: { argument } },
    );
  }
  return { time: BigInt(time), session, seq: Number(seq) };
}
