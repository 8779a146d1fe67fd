import { Option, type Command } from 'commander';
import { counted } from '../base/listed.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { describeTrackers } from './field.js';
import { createPrinter, type Format } from './printer.js';
import { readEvents, tellGap } from './stream.js';
import { collect, UsageError, wholeNumber } from './usage.js';
import type { World } from './world.js';

interface Flags extends ServerFlags {
  readonly output: Format;
  readonly fields?: readonly string[];
  readonly limit?: number;
  readonly replay: number;
}

const SESSION = 'query Session($id: ID!) { session(id: $id) { trackers state } }';
const MOST = 1_000_000;

export function addAttach(program: Command, world: World): void {
  withServer(program.command('attach'), 'which server has the session?')
    .description('print the events of a session as they come, until it ends or Ctrl-C; the session goes on')
    .argument('<session>', 'its id')
    .option('--replay <events>', 'first those before now, this many', wholeNumber('--replay', 0, MOST), 0)
    .option('-n, --limit <events>', 'end after this many events', wholeNumber('--limit', 1, Number.MAX_SAFE_INTEGER))
    .addOption(
      new Option('-o, --output <format>', 'table, json (one event per line) or csv')
        .choices(['table', 'json', 'csv'])
        .default('table'),
    )
    .option('-f, --fields <paths>', 'only these fields: process.comm,args', collect)
    .action((id: string, flags: Flags) =>
      withClient(world, flags, async (client) => {
        const { session } = await client.query<{ session: { trackers: readonly string[] } | null }>(SESSION, { id });
        if (!session)
          throw new UsageError(`the server has no session ${JSON.stringify(id)}; \`eunomia sessions\` lists them`);
        const printer = createPrinter(await describeTrackers(client, session.trackers), {
          format: flags.output,
          fields: flags.fields ?? null,
          width: world.output.width,
        });
        if (printer.head) await world.output.write(printer.head);
        const { events, dropped } = await readEvents({
          client,
          session: id,
          selection: printer.selection,
          limit: flags.limit ?? null,
          replay: flags.replay,
          signal: world.signal,
          ready: () => world.tell('attached; Ctrl-C detaches'),
          onBatch(batch) {
            if (batch.gap) tellGap(batch.gap, world);
            const text = printer.print(batch.events);
            return text === '' || world.output.write(text);
          },
        });
        world.tell(`${counted(events, 'event')}, ${dropped} dropped`);
      }),
    );
}
