import type { GraphQLResolveInfo } from 'graphql';
import type {
  ContainerEventsArgs,
  ContainerSessionsArgs,
  ProcessAncestorsArgs,
  ProcessChildrenArgs,
  ProcessEventsArgs,
  ProcessOpenFilesArgs,
  ProcessSocketsArgs,
} from '../../../generated/schema.js';
import type { ProcessView } from '../../../event/event.js';
import { listeningPorts } from '../../../service/containers.js';
import type { SessionHandle } from '../../../service/session/handle.js';
import type { FoundProcess } from '../../../service/processes.js';
import { pageOf } from '../connection.js';
import type { RequestContext } from '../context.js';
import { connectionOfPage } from './session.js';
import { held } from './held.js';
import { typed, type ResolverMap } from './types.js';

/** As the registry has it: what resolvers of its fields get. */
type Container = SessionHandle['containers'][number];

type Read<Args> = (found: FoundProcess | null, args: Args, context: RequestContext) => unknown;

/** A field of what the table knows of a process. No promise while nothing has to be waited for. */
function looked<Args>(read: Read<Args>) {
  return typed<ProcessView, Args>((process, args, context) => {
    const found = context.service.processes.find(context.caller, process);
    return found instanceof Promise ? found.then((one) => read(one, args, context)) : read(found, args, context);
  });
}

/** The same; null where it does not know the process. */
function known(read: (found: FoundProcess, context: RequestContext) => unknown) {
  return looked<object>((found, _args, context) => found && read(found, context));
}

const ofImage = (name: 'executable' | 'executableState' | 'executableDeleted' | 'args' | 'argsTruncated') =>
  known((found) => imageOf(found)?.[name] ?? null);
const ofCwd = (name: 'cwd' | 'cwdState' | 'cwdDeleted') => known((found) => imageOf(found)?.[name] ?? null);

function imageOf({ known: process, sighting }: FoundProcess) {
  return process.at(sighting.atNs).image;
}

async function eventsOf(
  process: ProcessView,
  { where, session, ...args }: ProcessEventsArgs,
  context: RequestContext,
  info: GraphQLResolveInfo,
) {
  const { service, caller, share, variables } = context;
  if (!held(context).countList()) return null;
  const request = { ...pageOf(args, info, variables), where };
  return share.long(async () => {
    const page = await service.processes.eventsOf(caller, process, session ?? null, request);
    if (context.readsGraph) await service.processes.ready();
    return page && connectionOfPage(page, context, info);
  }, caller);
}

/** Where a process leads to. */
export const processResolvers = {
  Process: {
    identity: typed((process: ProcessView, _args, { service, caller }) =>
      service.processes.identityOf(caller, process),
    ),
    executable: ofImage('executable'),
    executableState: ofImage('executableState'),
    executableDeleted: ofImage('executableDeleted'),
    args: ofImage('args'),
    argsTruncated: ofImage('argsTruncated'),
    cwd: ofCwd('cwd'),
    cwdState: ofCwd('cwdState'),
    cwdDeleted: ofCwd('cwdDeleted'),
    exitTime: known((found, { service }) => service.processes.exitTimeOf(found)),
    exitCode: known((found, { service }) => service.processes.exitCodeOf(found)),
    exitSignal: known((found, { service }) => service.processes.exitSignalOf(found)),
    user: typed(async (process: ProcessView, _args, { service, caller }) =>
      service.processes.userOf(await service.processes.find(caller, process), process),
    ),
    container: known((found, { service }) => service.processes.containerOf(found)),
    parent: known((found, { service }) => service.processes.parentOf(found)),
    ancestors: looked<ProcessAncestorsArgs>((found, { first }, context) =>
      held(context).bounded(context.service.processes.ancestorsOf(found, first ?? 16)),
    ),
    children: looked<ProcessChildrenArgs>((found, { first, running }, context) =>
      held(context).bounded(context.service.processes.childrenOf(found, first ?? 100, running ?? null)),
    ),
    events: typed<ProcessView, ProcessEventsArgs>(eventsOf),
    openFiles: typed<ProcessView, ProcessOpenFilesArgs>(async (process, { first }, context) => {
      const { service, caller } = context;
      const found = await service.processes.find(caller, process);
      return held(context).bounded(await held(context).of('openFiles', found, process, first ?? 100));
    }),
    sockets: typed<ProcessView, ProcessSocketsArgs>(async (process, { first, listening }, context) => {
      const { service, caller } = context;
      const found = await service.processes.find(caller, process);
      const matches = listening == null ? undefined : (row: object) => Reflect.get(row, 'listening') === listening;
      return held(context).bounded(await held(context).of('sockets', found, process, first ?? 100, matches));
    }),
  },
  Container: {
    listeningPorts: typed(async ({ id }: Container, _args, context) =>
      listeningPorts(await held(context).ofContainer(id)),
    ),
    sessions: typed<Container, ContainerSessionsArgs>((container, { state }, context) => {
      const { service, caller, share } = context;
      return held(context).once(`sessions ${container.id} ${state ?? ''}`, () =>
        share.long(() => service.containers.sessions(caller, container, state ?? null), caller),
      );
    }),
    events: typed<Container, ContainerEventsArgs>((container, { where, session, ...args }, context, info) => {
      const { service, caller, share, variables } = context;
      if (!held(context).countList()) return null;
      const request = { ...pageOf(args, info, variables), where };
      return share.long(async () => {
        const page = await service.containers.events(caller, container, session, request);
        if (context.readsGraph) await service.processes.ready();
        return page && connectionOfPage(page, context, info);
      }, caller);
    }),
    resources: typed((container: Container, _args, context) => {
      const { service, caller } = context;
      return held(context).once(`resources ${container.id}`, () => service.containers.resources(caller, container));
    }),
  },
  Server: {
    processTable: typed((_server: object, _args, { service, caller }) => service.processes.table(caller)),
  },
} satisfies ResolverMap;
