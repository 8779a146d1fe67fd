import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import type { Client } from '../client/client.js';
import { EunomiaError, suggest } from '../base/errors.js';
import { counted } from '../base/listed.js';
import { severities } from '../event/severity.js';
import { addAlertActions } from './alert-actions.js';
import { alertText, fieldsOfAlert, type WholeAlert } from './alert-text.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { Table } from './format.js';
import { allRows } from './pages.js';
import { momentOf } from './size.js';
import { unlessAborted, untilAborted } from './stream.js';
import { secondOf } from './time.js';
import { anyCase, collect, UsageError, wholeNumber } from './usage.js';
import type { World } from './world.js';

interface Flags extends ServerFlags {
  readonly severity?: string;
  readonly state?: readonly string[];
  readonly rule?: readonly string[];
  readonly source?: readonly string[];
  readonly container?: string;
  readonly image?: string;
  readonly session?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit: number;
  readonly follow?: boolean;
  readonly output: 'table' | 'json';
}

interface AlertFields {
  readonly id: string;
  readonly severity: string;
  readonly state: string;
  readonly source: string;
  readonly ruleName: string | null;
  readonly raisedAt: string;
  readonly count: string;
  readonly message: string;
  readonly container: { readonly id: string; readonly name: string | null } | null;
}

const states = ['open', 'acknowledged', 'resolved'] as const;
const FIELDS = `id severity state source ruleName title message tags attack raisedAt lastAt time count key tracker sessionId
  process { pid ppid uid comm startTime } container { id name image }`;
const LIST = `query Alerts($where: AlertFilter, $first: Int, $after: Cursor) {
  page: alerts(where: $where, first: $first, after: $after) { pageInfo { hasNextPage endCursor } nodes { ${FIELDS} } }
}`;
const FOLLOW = `subscription Alerts($where: AlertFilter) { alert: alerts(where: $where) { missedBefore ${FIELDS} } }`;
const SHOW = `query Alert($id: ID!) { alert(id: $id) { ${fieldsOfAlert} } }`;
const MOST = 10_000;
/** By then the server knows of a subscription: what was raised between the list and it is listed again. */
const SUBSCRIBED_MS = 1000;

export function addAlerts(program: Command, world: World): void {
  const alerts = program.command('alerts').description("list and follow a server's alerts, and handle them");
  withServer(alerts.command('list', { isDefault: true }), 'which server has the alerts?')
    .description('list alerts, the newest last; this is what `eunomia alerts` does')
    .addOption(anyCase(new Option('--severity <severity>', 'of this severity or higher'), severities))
    .option('--state <states>', `in one of these states: ${states.join(',')}`, collect)
    .option('--rule <names>', 'raised by one of these rules', collect)
    .option('--source <sources>', 'raised by one of these: rule:NAME, plugin:NAME', collect)
    .option('--container <pattern>', 'of containers with a name like this: web-*')
    .option('--image <pattern>', 'of containers with an image like this: nginx, registry/app:*')
    .option('--session <id>', 'of this session')
    .option(
      '--since <time>',
      'first raised since this time (RFC 3339), or since so long ago (90m, 24h)',
      momentOf('--since'),
    )
    .option('--until <time>', 'first raised before this time, or before so long ago', momentOf('--until'))
    .option('-n, --limit <alerts>', 'the newest ones, this many', wholeNumber('--limit', 0, MOST), 100)
    .option('--follow', 'then print what is raised, until Ctrl-C')
    .addOption(
      new Option('-o, --output <format>', 'table, or json (one alert per line)')
        .choices(['table', 'json'])
        .default('table'),
    )
    .usage('[options]')
    .argument('[command...]', '', (word) => refuseWord(word, alerts))
    .action((_none: unknown, flags: Flags) => withClient(world, flags, (client) => list(client, flags, world)));
  withServer(alerts.command('show'), 'which server has the alert?')
    .description('print all that is known of an alert: its evidence, and what people did with it')
    .argument('<alert>', 'its id')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .action((id: string, flags: ServerFlags & { readonly output: 'text' | 'json' }) =>
      withClient(world, flags, async (client) => {
        const { alert } = await client.query<{ alert: WholeAlert | null }>(SHOW, { id });
        if (!alert)
          throw new EunomiaError(
            'UNKNOWN_ALERT',
            `there is no alert ${JSON.stringify(id)}, or not any more; \`eunomia alerts\` lists them`,
          );
        await world.output.write(flags.output === 'json' ? `${JSON.stringify(alert, null, 2)}\n` : alertText(alert));
      }),
    );
  addAlertActions(alerts, world);
}

