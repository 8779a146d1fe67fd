import { Option, type Command } from 'commander';
import type { Client } from '../client/client.js';
import { counted } from '../base/listed.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { printerOf, printBatch, withEvents, type EventFlags } from './event-flags.js';
import {
  allTrackers,
  countedPaths,
  headersOf,
  describeTrackers,
  readablePaths,
  type EventFields,
  type TrackerInfo,
} from './field.js';
import { Table } from './format.js';
import { momentOf } from './size.js';
import { tellGap, type ReceivedGap } from './stream.js';
import { targetInput, withContainers, type TargetFlags } from './target.js';
import { collect } from './usage.js';
import { whereInput } from './where.js';
import type { World } from './world.js';

interface Flags extends ServerFlags, EventFlags, TargetFlags {
  readonly from?: string;
  readonly to?: string;
  readonly tracker?: readonly string[];
  readonly session?: readonly string[];
  readonly store?: string;
  readonly where?: string;
  readonly countBy?: readonly string[];
}

interface Row {
  readonly key: readonly { readonly value: string | null }[];
  readonly count: string;
  readonly other: boolean;
}

interface Page {
  readonly nodes: readonly EventFields[];
  readonly gaps: readonly ReceivedGap[];
  readonly pageInfo: { readonly hasPreviousPage: boolean; readonly startCursor: string | null };
}

/** Without --limit: what a person looks through. */
const NEWEST = 100;
/** Events of a page: within what an operation may cost. */
const PAGE = 100;
/** Groups of --count-by. */
const GROUPS = 1000;

export function addHistory(program: Command, world: World): void {
  const command = withServer(program.command('history'), 'which server has the history?');
  checkFlags<Flags>(command, ({ countBy }, refuse) => {
    if (countBy) refuse(['fields', 'gaps', 'output'], 'is of events; --count-by prints a table of their counts');
  });
  withEvents(withContainers(command), `print the newest ones, this many; default: ${NEWEST}`)
    .description('print the newest events that a server has stored, or counts of all of them; `export` writes files')
    .addOption(
      new Option('--from <time>', 'stored since this time (RFC 3339), or since so long ago; default: 24h').argParser(
        momentOf('--from'),
      ),
    )
    .addOption(
      new Option('--to <time>', 'stored before this time, or before so long ago; default: now').argParser(
        momentOf('--to'),
      ),
    )
    .option('--tracker <names>', 'only events of these trackers', collect)
    .option('--session <ids>', 'only of these sessions', collect)
    .addOption(new Option('--store <store>', 'the store to read').choices(['embedded', 'influx']))
    .option(
      '--where <expression>',
      'only events that match this CEL expression, or a saved filter, @NAME: errno == "ENOENT"',
    )
    .option(
      '--count-by <fields>',
      'print how many events have the same values of these fields: container.name,path',
      collect,
    )
    .action((flags: Flags) => withClient(world, flags, (client) => print(client, flags, world)));
}

async function print(client: Client, flags: Flags, world: World): Promise<void> {
  const range = {
    from: flags.from,
    to: flags.to,
    sessions: flags.session,
    trackers: flags.tracker,
    containers: targetInput(flags)?.['containers'],
    store: flags.store?.toUpperCase(),
  };
  // Only the fields of what there is: all trackers have more than one operation may ask for.
  const found = (await countsBy(client, range, ['tracker'])).flatMap(({ key }) => key[0]?.value ?? []);
  // Where there is nothing, what was typed is checked all the same.
  const trackers = await describeTrackers(
    client,
    found.length ? found : (flags.tracker ?? (await allTrackers(client))),
  );
  const known = readablePaths(trackers);
  const where = flags.where === undefined ? undefined : await whereInput(flags.where, flags, known);
  const by = flags.countBy && countedPaths('groupBy', flags.countBy, trackers);
  if (found.length === 0) {
    const { head } = flags.fields ? printerOf(trackers, flags, world) : { head: '' };
    await countsBy(client, { ...range, where }, by ?? ['tracker']);
    if (head) await world.output.write(head);
    return world.tell('0 events');
  }
  if (by) {
    const rows = await countsBy(client, { ...range, where }, by);
    const table = new Table(['count', ...headersOf(by, known)], world.output.width);
    const cells = rows.map(({ key, count, other }) => [
      count,
      ...key.map(({ value }) => (other ? '(others)' : (value ?? ''))),
    ]);
    await world.output.write(table.render(cells));
    return;
  }
  await printNewest(client, { ...range, where }, trackers, flags, world);
}

const VARIABLES = `$from: DateTime, $to: DateTime, $sessions: [ID!], $trackers: [String!], $containers: [ContainerSelector!],
  $where: EventFilter, $store: StoreKind`;
const ARGUMENTS =
  'from: $from, to: $to, sessions: $sessions, trackers: $trackers, containers: $containers, where: $where, store: $store';

async function countsBy(client: Client, range: object, by: readonly string[]): Promise<readonly Row[]> {
  const { history } = await client.query<{ history: { aggregate: readonly Row[] } }>(
    `query Counts($by: [EventField!]!, $limit: Int, ${VARIABLES}) {
      history(${ARGUMENTS}) { aggregate(groupBy: $by, limit: $limit) { key { value } count other } }
    }`,
    { ...range, by, limit: GROUPS },
  );
  return history.aggregate;
}

async function printNewest(
  client: Client,
  range: object,
  trackers: readonly TrackerInfo[],
  flags: Flags,
  world: World,
): Promise<void> {
  const printer = printerOf(trackers, flags, world);
  const document = `query Newest($last: Int, $before: Cursor, ${VARIABLES}) {
    history(${ARGUMENTS}) {
      page: events(last: $last, before: $before) {
        nodes { ${printer.selection} } gaps { from to lost dropped where } pageInfo { hasPreviousPage startCursor }
      }
    }
  }`;
  const most = flags.limit ?? NEWEST;
  const pages: Page[] = [];
  let left = most;
  let before: string | null = null;
  let isMore = false;
  while (left > 0 && !world.signal.aborted) {
    const { history }: { history: { page: Page } } = await client.query<{ history: { page: Page } }>(document, {
      ...range,
      last: Math.min(PAGE, left),
      before,
    });
    pages.unshift(history.page);
    left -= history.page.nodes.length;
    before = history.page.pageInfo.startCursor;
    isMore = history.page.pageInfo.hasPreviousPage;
    if (!isMore) break;
  }
  if (printer.head) await world.output.write(printer.head);
  for (const { nodes, gaps } of pages) {
    for (const gap of gaps)
      await printBatch({ events: [], gap }, printer, flags, { world, tellGap: (each) => tellGap(each, world) });
    if (!(await printBatch({ events: nodes, gap: null }, printer, flags, { world, tellGap: () => undefined }))) return;
  }
  const events = counted(
    pages.reduce((sum, { nodes }) => sum + nodes.length, 0),
    'event',
  );
  world.tell(isMore ? `the newest ${events}; -n shows more` : events);
}
