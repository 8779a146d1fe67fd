import { Option, type Command } from 'commander';
import type { Client, Parameters } from '../client/client.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { toFile, toOutput } from './file.js';
import { replayedSession, withReplay } from './replay.js';
import { collect, UsageError, wholeNumber } from './usage.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags {
  readonly from?: string;
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

const formats = ['ndjson', 'csv', 'parquet', 'pcapng'];
const binary: ReadonlySet<string> = new Set(['parquet', 'pcapng']);

function formatOf({ format, output }: Flags): string {
  return format ?? formats.find((each) => output?.endsWith(`.${each}`)) ?? 'ndjson';
}

export function addExport(program: Command, world: World): void {
  const command = withConnection(program.command('export'));
  checkFlags<Flags>(command, ({ from, groupBy, measures }, refuse) => {
    if (!(groupBy ?? measures))
      refuse(['window', 'limit'], 'is of an aggregate; give --group-by or --measures as well');
    if (from !== undefined) refuse(['follow'], 'a recording has an end already');
  });
  command
    .description("write a session's events, or an aggregate of them, to a file")
    .argument('[session]', 'id of a session on the server given by --server')
    .option('--from <file>', 'convert a recording (NDJSON) instead of exporting a session')
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
    .action((session: string | undefined, flags: Flags) => {
      if ((session === undefined) === (flags.from === undefined))
        throw new UsageError('give either the id of a session or a recording with --from');
      if (session !== undefined && flags.server === undefined)
        throw new UsageError('--server: which server has the session? Give its URL, or EUNOMIA_SERVER');
      if (flags.where?.startsWith('@'))
        throw new UsageError(
          '--where: an export takes an expression and no saved filter; `eunomia queries -o json` has its text',
        );
      const format = formatOf(flags);
      if (flags.output === undefined && world.output.width !== null && binary.has(format))
        throw new UsageError(`--output: ${format} is no text for a terminal; name a file, or use a pipe`);
      if (session !== undefined) return withClient(world, flags, (client) => exportTo(client, session, flags, world));
      return withReplay(world, flags.from ?? '', Number.POSITIVE_INFINITY, flags.logLevel, async (client, replayed) => {
        if (flags.groupBy ?? flags.measures) await replayedToEnd(client);
        await exportTo(client, replayed.id, { ...flags, follow: !(flags.groupBy ?? flags.measures) }, world);
        const { stopReason, problem } = await replayedSession(client);
        if (stopReason === 'ERROR') throw new UsageError(problem ?? 'the recording cannot be read');
        if (problem !== null) world.tell(problem);
      });
    });
}

/** Waits until all of the recording is held. */
export async function replayedToEnd(client: Client): Promise<void> {
  for await (const { sessionChanged } of client.subscribe<{ sessionChanged: { state: string } }>(
    'subscription { sessionChanged { state } }',
  )) {
    if (sessionChanged.state === 'STOPPED') return;
  }
}

async function exportTo(client: Client, session: string, flags: Flags, world: World): Promise<void> {
  const parameters: Parameters = {
    fields: flags.fields?.join(','),
    where: flags.where,
    follow: flags.follow ? 'true' : undefined,
    groupBy: flags.groupBy?.join(','),
    measures: flags.measures?.join(','),
    window: flags.window,
    limit: flags.limit?.toString(),
  };
  const pieces = client.download(`/export/${encodeURIComponent(session)}.${formatOf(flags)}`, parameters);
  const bytes =
    flags.output === undefined
      ? await toOutput(pieces, world.output, world.signal)
      : await toFile(pieces, flags.output, world.signal);
  if (flags.output !== undefined) world.tell(`${flags.output}: ${bytes} bytes`);
}
