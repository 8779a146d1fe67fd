import type { GraphQLResolveInfo } from 'graphql';
import { StoredSession } from '../../consumers/store/session.js';
import type {
  MutationRemoveSessionArgs,
  MutationStartSessionArgs,
  MutationStopSessionArgs,
  MutationTraceArgs,
  StartSessionInput,
} from '../../generated/schema.js';
import type { Demand } from '../../event.js';
import { filterOf } from '../../filter/index.js';
import type { Session } from '../../pipeline/session.js';
import { inRange, isWritten, spanInRange } from '../check.js';
import type { RequestContext } from '../context.js';
import { demandOfSession } from '../demand.js';
import type { SessionSpec } from '../../pipeline/spec.js';
import { sessionSpec } from '../input.js';
import { pluginRequests } from './plugin.js';
import { needSession } from './stored.js';
import { typed, type ResolverMap } from './types.js';

const TEN_MINUTES = 600_000;
const DEFAULT_TRACE_MS = 10_000;
const DEFAULT_TRACE_TTL_MS = 60_000;
const MAX_LIMIT = 2 ** 31 - 1;

/** Starting and stopping. Whoever comes here is an operator: the engine has seen to it. */
export const mutationResolvers: ResolverMap = {
  Mutation: {
    startSession: typed<unknown, MutationStartSessionArgs>((_root, { input }, context) =>
      start(sessionSpec(input, context.services.catalog, context.services.fields), input, context),
    ),
    stopSession: typed<unknown, MutationStopSessionArgs>(async (_root, { id }, context) => {
      const session = await needSession(id, context);
      if (session instanceof StoredSession) return session;
      const { manager, plugins } = context.services;
      const stopped = await manager.stop(id, 'REQUESTED');
      await plugins.settled(id); // all that they found is there when the answer is
      return stopped;
    }),
    removeSession: typed<unknown, MutationRemoveSessionArgs>(async (_root, { id }, context) => {
      const session = await needSession(id, context);
      if (session instanceof StoredSession) await session.store.remove(id);
      else {
        await context.services.manager.remove(id);
        if (session.recording) await context.services.stores.get(session.recording.stats.store)?.remove(id);
      }
      return id;
    }),
    trace: typed<unknown, MutationTraceArgs>((_root, args, context, info) => trace(args, context, info)),
  },
};

/** Starts a session with its plugins, which see it from its first event on. What is wrong with one of them is told before anything is loaded. */
async function start(
  spec: SessionSpec,
  { plugins }: StartSessionInput,
  { services }: RequestContext,
): Promise<Session> {
  const requests = pluginRequests(plugins);
  const trackers = spec.trackers.map(({ name }) => name);
  const where = (index: number): string => `input.plugins[${index}]`;
  const reads = requests.flatMap((request, index) =>
    Object.values(services.plugins.check(request, trackers, where(index)).facts.reads).flat(),
  );
  const fields = [...new Set([...spec.fields, ...reads.map((path) => path.split('.')[0] ?? path)])];
  const session = await services.manager.start({ ...spec, fields });
  requests.forEach((request, index) => services.plugins.attach(session, request, true, where(index)));
  return session;
}

async function trace(
  { input, for: forMs, limit }: MutationTraceArgs,
  context: RequestContext,
  info: GraphQLResolveInfo,
): Promise<Session> {
  const { manager, catalog, fields } = context.services;
  if (forMs != null) spanInRange('for', forMs, 10, TEN_MINUTES);
  else if (input.for != null) spanInRange('input.for', input.for, 10, TEN_MINUTES);
  const names = input.trackers.flatMap((entry) => Object.keys(entry)).filter((name) => catalog.get(name));
  // Also a check of each filter: not one is found wrong only after the session ran.
  const readBy = (where: unknown): Demand | null =>
    names.length ? (filterOf(where, fields, names)?.demand ?? null) : null;
  const spec = sessionSpec(input, catalog, fields, {
    forMs: forMs ?? input.for ?? DEFAULT_TRACE_MS,
    ttlMs: DEFAULT_TRACE_TTL_MS,
    limit: limit == null ? null : inRange('limit', limit, 1, MAX_LIMIT, 'events'),
    capture: isWritten(info, context.variables, ['input', 'capture']) ? (input.capture ?? 'DEFAULT') : 'DEMANDED',
    fields: [...new Set([...demandOfSession(info, readBy).values()].flatMap((read) => [...read]))],
  });
  const session = await start(spec, input, context);
  const abandon = (): void => {
    manager
      .stop(session.id, 'ABANDONED')
      .catch((error: unknown) =>
        context.services.log.error({ error, session: session.id }, 'stopping an abandoned trace'),
      );
  };
  if (context.signal.aborted) abandon();
  else context.signal.addEventListener('abort', abandon, { once: true });
  try {
    await session.done;
    await context.services.plugins.settled(session.id);
  } finally {
    context.signal.removeEventListener('abort', abandon);
  }
  return session;
}
