import type { GraphQLResolveInfo } from 'graphql';
import { invalid } from '../../errors.js';
import type { TraceEvent } from '../../event.js';
import { StoredSession } from '../../consumers/store/session.js';
import type {
  QuerySessionArgs,
  QuerySessionsArgs,
  SessionEventsArgs,
  SubscriptionEventsArgs,
  SubscriptionSessionChangedArgs,
} from '../../generated/schema.js';
import { filterOf, type EventFilter } from '../../filter/index.js';
import type { Page, Session } from '../../pipeline/session.js';
import { inRange, isWritten } from '../check.js';
import type { RequestContext } from '../context.js';
import { demandOfBatches } from '../demand.js';
import { unknownSession } from './server.js';
import { allSessions, findSession, needSession, pageOf, subscribeTo, trackersOf, type AnySession } from './stored.js';
import { guarded, typed, type ResolverMap } from './types.js';

const MAX_PAGE = 100_000;
const MAX_REPLAY = 1_000_000;

/** The session, counted as used. */
export function useSession(id: string, { services }: RequestContext): Session {
  const session = services.manager.get(id);
  if (!session) throw unknownSession(id);
  session.touch();
  return session;
}

/** A page as the schema's connection; what nobody selects is not made. Properties, not resolvers: they compile to plain reads. */
class Connection {
  readonly #page: Page;
  #edges: { node: TraceEvent; cursor: string }[] | null = null;

  constructor(page: Page) {
    this.#page = page;
  }

  get nodes(): readonly TraceEvent[] {
    return this.#page.events;
  }

  get edges(): readonly { node: TraceEvent; cursor: string }[] {
    return (this.#edges ??= this.#page.events.map((node, index) => ({ node, cursor: this.#cursor(index) })));
  }

  get pageInfo(): Record<string, unknown> {
    const { events, hasNext, hasPrevious } = this.#page;
    const last = events.length - 1;
    return {
      hasNextPage: hasNext,
      hasPreviousPage: hasPrevious,
      startCursor: last < 0 ? null : this.#cursor(0),
      endCursor: last < 0 ? null : this.#cursor(last),
    };
  }

  get totalCount(): number {
    return Number(this.#page.total);
  }

  get gaps(): Page['gaps'] {
    return this.#page.gaps;
  }

  #cursor(index: number): string {
    return this.#page.cursorAfter(index);
  }
}

/** The argument `where`, for events of the session; null when it takes them all. */
export function filterFor(session: AnySession, where: unknown, { services }: RequestContext): EventFilter | null {
  if (where == null) return null;
  return filterOf(where, services.fields, trackersOf(session));
}

function connectionOf(
  session: AnySession,
  { first, last, after, where }: SessionEventsArgs,
  context: RequestContext,
  info: GraphQLResolveInfo,
): Promise<Connection> {
  if (last != null) {
    // `first` has a default, so that only the document tells whether both were asked for.
    if (isWritten(info, context.variables, ['first']))
      throw invalid('last', 'cannot be joined with `first`; give one of them');
    if (after != null)
      throw invalid('last', 'cannot be joined with `after`; the newest events need no place to start from');
  }
  const range =
    last != null
      ? { last: inRange('last', last, 1, MAX_PAGE) }
      : { first: inRange('first', first ?? 100, 1, MAX_PAGE), after: after ?? undefined };
  const filter = filterFor(session, where, context);
  return guarded(pageOf(session, { ...range, where: filter }).then((page) => new Connection(page)));
}

function factsOf(session: AnySession): Pick<Session['spec'], 'name' | 'labels' | 'capture'> {
  return session instanceof StoredSession ? session.record : session.spec;
}

/** Of a session that only its store remembers. */
function persistenceOf({ store, record }: StoredSession): Record<string, unknown> {
  return {
    store: store.kind,
    mode: record.mode,
    state: 'DONE',
    written: record.events,
    pending: 0,
    dropped: record.missing,
    lagMs: 0,
    error: null,
  };
}

/** Reading sessions, once and live. */
export const sessionResolvers: ResolverMap = {
  Query: {
    sessions: typed<unknown, QuerySessionsArgs>((_root, { state }, context) =>
      guarded(allSessions(context).then((list) => list.filter((session) => state == null || session.state === state))),
    ),
    session: typed<unknown, QuerySessionArgs>((_root, { id }, context) => guarded(findSession(id, context))),
  },
  Subscription: {
    events: {
      subscribe: typed<unknown, SubscriptionEventsArgs>(
        async (_root, { session: id, replay, after, where }, context, info) => {
          if (replay != null && after != null)
            throw invalid('replay', 'cannot be joined with `after`; give one of them');
          const checked = replay == null ? undefined : inRange('replay', replay, 0, MAX_REPLAY, 'events');
          const session = await needSession(id, context);
          const filter = filterFor(session, where, context);
          const demand = demandOfBatches(info);
          return subscribeTo(session, {
            replay: checked,
            after: after ?? undefined,
            demand: filter?.with(demand) ?? demand,
            where: filter,
          });
        },
      ),
      resolve: (delivery) => delivery,
    },
    sessionChanged: {
      subscribe: typed<unknown, SubscriptionSessionChangedArgs>((_root, { id }, context) => {
        if (id != null) useSession(id, context);
        return context.services.manager.changes(id ?? undefined);
      }),
      resolve: (session) => session,
    },
  },
  TraceEvent: {
    // Never throws: an executor that is compiled could not bear it.
    __resolveType: (event: unknown) =>
      typeof event === 'object' && event !== null ? Reflect.get(event, '__typename') : undefined,
  },
  Session: {
    name: typed((session: AnySession) => factsOf(session).name),
    labels: typed((session: AnySession) => factsOf(session).labels),
    trackers: typed(trackersOf),
    capture: typed((session: AnySession) => factsOf(session).capture),
    captured: typed((session: AnySession) => (session instanceof StoredSession ? [] : session.captured())),
    explain: typed((session: AnySession) => session.explain()),
    containers: typed((session: AnySession) => (session instanceof StoredSession ? [] : session.containers())),
    stats: typed((session: AnySession) => guarded(session.stats())),
    persistence: typed((session: AnySession) =>
      session instanceof StoredSession ? persistenceOf(session) : (session.recording?.stats ?? null),
    ),
    events: typed<AnySession, SessionEventsArgs>(connectionOf),
  },
};
