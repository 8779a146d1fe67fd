import { Option, type Command } from 'commander';
import { defaultConfig, type Config } from '../base/config.js';
import { createLog } from '../base/log.js';
import { counted } from '../base/listed.js';
import { createLocalClient, type Client } from '../client/client.js';
import { checkFlags } from './effect.js';
import { printBatch, printerOf, withEvents, type EventFlags } from './event-flags.js';
import { describeTrackers } from './field.js';
import { accessOf, limitsOf } from '../options/config.js';
import { accessSettings, generalSettings } from '../options/server.js';
import { variableOf } from '../options/setting.js';
import { SettingSources, type FlagValues } from '../options/sources.js';
import { accessGroup, limitGroup } from '../options/table.js';
import { addSettings, attributeOf, flagOf, orVariable, givenFlags } from './flags.js';
import { serve } from './serve.js';
import { readEvents } from './stream.js';
import { UsageError } from './usage.js';
import type { World } from './world.js';

interface Flags extends EventFlags {
  readonly speed: number;
  readonly port?: number;
  readonly logLevel: string;
}

/** What can be set of a replay that is served: the port is its own, since it says that it is. */
const servingGroups = [accessGroup, limitGroup].map(({ title, settings }) => ({
  title: `${title}, with --port`,
  settings: settings.filter((each) => each !== accessSettings.port),
}));
const servingSettings = servingGroups.flatMap(({ settings }) => settings);

/** The session that a replaying server has. */
export interface Replayed {
  readonly id: string;
  readonly trackers: readonly string[];
  readonly state: string;
  readonly stopReason: string | null;
  readonly problem: string | null;
  readonly stats: { readonly lost: string };
}

export function addReplay(program: Command, world: World): void {
  const { logLevel } = generalSettings;
  const command = withEvents(program.command('replay'));
  checkFlags<Flags>(command, ({ port }, refuse) => {
    if (port !== undefined) refuse(['output', 'fields', 'gaps', 'limit'], 'is for printing; leave it out with --port');
    else refuse(servingSettings.map(attributeOf), 'is for serving; give --port as well');
  });
  command
    .description(
      'replay a recording made by `eunomia export --format ndjson`: print it, or serve it with --port. Requires neither root nor BPF',
    )
    .argument('<file>', 'the recording')
    .addOption(
      new Option('--speed <times>', '1 is the original speed, 10 is ten times as fast, max is as fast as possible')
        .argParser(speedOf)
        .default(Number.POSITIVE_INFINITY, 'max'),
    )
    .addOption(flagOf(accessSettings.port, 'serve the session over GraphQL until Ctrl-C; 0 takes a free port'))
    .addOption(orVariable(flagOf(logLevel, logLevel.text, 'warn'), variableOf(logLevel)))
    .action((file: string, flags: Flags) =>
      flags.port === undefined
        ? print(file, flags, world)
        : serve(served(file, flags, flags.port, givenFlags(command, servingSettings)), world, {
            says: `Eunomia replays ${file}`,
          }),
    );
  addSettings(command, servingGroups);
}

/** Runs some work with a client of a server, in this process, that replays a file. */
export async function withReplay<T>(
  world: World,
  file: string,
  speed: number,
  logLevel: string,
  work: (client: Client, session: Replayed) => Promise<T>,
): Promise<T> {
  const client = createLocalClient(await world.local(configOf(file, speed, 0, logLevel), createLog(logLevel)));
  try {
    return await work(client, await replayedSession(client));
  } finally {
    await client.close();
  }
}

export async function replayedSession(client: Client): Promise<Replayed> {
  const { sessions } = await client.query<{ sessions: { readonly nodes: readonly Replayed[] } }>(
    '{ sessions(first: 1) { nodes { id trackers state stopReason problem stats { lost } } } }',
  );
  const [session] = sessions.nodes;
  if (!session) throw new Error('the recording makes no session');
  return session;
}

function configOf(file: string, speed: number, port: number, logLevel: string): Config {
  return { ...defaultConfig, port, engines: [], logLevel, replay: { file, speed } };
}

/** A replay that is served has the address, the access and the limits of a server. */
function served(file: string, { speed, logLevel }: Flags, port: number, given: FlagValues): Config {
  const sources = new SettingSources(given, process.env);
  return { ...configOf(file, speed, port, logLevel), ...accessOf(sources), port, limits: limitsOf(sources) };
}

function speedOf(text: string): number {
  const speed = text === 'max' ? Number.POSITIVE_INFINITY : /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (speed === Number.POSITIVE_INFINITY || (speed >= 0.01 && speed <= 100_000)) return speed;
  throw new UsageError(`--speed: ${JSON.stringify(text)} is neither "max" nor a number from 0.01 to 100000`);
}

async function print(file: string, flags: Flags, world: World): Promise<void> {
  await withReplay(world, file, flags.speed, flags.logLevel, async (client, session) => {
    const printer = printerOf(await describeTrackers(client, session.trackers), flags, world);
    if (printer.head) await world.output.write(printer.head);
    const { events, dropped } = await readEvents({
      client,
      session: session.id,
      selection: printer.selection,
      limit: flags.limit ?? null,
      signal: world.signal,
      ready: () => undefined,
      stop: () =>
        void client
          .query('mutation Stop($id: ID!) { stopSession(id: $id) { id } }', { id: session.id })
          .catch(() => undefined),
      onBatch: (batch) =>
        printBatch(batch, printer, flags, {
          world,
          tellGap: ({ lost, from, to }) => world.tell(`gap: ${counted(lost, 'event')} missing, ${from} to ${to}`),
        }),
    });
    await tellEnd(client, world, (lost) => `${counted(events, 'event')}, ${lost} lost, ${dropped} dropped`);
  });
}

/** A recording that could not be read to its end is an error; one that was cut is told. */
export async function tellEnd(client: Client, world: World, summary: (lost: string) => string): Promise<void> {
  const { problem, stopReason, stats } = await replayedSession(client);
  world.tell(summary(stats.lost));
  if (stopReason === 'ERROR') throw new UsageError(problem ?? 'the recording cannot be read');
  if (problem !== null) world.tell(problem);
}
