import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { lstat, rename, rm } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { Option, type Command } from 'commander';
import { openPrivate } from '../base/file.js';
import type { Client, Parameters } from '../client/client.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { replayedSession, withReplay } from './replay.js';
import { collect, UsageError, wholeNumber } from './usage.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags {
  readonly from?: string;
  readonly format: string;
  readonly output?: string;
  readonly fields?: readonly string[];
  readonly where?: string;
  readonly follow?: boolean;
  readonly groupBy?: readonly string[];
  readonly measures?: readonly string[];
  readonly window?: string;
  readonly limit?: number;
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
      new Option('--format <format>', 'ndjson (for `eunomia replay`), csv or parquet')
        .choices(['ndjson', 'csv', 'parquet'])
        .default('ndjson'),
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
        throw new UsageError('name a session or a recording with --from: one of them');
      if (session !== undefined && flags.server === undefined)
        throw new UsageError('--server: which server has the session? Give its URL, or EUNOMIA_SERVER');
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
  const pieces = client.download(`/export/${encodeURIComponent(session)}.${flags.format}`, parameters);
  const bytes = flags.output === undefined ? await toOutput(pieces, world) : await toFile(pieces, flags.output, world);
  if (flags.output !== undefined) world.tell(`${flags.output}: ${bytes} bytes`);
}

async function toOutput(pieces: AsyncIterable<string | Uint8Array>, world: World): Promise<number> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += Buffer.byteLength(piece);
    if (world.signal.aborted || !(await world.output.write(piece))) break;
  }
  return bytes;
}

/** Under another name until it is whole: a file that is there is complete. Only its owner may read it: events hold command lines. */
async function toFile(pieces: AsyncIterable<string | Uint8Array>, file: string, world: World): Promise<number> {
  const there = await lstat(file).catch(() => null);
  if (there && !there.isFile())
    throw new UsageError(
      `--output: ${file} is there and is no regular file; without --output the export goes to standard output`,
    );
  // A name that nobody can have laid out a link under.
  const part = `${file}.${randomBytes(6).toString('hex')}.part`;
  const handle = await openPrivate(part, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL);
  const stream = handle.createWriteStream();
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      if (world.signal.aborted) throw new Error(`stopped before ${file} was whole`);
      bytes += Buffer.byteLength(piece);
      if (!stream.write(piece)) await once(stream, 'drain');
    }
    stream.end();
    await finished(stream);
    await rename(part, file);
  } catch (error) {
    stream.destroy();
    await rm(part, { force: true });
    throw error;
  }
  return bytes;
}
