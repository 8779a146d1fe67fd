import type { QueryNodeArgs, TraceEventValuesArgs } from '../../../generated/schema.js';
import type { Alerts } from '../../../service/alerts.js';
import type { PluginView } from '../../../service/plugins.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import type { TraceEvent } from '../../../event/event.js';
import { idOfEvent, placeOf } from '../../../record/place.js';
import { eventCursorOf } from '../../../service/nodes.js';
import type { RequestContext } from '../context.js';
import { typed, type AnyField, type ResolverMap } from './types.js';

type RaisedAlert = Parameters<Alerts['evidenceSessionOf']>[0];

/** What `Query.node` found is of a type that nothing else tells. */
const typeOf = new WeakMap<object, string>();

const MAX_SESSIONS = 100;
/** Of one operation: a page of a thousand events is of few sessions. */
const sessions = new WeakMap<RequestContext, Map<string, Promise<SessionHandle | null>>>();

function sessionOf(id: string, context: RequestContext): Promise<SessionHandle | null> {
  const known = sessions.get(context) ?? new Map<string, Promise<SessionHandle | null>>();
  sessions.set(context, known);
  const before = known.get(id);
  if (before) return before;
  const { service, caller, share } = context;
  const found = share.short(() => service.sessions.find(caller, id), caller);
  if (known.size >= MAX_SESSIONS) known.clear();
  known.set(id, found);
  return found;
}

/** The event that something leads to. */
function eventOf(
  { eventId }: { readonly eventId: string | null },
  _args: unknown,
  { service, caller, share }: RequestContext,
): Promise<TraceEvent | null> | null {
  return eventId === null ? null : share.short(() => service.nodes.event(caller, eventId), caller);
}

/** What identifies objects, and finds them again. */
export const nodeResolvers = {
  Query: {
    node: typed<unknown, QueryNodeArgs>((_root, { id }, { service, caller, share }) =>
      share.short(async () => {
        const found = await service.nodes.find(caller, id);
        if (found) typeOf.set(found.object, found.type);
        return found?.object ?? null;
      }, caller),
    ),
  },
  Node: {
    // Never throws: an executor that is compiled could not bear it.
    __resolveType: (value: unknown) =>
      typeof value === 'object' && value !== null ? (typeOf.get(value) ?? Reflect.get(value, '__typename')) : undefined,
  },
  Alert: {
    evidenceSessionId: typed<RaisedAlert>((alert, _args, { service }) => service.alerts.evidenceSessionOf(alert)),
    evidenceSession: typed<RaisedAlert>((alert, _args, context) => {
      const id = context.service.alerts.evidenceSessionOf(alert);
      return id === null ? null : sessionOf(id, context);
    }),
    sessionId: typed(({ session }: { readonly session: string | null }) => session),
    session: typed(({ session }: { readonly session: string | null }, _args, context) =>
      session === null ? null : sessionOf(session, context),
    ),
    event: typed(eventOf),
  },
  PluginResult: {
    event: typed(eventOf),
  },
  HistoryEdge: {
    session: typed(({ session }: { readonly session: string }, _args, context) => sessionOf(session, context)),
  },
  Plugin: {
    sessions: typed(({ sessionIds }: PluginView, _args, context) =>
      Promise.all(sessionIds.map((id) => sessionOf(id, context))).then((all) => all.filter((one) => one !== null)),
    ),
  },
} satisfies ResolverMap;

/** Of each type of event. Events themselves have none of these: whoever does not select them pays nothing. */
export const eventResolvers: Readonly<Record<string, AnyField>> = {
  id: typed((event: object) => {
    return idOfEvent(event);
  }),
  cursor: typed((event: object) => {
    const place = placeOf(event);
    return place && eventCursorOf(place);
  }),
  session: typed((event: object, _args, context) => {
    const place = placeOf(event);
    return place && sessionOf(place.session, context);
  }),
  values: typed<TraceEvent, TraceEventValuesArgs>((event, { fields }, { service, caller }) =>
    service.facts.values(caller, fields, 'fields').of(event),
  ),
};
