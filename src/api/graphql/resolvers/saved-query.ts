import type {
  HistorySavedAggregateArgs,
  MutationDeleteQueryArgs,
  MutationSaveQueryArgs,
  QuerySavedQueriesArgs,
  QuerySavedQueryArgs,
  SessionSavedAggregateArgs,
  SubscriptionSavedAggregateArgs,
} from '../../../generated/schema.js';
import type { History } from '../../../service/history.js';
import type { SavedQueryView } from '../../../service/saved-queries/queries.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import { connectionOfRows, pageOf } from '../connection.js';
import { typed, type ResolverMap } from './types.js';

/** Saved queries, and aggregates by their names. */
export const savedQueryResolvers = {
  Query: {
    savedQueries: typed<unknown, QuerySavedQueriesArgs>((_root, { kind, ...args }, context, info) => {
      const { service, caller, variables } = context;
      const request = { ...pageOf(args, info, variables), kind: kind ?? null };
      return connectionOfRows(service.queries.page(caller, request), context, info);
    }),
    savedQuery: typed<unknown, QuerySavedQueryArgs>((_root, { name }, { service, caller }) =>
      service.queries.find(caller, name),
    ),
  },
  Mutation: {
    saveQuery: typed<unknown, MutationSaveQueryArgs>((_root, request, { service, caller }) =>
      service.queries.save(caller, request),
    ),
    deleteQuery: typed<unknown, MutationDeleteQueryArgs>(async (_root, { name, ifVersion }, { service, caller }) => {
      await service.queries.delete(caller, name, ifVersion ?? null);
      return name;
    }),
  },
  Subscription: {
    savedAggregate: {
      subscribe: typed<unknown, SubscriptionSavedAggregateArgs>(
        async (_root, { session: id, name, where, every, replay }, { service, caller }) => {
          const session = await service.sessions.need(caller, id);
          const saved = service.queries.aggregate(caller, name, where);
          return session.follow({ ...saved.input, where: saved.where, every, replay });
        },
      ),
      resolve: (change) => change,
    },
  },
  Session: {
    savedAggregate: typed<SessionHandle, SessionSavedAggregateArgs>(
      (session, { name, where }, { service, share, caller }) =>
        share.long(() => {
          const saved = service.queries.aggregate(caller, name, where);
          return session.aggregate(saved.input, saved.where);
        }, caller),
    ),
  },
  History: {
    savedAggregate: typed<History, HistorySavedAggregateArgs>((history, { name }, { service, share, caller }) =>
      share.long(() => {
        const saved = service.queries.aggregate(caller, name);
        return history.aggregate(saved.input, saved.where);
      }, caller),
    ),
  },
  SavedQuery: {
    queries: typed((query: SavedQueryView, _args, { service }) => service.queries.listedBy(query)),
  },
} satisfies ResolverMap;
