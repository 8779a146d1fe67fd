import type { HistoryAggregateArgs, HistoryEventsArgs, QueryHistoryArgs } from '../../../generated/schema.js';
import type { TraceEvent } from '../../../event/event.js';
import type { History, HistoryPage } from '../../../service/history.js';
import type { Caller } from '../../../access/caller.js';
import { turns } from '../../../base/turn.js';
import { Connection, pageOf, weightOfEvent, type ConnectionOptions } from '../connection.js';
import type { ClientShare } from '../share.js';
import { typed, type ResolverMap } from './types.js';

/** The events of the past, over sessions. */
export const historyResolvers = {
  Query: {
    history: typed<unknown, QueryHistoryArgs>(async (_root, args, { service, caller }) => {
      // Its filter is compiled: an operation may have as many as it may have aliases.
      if (!turns.isOpen) await turns.next('REQUEST');
      return service.histories.open(caller, args);
    }),
    stores: typed((_root: unknown, _args, { service, caller, share }) =>
      share.short(() => service.histories.stores(caller), caller),
    ),
  },
  History: {
    events: typed<History, HistoryEventsArgs>(
      (history, args, { variables, windows, share, caller, valuesAnEvent, readsGraph, service }, info) =>
        share.long(async () => {
          const page = await history.page(pageOf(args, info, variables));
          if (readsGraph) {
            await service.processes.ready();
            await service.processes.sight(page.events.map(({ event }) => event));
          }
          const connection = connectionOf(page, history, weightOfEvent(valuesAnEvent));
          windows?.add(connection, info);
          return connection;
        }, caller),
    ),
    aggregate: typed<History, HistoryAggregateArgs>((history, args, { share, caller }) =>
      share.long(() => history.aggregate(args), caller),
    ),
  },
  HistoryConnection: {
    totalCount: typed<HistoryConnection>((connection, _args, { share, caller }) => connection.count(share, caller)),
  },
} satisfies ResolverMap;

/** Its events are counted once somebody selects that, and once for all windows of a long page. */
class HistoryConnection extends Connection {
  readonly #history: History;
  #counted: Promise<string | null> | null = null;

  constructor(history: History, options: ConnectionOptions<TraceEvent>) {
    super(options);
    this.#history = history;
  }

  count(share: ClientShare, caller: Caller): Promise<string | null> {
    return (this.#counted ??= share
      .long(() => this.#history.count(), caller)
      .then((count) => (count === null ? null : String(count))));
  }
}

function connectionOf(
  { events, cursorAt, hasNext, hasPrevious, gaps }: HistoryPage,
  history: History,
  weight: number,
): HistoryConnection {
  return new HistoryConnection(history, {
    events: events.map(({ event }) => event),
    edgeOf: (index) => ({
      node: events[index]?.event,
      session: events[index]?.session,
      cursor: cursorAt(index),
    }),
    pageInfo: () => ({
      hasNextPage: hasNext,
      hasPreviousPage: hasPrevious,
      startCursor: events.length ? cursorAt(0) : null,
      endCursor: events.length ? cursorAt(events.length - 1) : null,
    }),
    gaps,
    weightOf: () => weight,
  });
}
