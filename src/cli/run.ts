import { Option, type Command } from 'commander';
import type { Client } from '../client/client.js';
import { counted } from '../base/listed.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { printBatch, printerOf, withEvents, type EventFlags } from './event-flags.js';
import { whereInput } from './where.js';
import type { World } from './world.js';
import { describeTrackers, readablePaths } from './field.js';
import { parseSetting, parseTracker, trackerInputs } from './input.js';
import { persistFlag, startedWith, type StartFlags } from './persist.js';
import type { Printer } from './printer.js';
import { withSession, type SessionEnding } from './session.js';
import { readEvents, tellGap, type StopCause } from './stream.js';
import { targetInput, withTarget, type TargetFlags } from './target.js';
import { top } from './top.js';
import { append, collect } from './usage.js';

interface Flags extends ConnectionFlags, TargetFlags, EventFlags, StartFlags {
  readonly where?: string;
  readonly for?: string;
  readonly set?: readonly string[];
  readonly capture?: string;
  readonly name?: string;
  readonly countBy?: readonly string[];
}

/** How `--count-by` counts. */
const counting = { every: '1s', limit: 1000, output: 'final' } as const;

export function addRun(program: Command, world: World): void {
  const command = withConnection(program.command('run'));
  command
    .description('run trackers and print their events, until Ctrl-C, --for or --limit')
    .argument(
      '<tracker...>',
      'a tracker, optionally with options: open, open:failedOnly, tcp:operations=CONNECT,CLOSE',
    );
  checkFlags<Flags>(command, ({ countBy, server }, refuse) => {
    if (countBy)
      refuse(
        ['fields', 'limit', 'output', 'gaps', 'capture', 'persist', 'plugin'],
        'is of events; --count-by prints a table of their counts',
      );
    if (server === undefined) refuse(['persist', 'plugin'], 'is of a server, which has them; give --server as well');
  });
  withEvents(withTarget(command))
    .option(
      '--where <expression>',
      'only events that match this CEL expression, or a saved filter, @NAME: errno == "ENOENT" && uid == 0',
    )
    .option('--for <duration>', 'stop after this time: 500ms, 10s, 5m')
    .option('--set <tracker.option=value>', "set a tracker's option (repeatable)", append)
    .addOption(
      new Option(
        '--capture <mode>',
        'which on-demand fields are captured (default: demanded; with --persist, default: what readers find later)',
      ).choices(['demanded', 'default', 'all']),
    )
    .option('--name <text>', 'a name for the session')
    .addOption(persistFlag('also write its events to a store of the server, and keep the session there when this ends'))
    .option('--plugin <names>', 'attach these plugins of the server; what they find is counted at the end', collect)
    .option(
      '--count-by <fields>',
      'count events by these fields instead, container.name,path, and print the counts at the end (live: eunomia top)',
      collect,
    )
    .action((names: readonly string[], flags: Flags) =>
      withClient(world, flags, (client) =>
        flags.countBy === undefined
          ? run(client, names, flags, world)
          : top(client, names, { ...flags, ...counting, by: flags.countBy }, world),
      ),
    );
}

async function run(client: Client, names: readonly string[], flags: Flags, world: World): Promise<void> {
  const requests = names.map(parseTracker);
  const trackers = await describeTrackers(
    client,
    requests.map(({ name }) => name),
  );
  const inputs = trackerInputs([...requests, ...(flags.set ?? []).map(parseSetting)], trackers);
  const target = targetInput(flags);
  const printer = printerOf(trackers, flags, world);
  if (world.signal.aborted) return;
  const input = {
    trackers: inputs,
    target,
    where: flags.where === undefined ? null : await whereInput(flags.where, flags, readablePaths(trackers)),
    capture: (flags.capture ?? (flags.persist === undefined ? 'demanded' : 'default')).toUpperCase(),
    // Captured from the first event on, also before our subscription is there.
    fields: printer.paths,
    for: flags.for ?? null,
    name: flags.name ?? `eunomia run ${names.join(' ')}`.slice(0, 100),
    ...startedWith(flags),
  };
  const work = (id: string, stop: () => Promise<SessionEnding>): Promise<void> =>
    print({ client, id, stop, printer, flags, world });
  await withSession(client, input, work, { keep: flags.persist !== undefined });
}

interface Printing {
  readonly client: Client;
  readonly id: string;
  readonly stop: () => Promise<SessionEnding>;
  readonly printer: Printer;
  readonly flags: Flags;
  readonly world: World;
}

async function print({ client, id, stop, printer, flags, world }: Printing): Promise<void> {
  if (printer.head) await world.output.write(printer.head);
  const { events, dropped, cause } = await readEvents({
    client,
    session: id,
    selection: printer.selection,
    limit: flags.limit ?? null,
    signal: world.signal,
    ready: () =>
      world.tell(
        [
          // Of a server, where others may read it, too.
          ...(flags.server === undefined ? [] : [`session ${id}:`]),
          flags.for === undefined ? 'tracing; Ctrl-C stops' : `tracing for ${flags.for}; Ctrl-C stops`,
        ].join(' '),
      ),
    stop: () => void stop().catch(() => undefined),
    onBatch: (batch) => printBatch(batch, printer, flags, { world, tellGap: (gap) => tellGap(gap, world) }),
  });
  const { stats } = await stop();
  for (const line of flags.plugin ? await findingsOf(client, id) : []) world.tell(line);
  for (const line of flags.persist === undefined ? [] : await storedOf(client, id)) world.tell(line);
  world.tell(summary(events, stats.lost, dropped, cause));
}

interface Attached {
  readonly name: string;
  readonly problem: string | null;
  readonly stats: { readonly results: string; readonly alerts: string };
}

/** A line for what each plugin of a session has found. */
async function findingsOf(client: Client, id: string): Promise<readonly string[]> {
  const { session } = await client.query<{ session: { plugins: readonly Attached[] } | null }>(
    'query Findings($id: ID!) { session(id: $id) { plugins { name problem stats { results alerts } } } }',
    { id },
  );
  return (session?.plugins ?? []).map(
    ({ name, problem, stats: { results, alerts } }) =>
      `plugin ${name}: ${counted(Number(results), 'result')}, ${counted(Number(alerts), 'alert')}${problem === null ? '' : `; ${problem}`}`,
  );
}

interface Stored {
  readonly written: string;
  readonly pending: string;
  readonly dropped: string;
  readonly problem: string | null;
}

/** A line for what the store has of a session, and what it has not and why. */
async function storedOf(client: Client, id: string): Promise<readonly string[]> {
  const { session } = await client.query<{ session: { persistence: Stored | null } | null }>(
    'query Stored($id: ID!) { session(id: $id) { persistence { written pending dropped problem } } }',
    { id },
  );
  if (!session?.persistence) return [];
  const { written, pending, dropped, problem } = session.persistence;
  const missing = [
    ...(pending === '0' ? [] : [`${pending} not yet`]),
    ...(dropped === '0' ? [] : [`${dropped} dropped`]),
  ].map((text) => `, ${text}`);
  return [`stored: ${counted(Number(written), 'event')}${missing.join('')}${problem === null ? '' : `; ${problem}`}`];
}

function summary(events: number, lost: string, dropped: bigint, cause: StopCause): string {
  const because = { ended: '', limit: ' (limit)', signal: '', reader: ' (the reader went away)' }[cause];
  return `${counted(events, 'event')}, ${lost} lost, ${dropped} dropped${because}`;
}
