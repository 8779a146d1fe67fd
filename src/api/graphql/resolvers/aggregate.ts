import type {
  AggregateRowValueArgs,
  SessionAggregateArgs,
  SubscriptionAggregateArgs,
} from '../../../generated/schema.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import { typed, type ResolverMap } from './types.js';

type Row = Awaited<ReturnType<SessionHandle['aggregate']>>[number];

/** Events grouped and measured: what a session holds, and live. */
export const aggregateResolvers = {
  Session: {
    aggregate: typed<SessionHandle, SessionAggregateArgs>((session, { where, ...input }, { share, caller }) =>
      share.long(() => session.aggregate(input, where), caller),
    ),
  },
  Subscription: {
    aggregate: {
      subscribe: typed<unknown, SubscriptionAggregateArgs>(
        async (_root, { session: id, ...request }, { service, caller }) =>
          (await service.sessions.need(caller, id)).follow(request),
      ),
      resolve: (change) => change,
    },
  },
  AggregateRow: {
    value: typed<Row, AggregateRowValueArgs>(
      ({ values }, { name }) => values.find((value) => value.name === name) ?? null,
    ),
  },
} satisfies ResolverMap;
