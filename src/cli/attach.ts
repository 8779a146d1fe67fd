import type { Command } from 'commander';
import { EunomiaError } from '../base/errors.js';
import { counted } from '../base/listed.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { printBatch, printerOf, withEvents, type EventFlags } from './event-flags.js';
import { describeTrackers } from './field.js';
import { readEvents, tellGap } from './stream.js';
import { wholeNumber } from './usage.js';
import type { World } from './world.js';

interface Flags extends ServerFlags, EventFlags {
  readonly replay: number;
}

const SESSION = 'query Session($id: ID!) { session(id: $id) { trackers state } }';
const MOST = 1_000_000;

export function addAttach(program: Command, world: World): void {
  withEvents(withServer(program.command('attach'), 'which server has the session?'))
    .description('print the events of a session as they come, until it ends or Ctrl-C; the session goes on')
    .argument('<session>', 'its id')
    .option('--replay <events>', 'first those before now, this many', wholeNumber('--replay', 0, MOST), 0)
    .action((id: string, flags: Flags) =>
      withClient(world, flags, async (client) => {
        const { session } = await client.query<{ session: { trackers: readonly string[] } | null }>(SESSION, { id });
        if (!session)
          throw new EunomiaError(
            'UNKNOWN_SESSION',
            `the server has no session ${JSON.stringify(id)}; \`eunomia sessions\` lists them`,
          );
        const printer = printerOf(await describeTrackers(client, session.trackers), flags, world);
        if (printer.head) await world.output.write(printer.head);
        const { events, dropped } = await readEvents({
          client,
          session: id,
          selection: printer.selection,
          limit: flags.limit ?? null,
          replay: flags.replay,
          signal: world.signal,
          ready: () => world.tell('attached; Ctrl-C detaches'),
          onBatch: (batch) => printBatch(batch, printer, flags, { world, tellGap: (gap) => tellGap(gap, world) }),
        });
        world.tell(`${counted(events, 'event')}, ${dropped} dropped`);
      }),
    );
}
