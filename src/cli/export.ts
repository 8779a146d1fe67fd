import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { Option, type Command } from 'commander';
import type { Client, Parameters } from './client.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
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
  withConnection(program.command('export'))
    .description("write a session's events, or an aggregate of them, to a file")
    .argument('[session]', 'the id of a session of the server at --server')
    .option('--from <file>', 'instead of a session: a recording (NDJSON), to make another format of it')
    .addOption(
      new Option('--format <format>', 'ndjson (what `eunomia replay` reads), csv or parquet')
        .choices(['ndjson', 'csv', 'parquet'])
        .default('ndjson'),
    )
    .option('-o, --output <file>', 'write here, at the end and as a whole; else to standard output')
    .option('-f, --fields <paths>', 'only these fields: process.comm,args', collect)
    .option('--where <expression>', 'only events that match this CEL expression: errno == "ENOENT"')
    .option('--follow', 'go on until the session ends')
    .option('--group-by <paths>', 'an aggregate: these fields', collect)
    .option('--measures <list>', 'of an aggregate: p99(durationNs),sum(sentBytes),top(path)', collect)
    .option('--window <duration>', 'of an aggregate: 1m')
    .option('-n, --limit <rows>', 'of an aggregate: at most so many rows', wholeNumber('--limit', 1, 10_000))
    .action((session: string | undefined, flags: Flags) => {
      if ((session === undefined) === (flags.from === undefined))
        throw new UsageError('name a session or a recording with --from: one of them');
      if (session !== undefined && flags.server === undefined)
        throw new UsageError('--server: which server has the session? Give its URL, or EUNOMIA_SERVER');
      if (session !== undefined) return withClient(world, flags, (client) => exportTo(client, session, flags, world));
      return withReplay(world, flags.from ?? '', Number.POSITIVE_INFINITY, flags.logLevel, async (client, replayed) => {
        if (flags.groupBy ?? flags.measures) await replayedToEnd(client);
        await exportTo(client, replayed.id, { ...flags, follow: !(flags.groupBy ?? flags.measures) }, world);
        const { stopReason, error } = await replayedSession(client);
        if (stopReason === 'ERROR') throw new UsageError(error ?? 'the recording cannot be read');
        if (error !== null) world.tell(error);
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

/** Under another name until it is whole: a file that is there is complete. */
async function toFile(pieces: AsyncIterable<string | Uint8Array>, file: string, world: World): Promise<number> {
  const part = `${file}.part`;
  const stream = createWriteStream(part);
  let bytes = 0;
  try {
    await once(stream, 'open');
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
