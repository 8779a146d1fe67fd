import {
  Aggregator,
  compileAggregate,
  demandOf,
  LiveAggregate,
  type AggregateRow,
} from '../../consumers/aggregate/index.js';
import type { AggregateRowValueArgs, SessionAggregateArgs, SubscriptionAggregateArgs } from '../../generated/schema.js';
import { inRange, spanInRange } from '../check.js';
import { filterFor, useSession } from './session.js';
import { aggregateOf, trackersOf, type AnySession } from './stored.js';
import { guarded, typed, type ResolverMap } from './types.js';

const MAX_REPLAY = 1_000_000;
const MIN_EVERY_MS = 100;
const HOUR = 3_600_000;

/** Events grouped and measured: what a session holds, and live. */
export const aggregateResolvers: ResolverMap = {
  Session: {
    aggregate: typed<AnySession, SessionAggregateArgs>((session, { where, ...args }, context) => {
      const filter = filterFor(session, where, context);
      return guarded(
        aggregateOf(session, compileAggregate(args, context.services.catalog, trackersOf(session)), filter),
      );
    }),
  },
  Subscription: {
    aggregate: {
      subscribe: typed<unknown, SubscriptionAggregateArgs>(
        (_root, { session: id, every, replay, where, ...args }, context) => {
          const session = useSession(id, context);
          const { catalog } = context.services;
          const everyMs = spanInRange('every', every ?? 1000, MIN_EVERY_MS, HOUR);
          const spec = compileAggregate(args, catalog, trackersOf(session));
          const checked = replay == null ? undefined : inRange('replay', replay, 0, MAX_REPLAY, 'events');
          const filter = filterFor(session, where, context);
          const demand = demandOf(spec, catalog, trackersOf(session));
          // The aggregator judges, not the stream: it tells how many events it discarded.
          const source = session.subscribe({ replay: checked, demand: filter?.with(demand) ?? demand, lends: true });
          return new LiveAggregate(
            new Aggregator(spec, { live: true, accept: filter?.matches }),
            source,
            everyMs,
            session.sums ? () => session.refresh() : null,
          );
        },
      ),
      resolve: (change) => change,
    },
  },
  AggregateRow: {
    value: typed<AggregateRow, AggregateRowValueArgs>(
      ({ values }, { name }) => values.find((value) => value.name === name) ?? null,
    ),
  },
};
