import { Option, type Command } from 'commander';
import type { Client, Parameters } from '../client/client.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { allTrackers, pathsOf, pathsOfSession, wholePath } from './field.js';
import { toFile, toOutput } from './file.js';
import { replayedSession, withReplay } from './replay.js';
import { momentOf } from './size.js';
import { collect, UsageError, wholeNumber } from './usage.js';
import { expressionOf } from './where.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags {
  readonly file?: string;
  readonly from?: string;
  readonly to?: string;
  readonly container?: readonly string[];
  readonly tracker?: readonly string[];
  readonly store?: string;
  readonly format?: string;
  readonly output?: string;
  readonly fields?: readonly string[];
  readonly where?: string;
  readonly follow?: boolean;
  readonly groupBy?: readonly string[];
  readonly measures?: readonly string[];
  readonly window?: string;
  readonly limit?: number;
}

const HISTORY = 'history';
const formats = ['ndjson', 'csv', 'parquet', 'pcapng'];
const binary: ReadonlySet<string> = new Set(['parquet', 'pcapng']);

function formatOf({ format, output }: Flags): string {
  return format ?? formats.find((each) => output?.endsWith(`.${each}`)) ?? 'ndjson';
}

export function addExport(program: Command, world: World): void {
  const command = withConnection(program.command('export'));
  checkFlags<Flags>(command, (flags, refuse) => {
    if (!(flags.groupBy ?? flags.measures))
      refuse(['window', 'limit'], 'is of an aggregate; give --group-by or --measures as well');
    if (flags.file !== undefined) {
      refuse(['follow'], 'a recording has an end already');
      refuse(
        ofRange,
        'is of what a server has stored; a recording is converted as a whole, or what of it matches --where',
      );
    } else if (hasRange(flags)) refuse(['follow'], 'a range of time has an end; leave it out');
  });
  command
    .description("write a session's events, all that was stored in a range of time, or an aggregate of them, to a file")
    .argument(
      '[session...]',
      'ids of sessions on the server given by --server; with --from: only of these, default: of all',
    )
    .addOption(
      new Option(
        '--from <time>',
        'everything stored since this time (RFC 3339), or since so long ago (90m, 24h); default of a range: 24h before its end',
      ).argParser(rangeTime('--from')),
    )
    .addOption(
      new Option('--to <time>', 'everything stored before this time, or before so long ago; default: now').argParser(
        rangeTime('--to'),
      ),
    )
    .option('-c, --container <globs>', 'of a range: only of these containers, by name or id', collect)
    .option('--tracker <names>', 'of a range: only events of these trackers', collect)
    .addOption(new Option('--store <store>', 'of a range: the store to read').choices(['embedded', 'influx']))
    .option('--file <recording>', 'convert a recording (NDJSON) instead; requires neither root nor a server')
    .addOption(
      new Option(
        '--format <format>',
        'ndjson (for `eunomia replay`), csv, parquet, or pcapng (packets of the tracker packet); default: as --output ends, else ndjson',
      ).choices(formats),
    )
    .option('-o, --output <file>', 'write to this file, which appears when it is complete; default: standard output')
    .option('-f, --fields <paths>', 'only these fields: process.comm,args', collect)
    .option('--where <expression>', 'only events that match this CEL expression: errno == "ENOENT"')
    .option('--follow', 'continue until the session ends')
    .option('--group-by <paths>', 'export an aggregate, grouped by these fields', collect)
    .option('--measures <list>', 'measures of the aggregate: p99(durationNs),sum(sentBytes),top(path)', collect)
    .option('--window <duration>', 'time window of the aggregate: 1m')
    .option('-n, --limit <rows>', 'maximum number of rows of the aggregate', wholeNumber('--limit', 1, 10_000))
    .action((sessions: readonly string[], flags: Flags) => {
      const isRange = sessions.length > 1 || hasRange(flags);
      const [session] = sessions;
      if ((session === undefined && !isRange) === (flags.file === undefined))
        throw new UsageError('give the id of a session, a range of time with --from, or a recording with --file');
      if (flags.file === undefined && flags.server === undefined)
        throw new UsageError('--server: which server has recorded it? Give its URL, or EUNOMIA_SERVER');
      if (flags.where?.startsWith('@'))
        throw new UsageError(
          '--where: an export takes an expression and no saved filter; `eunomia queries -o json` has its text',
        );
      const format = formatOf(flags);
      if (flags.output === undefined && world.output.width !== null && binary.has(format))
        throw new UsageError(`--output: ${format} is no text for a terminal; name a file, or use a pipe`);
      if (isRange)
        return withClient(world, flags, (client) =>
          download(client, HISTORY, rangeParameters(sessions, flags), flags, world),
        );
      if (session !== undefined) return withClient(world, flags, (client) => exportTo(client, session, flags, world));
      return withReplay(world, flags.file ?? '', Number.POSITIVE_INFINITY, flags.logLevel, async (client, replayed) => {
        if (flags.groupBy ?? flags.measures) await replayedToEnd(client);
        await exportTo(client, replayed.id, { ...flags, follow: !(flags.groupBy ?? flags.measures) }, world);
        const { stopReason, problem } = await replayedSession(client);
        if (stopReason === 'ERROR') throw new UsageError(problem ?? 'the recording cannot be read');
        if (problem !== null) world.tell(problem);
      });
    });
}

