import type { GraphQLResolveInfo } from 'graphql';
import type {
  QuerySessionArgs,
  QuerySessionsArgs,
  SessionEventsArgs,
  SessionStatsHistoryArgs,
  SubscriptionEventsArgs,
  SubscriptionSessionChangedArgs,
  SubscriptionSessionStatsArgs,
} from '../../../generated/schema.js';
import { EunomiaError } from '../../../base/errors.js';
import { textOfMs } from '../../../event/clock.js';
import type { CountedAt, SessionHandle } from '../../../service/session/handle.js';
import { Connection, connectionOfRows, pageOf, weightOfEvent } from '../connection.js';
import type { RequestContext } from '../context.js';
import { demandOfBatches } from '../demand.js';
import { FEW } from '../share.js';
import { typed, type ResolverMap } from './types.js';

type Page = Awaited<ReturnType<SessionHandle['page']>>;

/** A page of events as the schema has it. */
export async function connectionOfPage(
  page: Page,
  {
    windows,
    valuesAnEvent,
    readsGraph,
    service,
  }: Pick<RequestContext, 'windows' | 'valuesAnEvent' | 'readsGraph' | 'service'>,
  info: GraphQLResolveInfo,
): Promise<Connection> {
  if (readsGraph) await service.processes.sight(page.events);
  const connection = connectionOf(page, weightOfEvent(valuesAnEvent));
  windows?.add(connection, info);
  return connection;
}

function connectionOf(page: Page, weight: number): Connection {
  const { events, hasNext, hasPrevious, total, gaps } = page;
  const cursorAfter = (index: number): string => page.cursorAfter(index);
  const last = events.length - 1;
  return new Connection({
    events,
    edgeOf: (index) => ({ node: events[index], cursor: cursorAfter(index) }),
    pageInfo: () => ({
      hasNextPage: hasNext,
      hasPreviousPage: hasPrevious,
      startCursor: last < 0 ? null : cursorAfter(0),
      endCursor: last < 0 ? null : cursorAfter(last),
    }),
    gaps,
    totalCount: total === null ? null : String(total),
    weightOf: () => weight,
  });
}

function eventsOf(
  session: SessionHandle,
  { where, ...args }: SessionEventsArgs,
  { variables, share, caller, ...context }: RequestContext,
  info: GraphQLResolveInfo,
): Promise<Connection> {
  const request = { ...pageOf(args, info, variables), where };
  const isShort = where == null && (request.last ?? request.first ?? 0) <= FEW;
  return share[isShort ? 'short' : 'long'](async () => {
    const page = await session.page(request);
    // Once for all its processes, so that none of them has to wait.
    if (context.readsGraph) await context.service.processes.ready();
    return connectionOfPage(page, context, info);
  }, caller);
}

/** A cursor that came in a header is told as that. */
function ofHeader(error: unknown): unknown {
  if (!(error instanceof EunomiaError) || error.code !== 'BAD_CURSOR') return error;
  return new EunomiaError('BAD_CURSOR', error.message.replace(/^after: /, 'Last-Event-ID: '), {
    details: { ...error.details, argument: 'Last-Event-ID' },
    cause: error,
  });
}

/** Reading sessions, once and live. */
export const sessionResolvers = {
  Query: {
    sessions: typed<unknown, QuerySessionsArgs>((_root, { state, ...args }, context, info) => {
      const { service, caller, share, variables } = context;
      const request = { ...pageOf(args, info, variables), state: state ?? null };
      return share.long(
        async () => connectionOfRows(await service.sessions.page(caller, request), context, info),
        caller,
      );
    }),
    session: typed<unknown, QuerySessionArgs>((_root, { id }, { service, caller, share }) =>
      share.short(() => service.sessions.find(caller, id), caller),
    ),
  },
  Subscription: {
    events: {
      subscribe: typed<unknown, SubscriptionEventsArgs>(
        async (
          _root,
          { session: id, replay, after, where, sample, maxPerSecond, maxDelay },
          { service, caller, resumeAfter },
          info,
        ) => {
          const session = await service.sessions.need(caller, id);
          try {
            return session.subscribe({
              replay: (resumeAfter === null ? replay : null) ?? undefined,
              after: resumeAfter ?? after ?? undefined,
              demand: demandOfBatches(info),
              where,
              sample,
              maxPerSecond,
              maxDelay,
            });
          } catch (error) {
            throw resumeAfter === null ? error : ofHeader(error);
          }
        },
      ),
      resolve: (delivery) => delivery,
    },
    sessionStats: {
      subscribe: typed<unknown, SubscriptionSessionStatsArgs>(async (_root, { session, every }, { service, caller }) =>
        (await service.sessions.need(caller, session)).followStats(every ?? null),
      ),
      resolve: (stats) => stats,
    },
    sessionChanged: {
      subscribe: typed<unknown, SubscriptionSessionChangedArgs>((_root, { id }, { service, caller }) =>
        service.sessions.changes(caller, id ?? null),
      ),
      resolve: (session) => session,
    },
  },
  TraceEvent: {
    // Never throws: an executor that is compiled could not bear it.
    __resolveType: (event: unknown) =>
      typeof event === 'object' && event !== null ? Reflect.get(event, '__typename') : undefined,
  },
  Session: {
    problem: typed(({ error }: SessionHandle) => error),
    stats: typed((session: SessionHandle) => session.stats()),
    statsHistory: typed<SessionHandle, SessionStatsHistoryArgs>((session, args) => session.statsHistory(args)),
    explain: typed((session: SessionHandle) => session.explain()),
    notices: typed((session: SessionHandle) => session.notices()),
    undecided: typed((session: SessionHandle) => session.undecided()),
    events: typed<SessionHandle, SessionEventsArgs>(eventsOf),
  },
  SessionStatsPoint: {
    time: typed(({ atMs }: CountedAt) => textOfMs(atMs)),
  },
  Persistence: {
    problem: typed(({ error }: NonNullable<SessionHandle['persistence']>) => error),
  },
} satisfies ResolverMap;
