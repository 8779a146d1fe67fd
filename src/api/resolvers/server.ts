import { compileSelector } from '../../containers/selector.js';
import type { Container, Pod } from '../../containers/container.js';
import { EunomiaError, invalid } from '../../errors.js';
import type {
  ContainerLabelArgs,
  QueryContainerArgs,
  QueryContainersArgs,
  QueryProcessArgs,
  QueryTrackersArgs,
} from '../../generated/schema.js';
import type { CatalogTracker } from '../../trackers/catalog.js';
import type { ServerFacts } from '../context.js';
import { inRange, listInRange } from '../check.js';
import { guarded, typed, type ResolverMap } from './types.js';

/** Facts: the server and its kernel, trackers, containers, processes. */
export const serverResolvers: ResolverMap = {
  Query: {
    server: typed((_root: unknown, _args, { services }) => services.server),
    trackers: typed<unknown, QueryTrackersArgs>((_root, { name }, { services }) =>
      services.catalog.trackers.filter((tracker) => name == null || tracker.name === name),
    ),
    containers: typed<unknown, QueryContainersArgs>((_root, { where }, { services }) => {
      const states =
        where?.states == null ? null : new Set<string>(listInRange('where.states', where.states, 8, '[RUNNING]'));
      const matches =
        where?.any == null
          ? () => true
          : compileSelector(listInRange('where.any', where.any, 100, '[{ name: "web-*" }]'));
      return services.registry
        .list()
        .filter(
          (container) => (states ? states.has(container.state) : container.state !== 'REMOVED') && matches(container),
        )
        .sort((a, b) => compare(a.name ?? '\uFFFF', b.name ?? '\uFFFF') || compare(a.id, b.id));
    }),
    container: typed<unknown, QueryContainerArgs>((_root, { ref }, { services }) => {
      if (ref === '') throw invalid('ref', 'is empty; give a name, an id, or the beginning of an id');
      return services.registry.find(ref) ?? null;
    }),
    process: typed<unknown, QueryProcessArgs>((_root, { pid, startTime }, { services }) => {
      inRange('pid', pid, 1, 2 ** 22);
      const found = Promise.resolve(services.process(pid));
      return guarded(
        found.then((process) => (process && (startTime == null || process.startTime === startTime) ? process : null)),
      );
    }),
  },
  Server: {
    uptimeSeconds: typed(({ startedAt }: ServerFacts) => Math.max(0, (Date.now() - Date.parse(startedAt)) / 1000)),
    engine: typed((facts: ServerFacts) => guarded(facts.engine())),
    healthy: typed((facts: ServerFacts) => facts.health().healthy),
    problem: typed((facts: ServerFacts) => facts.health().problem),
    runningSessions: typed(
      (_facts: ServerFacts, _args, { services }) =>
        services.manager.list().filter(({ state }) => state === 'RUNNING').length,
    ),
  },
  Tracker: {
    available: typed(({ name }: CatalogTracker, _args, { services }) => services.trackerStatus(name).available),
    unavailableReason: typed(({ name }: CatalogTracker, _args, { services }) => services.trackerStatus(name).reason),
    minimumKernel: typed(({ name }: CatalogTracker, _args, { services }) => services.trackerStatus(name).minimumKernel),
    hooks: typed(({ name }: CatalogTracker, _args, { services }) => services.trackerStatus(name).hooks),
  },
  Container: {
    labels: typed(({ labels }: Container) => labelList(labels)),
    label: typed<Container, ContainerLabelArgs>(({ labels }, { name }) =>
      Object.hasOwn(labels, name) ? labels[name] : null,
    ),
  },
  Pod: {
    labels: typed(({ labels }: Pod) => labelList(labels)),
  },
};

function labelList(labels: Readonly<Record<string, string>>): { name: string; value: string }[] {
  return Object.entries(labels)
    .map(([name, value]) => ({ name, value }))
    .sort((a, b) => compare(a.name, b.name));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function unknownSession(id: string): EunomiaError {
  return new EunomiaError(
    'UNKNOWN_SESSION',
    `there is no session "${id}": it never was, or it was removed; the query \`sessions\` lists those there are`,
    {
      details: { session: id },
    },
  );
}
