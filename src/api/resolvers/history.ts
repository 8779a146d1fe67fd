import { compileAggregate } from '../../consumers/aggregate/index.js';
import { nanosOf } from '../../pipeline/nanos.js';
import type { EventQuery, HistoryPlace, Store, StoredPage } from '../../consumers/store/store.js';
import { EunomiaError, invalid } from '../../errors.js';
import { filterOf } from '../../filter/index.js';
import type { HistoryAggregateArgs, HistoryEventsArgs, QueryHistoryArgs } from '../../generated/schema.js';
import type { StoreKind } from '../../pipeline/spec.js';
import { inRange, listInRange } from '../check.js';
import type { Services } from '../context.js';
import { aggregateStored } from './stored.js';
import { guarded, typed, type ResolverMap } from './types.js';

const DAY_NS = 86_400_000_000_000n;
const MAX_DAYS = 366n;
const MAX_PAGE = 10_000;
const MAX_SESSIONS = 100;

/** What of a store is asked for. */
export interface History {
  readonly store: Store;
  readonly query: EventQuery;
}

/** The events of the past, over sessions. */
export const historyResolvers: ResolverMap = {
  Query: {
    history: typed<unknown, QueryHistoryArgs>((_root, args, { services }) => historyOf(args, services)),
    stores: typed((_root: unknown, _args, { services }) =>
      guarded(Promise.all([...services.stores.values()].map((store) => store.status()))),
    ),
  },
  History: {
    events: typed<History, HistoryEventsArgs>(({ store, query }, { first, after }) => {
      const limit = inRange('first', first ?? 100, 1, MAX_PAGE);
      const place = after == null ? null : placeOf(after);
      return guarded(store.history(query, place, limit).then(connectionOf));
    }),
    aggregate: typed<History, HistoryAggregateArgs>(({ store, query }, args, { services }) =>
      guarded(aggregateStored(store, query, compileAggregate(args, services.catalog, query.trackers))),
    ),
  },
};

/** Throws BAD_USER_INPUT or NO_STORE. */
export function historyOf(
  { from, to, sessions, trackers, containers, where, store: kind }: Partial<QueryHistoryArgs>,
  services: Services,
): History {
  const store = storeOf(kind ?? 'EMBEDDED', services);
  const until = to == null ? null : nanosOf(to);
  const since = from == null ? (until ?? BigInt(Date.now()) * 1_000_000n) - DAY_NS : nanosOf(from);
  const end = until ?? BigInt(Date.now()) * 1_000_000n;
  if (since >= end)
    throw invalid('from', `${from ?? 'a day before `to`'} is not before ${to ?? 'now'}; give a time before it`);
  if (end - since > MAX_DAYS * DAY_NS)
    throw invalid('from', `the range has more than ${MAX_DAYS} days; take a later \`from\` or an earlier \`to\``, {
      maxDays: Number(MAX_DAYS),
    });
  const { catalog } = services;
  const names =
    trackers == null
      ? catalog.trackers.map(({ name }) => name)
      : listInRange('trackers', trackers, catalog.trackers.length, '["exec"]');
  names.forEach((name, index) => catalog.need(name, `trackers[${index}]`));
  if (sessions != null) listInRange('sessions', sessions, MAX_SESSIONS, '["0123456789abcdef"]');
  if (containers != null) listInRange('containers', containers, 100, '[{ name: "web-*" }]');
  return {
    store,
    query: {
      sessions: sessions ?? null,
      trackers: [...new Set(names)],
      from: since,
      to: until,
      containers: containers ?? null,
      filter: filterOf(where, services.fields, names),
    },
  };
}

/** Throws NO_STORE when the server was started without it. */
export function storeOf(kind: StoreKind, { stores }: Pick<Services, 'stores'>): Store {
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

function connectionOf({ events, hasNext, hasPrevious, gaps }: StoredPage): object {
  const edges = events.map(({ event, place }) => ({ node: event, session: place.session, cursor: cursorOf(place) }));
  return {
    nodes: events.map(({ event }) => event),
    edges,
    pageInfo: {
      hasNextPage: hasNext,
      hasPreviousPage: hasPrevious,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
    gaps,
  };
}

function cursorOf({ time, session, seq }: HistoryPlace): string {
  return Buffer.from(`h1:${time}:${session}:${seq}`).toString('base64url');
}

function placeOf(cursor: string): HistoryPlace {
  const [, time, session, seq] =
    /^h1:(\d{1,19}):([^:]{1,64}):(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
  if (time === undefined || session === undefined) {
    throw new EunomiaError(
      'BAD_CURSOR',
      `after: "${cursor.slice(0, 64)}" is no place in a history; use a cursor that a page of it gave, or leave it out`,
      { details: { argument: 'after' } },
    );
  }
  return { time: BigInt(time), session, seq: Number(seq) };
}
