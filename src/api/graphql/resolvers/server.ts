import type {
  ContainerLabelArgs,
  QueryContainerArgs,
  QueryContainersArgs,
  QueryProcessArgs,
  QueryTrackersArgs,
  SubscriptionContainerChangedArgs,
} from '../../../generated/schema.js';
import { errorCodes, errorTable, type ErrorEntry } from '../../../base/error-code.js';
import type { ServerView, TrackerView } from '../../../service/facts.js';
import { connectionOfRows, pageOf } from '../connection.js';
import { typed, type ResolverMap } from './types.js';

/** A container or a pod. */
interface Labelled {
  readonly labels: Readonly<Record<string, string>>;
}

type Feature = ServerView['kernel']['features'][number];
type EngineFacts = ServerView['engines'][number];

const errorDescriptions = errorCodes.map((code) => {
  const { meaning, remedy, status }: ErrorEntry = errorTable[code];
  return { code, meaning, remedy, httpStatus: status };
});

/** Facts: the server and its kernel, trackers, containers, processes. */
export const serverResolvers = {
  Query: {
    server: typed((_root: unknown, _args, { service, caller }) => service.facts.server(caller)),
    trackers: typed<unknown, QueryTrackersArgs>((_root, { name }, { service, caller }) =>
      service.facts.trackers(caller, name ?? null),
    ),
    containers: typed<unknown, QueryContainersArgs>(async (_root, { where, ...args }, context, info) => {
      const { service, caller, variables } = context;
      const request = { ...pageOf(args, info, variables), where: where ?? null };
      return connectionOfRows(await service.facts.containerPage(caller, request), context, info);
    }),
    container: typed<unknown, QueryContainerArgs>((_root, { ref }, { service, caller }) =>
      service.facts.container(caller, ref),
    ),
    process: typed<unknown, QueryProcessArgs>((_root, { pid, startTime }, { service, caller }) =>
      service.processes.process(caller, pid, startTime ?? null),
    ),
  },
  Subscription: {
    containerChanged: {
      subscribe: typed<unknown, SubscriptionContainerChangedArgs>((_root, { where }, { service, caller }) =>
        service.facts.containerChanges(caller, where ?? null),
      ),
      resolve: (change) => change,
    },
    serverChanged: {
      subscribe: typed((_root: unknown, _args, { service, caller }) => service.facts.serverChanges(caller)),
      resolve: (server) => server,
    },
  },
  Server: {
    engine: typed((server: ServerView) => server.engine()),
    errorCodes: () => errorDescriptions,
  },
  KernelFeature: {
    problem: typed(({ reason }: Feature) => reason),
  },
  ContainerEngine: {
    problem: typed(({ error }: EngineFacts) => error),
  },
  // Only who asks for these waits for the kernel.
  Tracker: {
    available: typed(async (tracker: TrackerView) => (await tracker.status()).available),
    problem: typed(async (tracker: TrackerView) => (await tracker.status()).reason),
    hooks: typed(async (tracker: TrackerView) => (await tracker.status()).hooks),
    capabilities: typed(async (tracker: TrackerView) => (await tracker.status()).capabilities),
    missingCapabilities: typed(async (tracker: TrackerView) => (await tracker.status()).missingCapabilities),
    blindSpots: typed(async (tracker: TrackerView) => [...(await tracker.status()).blindSpots, ...tracker.blindSpots]),
  },
  TrackerField: { type: typed(({ valueType }: TrackerView['fields'][number]) => valueType) },
  TrackerOption: { type: typed(({ valueType }: TrackerView['options'][number]) => valueType) },
  Container: {
    labels: typed(labelList),
    label: typed<Labelled, ContainerLabelArgs>(({ labels }, { name }) =>
      Object.hasOwn(labels, name) ? labels[name] : null,
    ),
  },
  Pod: {
    labels: typed(labelList),
  },
} satisfies ResolverMap;

function labelList({ labels }: Labelled): { name: string; value: string }[] {
  return Object.entries(labels)
    .map(([name, value]) => ({ name, value }))
    .sort((a, b) => compare(a.name, b.name));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
