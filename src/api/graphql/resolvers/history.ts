import type { HistoryAggregateArgs, HistoryEventsArgs, QueryHistoryArgs } from '../../../generated/schema.js';
import type { History, HistoryPage } from '../../../service/history.js';
import { turns } from '../../../base/turn.js';
import { Connection } from '../connection.js';
import { typed, type ResolverMap } from './types.js';

/** The events of the past, over sessions. */
export const historyResolvers = {
  Query: {
    history: typed<unknown, QueryHistoryArgs>(async (_root, args, { service, caller }) => {
      // Its filter is compiled: an operation may have as many as it may have aliases.
      if (!turns.isOpen) await turns.next('REQUEST');
      return service.histories.open(caller, args);
    }),
    stores: typed((_root: unknown, _args, { service, caller }) => service.histories.stores(caller)),
  },
  History: {
    events: typed<History, HistoryEventsArgs>((history, { first, after }, { windows }, info) =>
      history.page(first ?? 100, after ?? null).then((page) => {
        const connection = connectionOf(page);
        windows?.add(connection, info);
        return connection;
      }),
    ),
    aggregate: typed<History, HistoryAggregateArgs>((history, args) => history.aggregate(args)),
  },
} satisfies ResolverMap;

function connectionOf({ events, hasNext, hasPrevious, gaps }: HistoryPage): Connection {
  return new Connection({
    events: events.map(({ event }) => event),
    edgeOf: (index) => ({
      node: events[index]?.event,
      session: events[index]?.session,
      cursor: events[index]?.cursor,
    }),
    pageInfo: () => ({
      hasNextPage: hasNext,
      hasPreviousPage: hasPrevious,
      startCursor: events[0]?.cursor ?? null,
      endCursor: events.at(-1)?.cursor ?? null,
    }),
    gaps,
  });
}
