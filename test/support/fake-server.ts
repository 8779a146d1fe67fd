import { readFileSync } from 'node:fs';
import { makeExecutableSchema } from '@graphql-tools/schema';
import { execute, GraphQLError, parse, subscribe, validate, type ExecutionResult, OperationTypeNode } from 'graphql';
import { packageFile } from '../../src/base/paths.js';
import type { LocalServer, Request } from '../../src/client/client.js';

const typeDefs = readFileSync(packageFile('schema.graphql'), 'utf8');

const shared = [
  ['time', 'DateTime!'],
  ['process.pid', 'Int!'],
  ['process.comm', 'String!'],
  ['container.name', 'String'],
] as const;
const field = ([path, type]: readonly [string, string]): object => ({
  path,
  type: { name: type },
  description: `what ${path} is`,
  onDemand: path === 'args',
});
export const trackers = [
  {
    name: 'exec',
    summary: 'Programs.',
    eventType: 'ExecEvent',
    available: true,
    problem: null,
    minimumKernel: '5.8',
    blindSpots: [],
    details: '{args} [= {errno}]',
    columns: ['errno', 'args'],
    hooks: ['tp_btf/x'],
    capabilities: ['CAP_BPF'],
    fields: [...shared, ['errno', 'Errno'], ['args', '[String!]']].map((pair) => field(pair as [string, string])),
    options: [{ name: 'failed', type: { name: 'Boolean' }, description: 'Failed ones too.', default: true }],
  },
  {
    name: 'tcp',
    summary: 'Connections.',
    eventType: 'TcpEvent',
    available: false,
    problem: 'no such hook',
    minimumKernel: '5.8',
    blindSpots: [],
    details: 'connected',
    columns: [],
    hooks: [],
    capabilities: [],
    fields: [],
    options: [],
  },
];

interface Session {
  readonly input: {
    trackers: object[];
    target: unknown;
    where?: { expr: string } | null;
    capture: string;
    for: string | null;
  };
  wanted: string;
  stopped: boolean;
  removed: boolean;
  subscribers: object[];
  stop: () => void;
}

export const exec = (pid: number, ...args: string[]): object => ({
  __typename: 'ExecEvent',
  time: '2026-01-31T08:15:30.123456789Z',
  process: { pid, comm: args[0] },
  container: null,
  errno: null,
  args,
});

const startTime = '2026-01-31T08:15:30.123456789Z';
const owner = (pid: number, comm: string, ...fds: number[]): object => ({
  process: { pid, comm },
  container: null,
  fds,
});
const [nginx, sh] = [owner(7, 'nginx', 6), owner(9, 'sh', 3)];
const sockets = [
  {
    ...{
      inode: '90',
      family: 'AF_INET6',
      socketType: 'SOCK_STREAM',
      protocol: 'TCP',
      state: 'LISTEN',
      listening: true,
    },
    ...{
      localAddress: '::',
      localPort: 443,
      netNs: '5',
      cgroupId: '1',
      process: { pid: 7, ppid: 1, uid: 0, comm: 'nginx', startTime },
    },
    container: { id: 'a'.repeat(64), name: 'web' },
    owners: [nginx, owner(8, 'nginx', 6, 7)],
  },
  {
    ...{ inode: '91', family: 'AF_UNIX', socketType: 'SOCK_STREAM', listening: false, path: '@name', netNs: '5' },
    ...{ cgroupId: '1', process: { pid: 9, ppid: 1, uid: 0, comm: 'sh', startTime }, owners: [sh] },
  },
];

const emptyOperand = (argument: string) =>
  new GraphQLError(`${argument}: 1:7: an operand is missing\n  bad ==\n        ^`, {
    extensions: { code: 'BAD_USER_INPUT' },
  });

const onePage = (nodes: readonly object[]) => ({ nodes, pageInfo: { hasNextPage: false, endCursor: null } });

