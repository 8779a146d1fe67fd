import type {
  MutationRemoveSessionArgs,
  MutationStartSessionArgs,
  MutationStopSessionArgs,
  MutationTraceArgs,
  MutationUpdateSessionArgs,
} from '../../../generated/schema.js';
import { demandOfSession } from '../demand.js';
import { isWritten } from '../written.js';
import { typed, type ResolverMap } from './types.js';

/** Starting and stopping. */
export const mutationResolvers = {
  Mutation: {
    startSession: typed<unknown, MutationStartSessionArgs>((_root, { input }, { service, caller }) =>
      service.sessions.start(caller, input),
    ),
    updateSession: typed<unknown, MutationUpdateSessionArgs>((_root, { id, input }, { service, caller }) =>
      service.sessions.update(caller, id, input),
    ),
    stopSession: typed<unknown, MutationStopSessionArgs>((_root, { id }, { service, caller }) =>
      service.sessions.stop(caller, id),
    ),
    removeSession: typed<unknown, MutationRemoveSessionArgs>(async (_root, { id }, { service, caller }) => {
      await service.sessions.remove(caller, id);
      return id;
    }),
    trace: typed<unknown, MutationTraceArgs>((_root, args, { service, caller, variables }, info) =>
      service.sessions.trace(caller, {
        ...args,
        capture: isWritten(info, variables, ['input', 'capture']) ? (args.input.capture ?? 'DEFAULT') : null,
        selects: (readBy) =>
          demandOfSession(info, readBy, service.reports.demand, (name) => service.queries.aggregate(caller, name)),
      }),
    ),
  },
} satisfies ResolverMap;