/** `eunomia alerts` lists: without this, a mistyped command of the group would be too many arguments of the list. */
function refuseWord(word: string, { commands }: Command): never {
  const names = commands.map((command) => command.name());
  throw new UsageError(
    `\`eunomia alerts\` has no command ${JSON.stringify(word)}${suggest(word, names) || `; there are ${names.join(', ')}`}`,
  );
}

function checkStates(given: readonly string[] = []): void {
  const wrong = given.find((each) => !states.some((state) => state === each.toLowerCase()));
  if (wrong !== undefined) throw new UsageError(`--state: ${JSON.stringify(wrong)} is not one of ${states.join(', ')}`);
}

/** `AlertFilter`. */
function whereOf({ severity, state, rule, source, container, image, session, since, until }: Flags): object {
  return {
    severity: severity?.toUpperCase(),
    states: state?.map((each) => each.toUpperCase()),
    rules: rule,
    sources: source,
    container: (container ?? image) ? { name: container, image } : undefined,
    session,
    since,
    until,
  };
}

async function list(client: Client, flags: Flags, world: World): Promise<void> {
  checkStates(flags.state);
  if (flags.follow && flags.until !== undefined)
    throw new UsageError('--until: --follow prints what is raised from now on; leave one of them out');
  const where = whereOf(flags);
  const print = printerOf(flags, world);
  const newest = async (most: number): Promise<readonly AlertFields[]> =>
    most === 0 ? [] : (await allRows<AlertFields>(client, LIST, { where }, { most })).rows.toReversed();
  const known = await newest(flags.limit);
  await print(known);
  if (!flags.follow || world.signal.aborted) return;
  const last = known.at(-1) ?? (flags.limit === 0 ? (await newest(1)).at(-1) : undefined);
  await follow({ client, where, known, last, newest, print, world });
}

interface Following {
  readonly client: Client;
  readonly where: object;
  readonly known: readonly AlertFields[];
  /** The newest one when it began to follow; none where there was none. */
  readonly last: AlertFields | undefined;
  newest(most: number): Promise<readonly AlertFields[]>;
  print(alerts: readonly AlertFields[]): Promise<boolean>;
  readonly world: World;
}

async function follow({ client, where, known, last, newest, print, world }: Following): Promise<void> {
  const seen = new Set([...known, ...(last ? [last] : [])].map(({ id }) => id));
  const add = (alerts: readonly AlertFields[]): Promise<boolean> => {
    const fresh = alerts.filter(({ id }) => !seen.has(id));
    for (const { id } of fresh) seen.add(id);
    return print(fresh);
  };
  const between = sleep(SUBSCRIBED_MS, undefined, { signal: world.signal })
    // Those before the last one were there, and not asked for.
    .then(async () => add((await newest(MOST)).filter(({ raisedAt }) => !last || raisedAt >= last.raisedAt)))
    .catch(() => undefined);
  world.tell('following; Ctrl-C stops');
  const stream = client.subscribe<{ readonly alert: AlertFields & { readonly missedBefore: number } }>(FOLLOW, {
    where,
  });
  for await (const { alert } of untilAborted(stream, world.signal)) {
    if (alert.missedBefore > 0)
      world.tell(`${counted(alert.missedBefore, 'alert')} before this one: \`eunomia alerts\` lists them`);
    if (!(await unlessAborted(add([alert]), world.signal))) break;
  }
  await between;
}

/** Prints alerts as they come; resolves to false when nobody reads any more. */
function printerOf({ output }: Flags, world: World): (alerts: readonly AlertFields[]) => Promise<boolean> {
  if (output === 'json')
    return async (alerts) =>
      alerts.length === 0 || world.output.write(alerts.map((alert) => `${JSON.stringify(alert)}\n`).join(''));
  const table = new Table(
    ['id', 'raised', 'severity', 'state', 'count', 'source', 'container', 'message'],
    world.output.width,
  );
  return async (alerts) => world.output.write(table.render(alerts.map(cellsOf)));
}

function cellsOf({
  id,
  raisedAt,
  severity,
  state,
  count,
  source,
  ruleName,
  container,
  message,
}: AlertFields): readonly string[] {
  const where = container === null ? '' : (container.name ?? container.id.slice(0, 12));
  return [
    id,
    secondOf(raisedAt),
    severity.toLowerCase(),
    state.toLowerCase(),
    count,
    ruleName ?? source,
    where,
    message,
  ];
}