/** A server of the real schema, whose sessions play a script of batches and then wait for their end. */
export class FakeServer implements LocalServer {
  readonly sessions: Session[] = [];
  /** The arguments of each page of sockets. */
  readonly asked: object[] = [];
  readonly updates: { readonly id: string; readonly input: Record<string, unknown> }[] = [];
  closed = false;
  readonly #script: readonly object[];
  readonly #endless: boolean;
  readonly #schema = makeExecutableSchema({
    typeDefs,
    resolvers: {
      TraceEvent: { __resolveType: (event: { __typename: string }) => event.__typename },
      Query: {
        trackers: (_: unknown, { name }: { name: string | null }) =>
          trackers.filter((tracker) => name === null || name === undefined || tracker.name === name),
        containers: (_: unknown, { where }: { where: { states?: string[]; any?: { name: string }[] } | null }) => {
          if (where?.any)
            return onePage(where.any.some(({ name }) => name === 'idle') ? [{ id: 'c', name: 'idle' }] : []);
          return onePage([
            {
              id: 'a'.repeat(64),
              name: 'web',
              image: 'nginx',
              state: 'RUNNING',
              runtime: 'docker',
              pid: 7,
              ips: ['10.0.0.2'],
              labels: [],
            },
            ...(where?.states?.includes('REMOVED')
              ? [
                  {
                    id: 'b'.repeat(64),
                    name: 'old',
                    image: 'nginx',
                    state: 'REMOVED',
                    runtime: 'docker',
                    ips: [],
                    labels: [],
                  },
                ]
              : []),
          ]);
        },
        processes: () => ({
          totalCount: '0',
          complete: true,
          takenAt: '2026-01-31T08:15:30.123456789Z',
          pageInfo: { hasNextPage: false, hasPreviousPage: false, endCursor: null },
          nodes: [],
        }),
        sockets: (_: unknown, args: { where?: { expr?: string }; after?: string | null }) => {
          if (args.where?.expr === 'bad ==') throw emptyOperand('where.expr');
          this.asked.push({ ...args });
          const page = args.after == null ? 0 : 1;
          return {
            totalCount: '2',
            complete: true,
            takenAt: '2026-01-31T08:15:30.123456789Z',
            pageInfo: { hasNextPage: page === 0, hasPreviousPage: page === 1, endCursor: 'cursor' },
            nodes: sockets.slice(page, page + 1),
          };
        },
        rules: () => ({
          problem: 'r.yaml:3:5: rules[0]: no',
          missed: '7',
          rules: [
            { name: 'port-scan', enabled: true, problem: null, stats: { alerts: '2', lastAlertAt: startTime } },
            { name: 'off', enabled: false, problem: null, stats: {}, actions: [{ kind: 'KILL', problem: 'is off' }] },
            { name: 'dead', enabled: true, problem: 'no such hook', stats: {} },
          ].map(({ stats, actions = [], ...rule }) => ({
            severity: 'HIGH',
            origin: 'DIRECTORY',
            file: '/etc/rules/r.yaml',
            description: 'many ports',
            tags: [],
            attack: [],
            actions,
            steps: [],
            stats: {
              matched: '9',
              alerts: '0',
              repeated: '4',
              suppressed: '0',
              forgotten: '0',
              lastAlertAt: null,
              ...stats,
            },
            ...rule,
          })),
        }),
        savedQueries: () =>
          onePage([
            {
              name: 'failed',
              kind: 'FILTER',
              description: 'what failed',
              version: 7,
              savedBy: 'ann',
              savedAt: '2026-01-31T08:15:30.123456789Z',
              content: { filter: { where: { expr: 'errno != null' } } },
            },
          ]),
        sessions: (_: unknown, { state }: { state: string | null }) => {
          this.asked.push({ state });
          return onePage([
            {
              id: 'f5e09a25d284460c',
              name: 'demo',
              state: 'STOPPED',
              trackers: ['exec', 'tcp'],
              origin: 'LIVE',
              labels: [],
              startedAt: '2026-01-31T08:15:30.123456789Z',
              stats: { produced: '9', lost: '2', received: '7', delivered: '7' },
            },
          ]);
        },
        session: (_: unknown, { id }: { id: string }) => this.#facts(Number(id)),
      },
      Mutation: {
        startSession: (_: unknown, { input }: { input: Session['input'] }) => {
          if (input.for === 'soon')
            throw new GraphQLError('input.for: "soon" is no duration like 10s', {
              extensions: { code: 'BAD_USER_INPUT' },
            });
          if (input.where?.expr === 'bad ==') throw emptyOperand('input.where.expr');
          this.sessions.push({
            input,
            wanted: '',
            stopped: false,
            removed: false,
            subscribers: [],
            stop: () => undefined,
          });
          return this.#facts(this.sessions.length - 1);
        },
        updateSession: (_: unknown, { id, input }: { id: string; input: Record<string, unknown> }) => {
          this.updates.push({ id, input });
          if (input['target'])
            throw new GraphQLError(
              'input.target.containers: no container has the name "nosuch" ' +
                '(no container runs now); with waitForContainers: true the session waits for one',
              {
                extensions: { code: 'UNKNOWN_CONTAINER' },
              },
            );
          return {
            id,
            name: null,
            stopsAt: null,
            explain: { where: 'errno != null' },
            persistence: null,
            changes: [{ at: '2026-01-31T08:15:30.123456789Z' }],
          };
        },
        stopSession: (_: unknown, { id }: { id: string }) => {
          const session = this.sessions[Number(id)];
          if (session) session.stopped = true;
          session?.stop();
          return this.#facts(Number(id));
        },
        removeSession: (_: unknown, { id }: { id: string }) => {
          const session = this.sessions[Number(id)];
          if (session) session.removed = true;
          return id;
        },
      },
      Subscription: {
        events: { subscribe: (_: unknown, { session }: { session: string }) => this.#play(Number(session)) },
      },
    },
    resolverValidationOptions: { requireResolversForResolveType: 'ignore' },
  });

  constructor(script: readonly object[], { endless = false } = {}) {
    this.#script = script;
    this.#endless = endless;
  }

  async *download(): AsyncGenerator<string> {}

  async execute({ query, variables }: Request): Promise<ExecutionResult | AsyncIterable<ExecutionResult>> {
    const document = parse(query);
    const errors = validate(this.#schema, document);
    if (errors.length) return { errors };
    const request = {
      schema: this.#schema,
      document,
      variableValues: JSON.parse(JSON.stringify(variables)) as Record<string, unknown>,
    };
    const [operation] = document.definitions;
    const isSubscription =
      operation?.kind === 'OperationDefinition' && operation.operation === OperationTypeNode.SUBSCRIPTION;
    return isSubscription ? subscribe(request) : execute(request);
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  #facts(index: number): object {
    const session = this.sessions[index];
    return {
      id: String(index),
      trackers: ['exec'],
      state: session?.stopped ? 'STOPPED' : 'RUNNING',
      stats: { delivered: '1', lost: '3', subscribers: session?.subscribers ?? [] },
    };
  }

  async *#play(index: number): AsyncGenerator<object> {
    const session = this.sessions[index];
    session?.subscribers.push({ id: '1' });
    const stopped = new Promise<void>((resolve) => {
      if (session) session.stop = resolve;
    });
    for (const batch of this.#script) yield { events: { gap: null, events: [], cursor: 'c', ...batch } };
    if (this.#endless) await stopped;
  }
}