/** What only ranges of time have. */
const ofRange = ['from', 'to', 'container', 'tracker', 'store'];

function hasRange({ from, to, container, tracker, store }: Flags): boolean {
  return [from, to, container, tracker, store].some((given) => given !== undefined);
}

/** `--from` was a recording once. */
function rangeTime(flag: string): (value: string) => string {
  const moment = momentOf(flag);
  return (value) => {
    if (/[/.]/.test(value) && !/^\d{4}-/.test(value))
      throw new UsageError(`${flag}: ${JSON.stringify(value)} is no time; for a recording, use --file`);
    return moment(value);
  };
}

/** Waits until all of the recording is held. */
export async function replayedToEnd(client: Client): Promise<void> {
  for await (const { sessionChanged } of client.subscribe<{ sessionChanged: { state: string } }>(
    'subscription { sessionChanged { state } }',
  )) {
    if (sessionChanged.state === 'STOPPED') return;
  }
}

function exportTo(client: Client, session: string, flags: Flags, world: World): Promise<void> {
  return download(client, session, { follow: flags.follow ? 'true' : undefined }, flags, world);
}

function rangeParameters(sessions: readonly string[], { from, to, container, tracker, store }: Flags): Parameters {
  return {
    from,
    to,
    sessions: sessions.length ? sessions.join(',') : undefined,
    containers: container?.join(','),
    trackers: tracker?.join(','),
    store: store?.toUpperCase(),
  };
}

/** What names fields, with their whole names. */
async function namedIn(
  client: Client,
  name: string,
  { trackers, sessions }: Parameters,
  { where, fields, groupBy }: Flags,
): Promise<Parameters> {
  if (!(where ?? fields ?? groupBy)) return {};
  const ids = name === HISTORY ? (sessions?.split(',') ?? []) : [name];
  const known =
    trackers === undefined && ids.length > 0
      ? new Set((await Promise.all(ids.map((id) => pathsOfSession(client, id)))).flatMap((paths) => [...paths]))
      : await pathsOf(client, trackers?.split(',') ?? (await allTrackers(client)));
  const joined = (paths: readonly string[] | undefined): string | undefined =>
    paths?.map((path) => wholePath(path, known)).join(',');
  return {
    where: where === undefined ? undefined : await expressionOf(where, known),
    fields: joined(fields),
    groupBy: joined(groupBy),
  };
}

/** `name`: of a session, or HISTORY. */
async function download(
  client: Client,
  name: string,
  parameters: Parameters,
  flags: Flags,
  world: World,
): Promise<void> {
  const pieces = client.download(`/export/${encodeURIComponent(name)}.${formatOf(flags)}`, {
    ...parameters,
    ...(await namedIn(client, name, parameters, flags)),
    measures: flags.measures?.join(','),
    window: flags.window,
    limit: flags.limit?.toString(),
  });
  const bytes =
    flags.output === undefined
      ? await toOutput(pieces, world.output, world.signal)
      : await toFile(pieces, flags.output, world.signal);
  if (flags.output !== undefined) world.tell(`${flags.output}: ${bytes} bytes`);
}
