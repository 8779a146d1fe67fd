import type { Command } from 'commander';
import { counted } from '../base/listed.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { forEachId } from './usage.js';
import type { World } from './world.js';

interface Stopped {
  readonly id: string;
  readonly state: string;
  readonly problem: string | null;
  readonly stats: { readonly delivered: string; readonly lost: string };
}

const STOP = 'mutation Stop($id: ID!) { session: stopSession(id: $id) { id state problem stats { delivered lost } } }';
const REMOVE = 'mutation Remove($id: ID!) { removeSession(id: $id) }';

export function addStop(program: Command, world: World): void {
  withServer(program.command('stop'), 'which server has the session?')
    .description('stop sessions; their events stay until they are removed')
    .argument('<session...>', 'their ids')
    .option('--remove', 'also delete them with their events, in memory and in stores')
    .action((ids: readonly string[], flags: ServerFlags & { readonly remove?: boolean }) =>
      withClient(world, flags, (client) =>
        forEachId(ids, async (id) => {
          const { session } = await client.query<{ session: Stopped }>(STOP, { id });
          if (flags.remove) await client.query(REMOVE, { id });
          const { state, problem, stats } = session;
          const end = problem === null ? '' : `: ${problem}`;
          await world.output.write(
            `${id}: ${flags.remove ? 'removed' : state.toLowerCase()}, ${counted(stats.delivered, 'event')}, ${stats.lost} lost${end}\n`,
          );
        }),
      ),
    );
}
