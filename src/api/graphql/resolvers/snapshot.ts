import type { GraphQLResolveInfo } from 'graphql';
import type { QueryProcessesArgs } from '../../../generated/schema.js';
import type { SnapshotKind, SnapshotPage, SocketOwner } from '../../../service/snapshots.js';
import { Connection, inWindows, ofRows, pageOf, weightOfEvent } from '../connection.js';
import type { RequestContext } from '../context.js';
import { held } from './held.js';
import { typed, type ResolverMap } from './types.js';

type Args = Omit<QueryProcessesArgs, 'where'> & { readonly where?: unknown };

/** A page of a snapshot. */
export class SnapshotConnection extends Connection {
  readonly takenAt: string;
  readonly complete: boolean;

  constructor(page: SnapshotPage, weight: number) {
    super({ ...ofRows(page), weightOf: (index) => page.weightOf(index) * weight });
    this.takenAt = page.takenAt;
    this.complete = page.complete;
  }
}

function read(
  kind: SnapshotKind,
  container: string | null,
  { where, ...args }: Args,
  context: RequestContext,
  info: GraphQLResolveInfo,
): Promise<SnapshotConnection> {
  const { service, caller, share, windows, variables, valuesAnEvent, readsGraph } = context;
  const request = { ...pageOf(args, info, variables), where };
  const take = () => service.snapshots.page(caller, kind, request, container);
  return share.long(async () => {
    // A thousand events of one container are one reading.
    const page = await (container === null
      ? take()
      : held(context).once(`${kind} ${container} ${JSON.stringify(request)}`, take));
    if (readsGraph) await service.processes.ready();
    const connection = new SnapshotConnection(page, weightOfEvent(valuesAnEvent));
    windows?.add(connection, info);
    return connection;
  }, caller);
}

const ofAll = (kind: SnapshotKind) =>
  typed<unknown, Args>((_root, args, context, info) => read(kind, null, args, context, info));
const ofContainer = (kind: SnapshotKind) =>
  typed<{ readonly id: string }, Args>(({ id }, args, context, info) => read(kind, id, args, context, info));

/** What there is now, by reading the kernel once. */
export const snapshotResolvers = {
  Query: {
    processes: ofAll('processes'),
    sockets: ofAll('sockets'),
    openFiles: ofAll('openFiles'),
    mounts: ofAll('mounts'),
  },
  Container: {
    processes: ofContainer('processes'),
    sockets: ofContainer('sockets'),
    openFiles: ofContainer('openFiles'),
    mounts: ofContainer('mounts'),
  },
  Socket: {
    // A compiled operation takes no promises in a list.
    owners: typed<{ readonly owners: readonly SocketOwner[] }>(({ owners }, _args, { windows }) =>
      windows ? owners : inWindows(owners),
    ),
  },
} satisfies ResolverMap;
