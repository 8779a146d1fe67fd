import { Option, type Command } from 'commander';
import type { Client } from '../client/client.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { cellOf, Table } from './format.js';
import { allRows, type ConnectionPage } from './pages.js';
import { EunomiaError, suggest } from '../base/errors.js';
import { wholeNumber } from './usage.js';
import { expressionOf } from './where.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags {
  readonly where?: string;
  readonly container?: string;
  readonly limit: number;
  readonly listening?: boolean;
  readonly output: 'table' | 'json';
}

type Fields = Readonly<Record<string, unknown>>;

interface SnapshotPage extends ConnectionPage<Fields> {
  readonly complete: boolean;
}

/** A command that lists a snapshot. */
interface Listing {
  readonly command: string;
  readonly text: string;
  /** The field of `Query`, and its filter. */
  readonly field: string;
  readonly filter: string;
  /** What is selected of a row. */
  readonly selection: string;
  readonly columns: readonly (readonly [header: string, cell: (row: Fields) => unknown])[];
}

const PAGE = 1000;
const MOST = 1_000_000;
const WHO = 'process { pid ppid uid comm startTime } container { id name }';

const at = (row: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((inner, name) => (inner == null ? null : Reflect.get(Object(inner), name)), row);
const end = (address: unknown, port: unknown): string =>
  address == null ? '' : `${String(address).includes(':') ? `[${String(address)}]` : String(address)}:${cellOf(port)}`;
const milliseconds = (ns: unknown): string => (ns == null ? '' : (Number(ns) / 1e6).toFixed(3));
const mebibytes = (bytes: unknown): string => (bytes == null ? '' : (Number(bytes) / 2 ** 20).toFixed(1));
const lower = (text: unknown): string => cellOf(text).toLowerCase();
const containerOf = (row: Fields): unknown =>
  at(row, 'container', 'name') ?? (at(row, 'container', 'id') as string | null)?.slice(0, 12);

const listings: readonly Listing[] = [
  {
    command: 'processes',
    text: 'list the processes that exist now, with their containers',
    field: 'processes',
    filter: 'RunningProcessFilter',
    selection: `${WHO} state threads ownPid kernelThread executable residentBytes virtualBytes pidNs netNs cgroupId`,
    columns: [
      ['pid', (row) => at(row, 'process', 'pid')],
      ['ppid', (row) => at(row, 'process', 'ppid')],
      ['uid', (row) => at(row, 'process', 'uid')],
      ['container', containerOf],
      ['state', ({ state }) => lower(state)],
      ['threads', ({ threads }) => threads],
      ['mib', ({ residentBytes }) => mebibytes(residentBytes)],
      ['comm', (row) => at(row, 'process', 'comm')],
      ['executable', ({ executable }) => executable],
    ],
  },
  {
    command: 'sockets',
    text: 'list the sockets that processes have open, of all network namespaces',
    field: 'sockets',
    filter: 'SocketFilter',
    selection: `inode family socketType protocol state listening localAddress localPort remoteAddress remotePort path netNs
      srttNs cwnd retransmits sendQueueBytes receiveQueueBytes sentBytes receivedBytes backlog backlogLimit ${WHO}
      owners { process { pid comm } container { name } fds }`,
    columns: [
      ['protocol', ({ protocol, family }) => lower(protocol ?? cellOf(family).replace('AF_', ''))],
      ['state', ({ state }) => lower(state)],
      ['local', ({ localAddress, localPort, path }) => end(localAddress, localPort) || path],
      ['remote', ({ remoteAddress, remotePort }) => end(remoteAddress, remotePort)],
      ['rtt ms', ({ srttNs }) => milliseconds(srttNs)],
      ['container', containerOf],
      [
        'owners',
        ({ owners }) =>
          (owners as readonly Fields[]).map(
            (owner) => `${cellOf(at(owner, 'process', 'comm'))}/${cellOf(at(owner, 'process', 'pid'))}`,
          ),
      ],
    ],
  },
  {
    command: 'files',
    text: 'list the descriptors that processes have open',
    field: 'openFiles',
    filter: 'OpenFileFilter',
    selection: `fd type path pathState deleted flags position inode device fileSystem ${WHO}`,
    columns: [
      ['pid', (row) => at(row, 'process', 'pid')],
      ['comm', (row) => at(row, 'process', 'comm')],
      ['container', containerOf],
      ['fd', ({ fd }) => fd],
      ['type', ({ type }) => lower(type)],
      ['flags', ({ flags }) => flags],
      [
        'path',
        ({ path, deleted, pathState }) => `${cellOf(path)}${deleted && pathState !== 'ANONYMOUS' ? ' (deleted)' : ''}`,
      ],
    ],
  },
  {
    command: 'mounts',
    text: 'list what is mounted, in all mount namespaces',
    field: 'mounts',
    filter: 'MountFilter',
    selection:
      'mountNs mountId parentId target source root fsType device readOnly mountFlags fsOptions propagation peerGroup ' +
      `masterGroup ${WHO}`,
    columns: [
      ['namespace', ({ mountNs }) => mountNs],
      ['pid', (row) => at(row, 'process', 'pid')],
      ['comm', (row) => at(row, 'process', 'comm')],
      ['container', containerOf],
      ['target', ({ target }) => target],
      ['source', ({ source }) => source],
      ['type', ({ fsType }) => fsType],
      ['flags', ({ mountFlags }) => mountFlags],
      ['propagation', ({ propagation }) => lower(propagation)],
    ],
  },
];

export function addSnapshots(program: Command, world: World): void {
  for (const listing of listings) {
    const command = withConnection(program.command(listing.command))
      .description(listing.text)
      .option('--where <expression>', 'only those for which this CEL expression is true')
      .option('--container <name>', 'only those of containers with this name (* and ? are wildcards)')
      .option('-n, --limit <number>', 'at most so many', wholeNumber('--limit', 1, MOST), MOST)
      .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'));
    if (listing.field === 'sockets') command.option('-l, --listening', 'only those that wait for peers');
    command.action((flags: Flags) => withClient(world, flags, (client) => list(listing, flags, client, world)));
  }
}

async function list(listing: Listing, flags: Flags, client: Client, world: World): Promise<void> {
  const where = await whereOf(listing, flags, client);
  const document = `query List($where: ${listing.filter}, $first: Int, $after: Cursor) {
    page: ${listing.field}(where: $where, first: $first, after: $after) {
      complete pageInfo { hasNextPage endCursor } nodes { ${listing.selection} } } }`;
  const { rows, last } = await allRows<Fields, SnapshotPage>(
    client,
    document,
    { where },
    { most: flags.limit, each: PAGE },
  );
  if (rows.length === 0 && flags.container !== undefined) await requireContainer(client, flags.container);
  if (flags.output === 'json') await world.output.write(`${JSON.stringify(rows, null, 2)}\n`);
  else {
    const table = new Table(
      listing.columns.map(([header]) => header),
      world.output.width,
    );
    await world.output.write(table.render(rows.map((row) => listing.columns.map(([, cell]) => cellOf(cell(row))))));
  }
  if (!last.complete) world.tell('eunomia: there was more than the server has memory for: the list is not complete');
}

/** Nothing is listed of a container that has nothing, and of a name that was mistyped. */
async function requireContainer(client: Client, name: string): Promise<void> {
  const { named } = await client.query<{ named: ConnectionPage<object> }>(
    'query Named($where: ContainerFilter!) { named: containers(where: $where, first: 1) { nodes { id } } }',
    { where: { any: [{ name }] } },
  );
  if (named.nodes.length) return;
  const all = await allRows<{ readonly name: string | null; readonly id: string }>(
    client,
    'query All($first: Int, $after: Cursor) { page: containers(first: $first, after: $after) { ' +
      'nodes { name id } pageInfo { hasNextPage endCursor } } }',
    {},
  );
  const known = all.rows.map((one) => one.name ?? one.id.slice(0, 12));
  throw new EunomiaError(
    'UNKNOWN_CONTAINER',
    `--container: no container matches ${JSON.stringify(name)}${suggest(name, known)}; ` +
      (known.length ? `there are ${known.slice(0, 10).join(', ')}${known.length > 10 ? ', …' : ''}` : 'there are none'),
  );
}

async function whereOf({ filter }: Listing, { where, container, listening }: Flags, client: Client): Promise<object> {
  return {
    ...(where === undefined ? {} : { expr: await expressionOf(where, await pathsIn(client, filter)) }),
    ...(container === undefined ? {} : { container: { name: { glob: container } } }),
    ...(listening ? { listening: { eq: true } } : {}),
  };
}

/** The fields that a filter of the schema has, and what is in them. */
async function pathsIn(client: Client, filter: string): Promise<ReadonlySet<string>> {
  type Inputs<Of> = { readonly inputFields: readonly ({ readonly name: string } & Of)[] | null };
  const { type } = await client.query<{ type: Inputs<{ readonly type: Inputs<object> }> | null }>(
    'query Paths($filter: String!) { type: __type(name: $filter) { inputFields { name type { inputFields { name } } } } }',
    { filter },
  );
  return new Set(
    type?.inputFields?.flatMap(({ name, type: of }) => [
      name,
      ...(of.inputFields ?? []).map((inner) => `${name}.${inner.name}`),
    ]),
  );
}
