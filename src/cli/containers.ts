import { Option, type Command } from 'commander';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import { Table } from './format.js';
import { allRows } from './pages.js';
import type { World } from './world.js';

interface Flags extends ConnectionFlags {
  readonly all?: boolean;
  readonly output: 'table' | 'json';
}

interface ContainerFields {
  readonly id: string;
  readonly name: string | null;
  readonly image: string | null;
  readonly state: string;
  readonly runtime: string;
  readonly pid: number | null;
  readonly ips: readonly string[];
}

const states = ['CREATED', 'RUNNING', 'PAUSED', 'RESTARTING', 'EXITED', 'DEAD', 'UNKNOWN', 'REMOVED'];

const document = `query Containers($where: ContainerFilter, $first: Int, $after: Cursor) {
  page: containers(where: $where, first: $first, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id name image imageId state runtime pid ips cgroupId createdAt startedAt finishedAt
      composeProject composeService labels { name value } pod { name namespace uid } podUid
    }
  }
}`;

export function addContainers(program: Command, world: World): void {
  withConnection(program.command('containers'))
    .description('list the containers that the server knows')
    .option('-a, --all', 'include recently removed containers')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((flags: Flags) =>
      withClient(
        world,
        flags,
        async (client) => {
          const where = flags.all ? { states } : null;
          const { rows: containers } = await allRows<ContainerFields>(client, document, { where });
          if (flags.output === 'json') {
            await world.output.write(`${JSON.stringify(containers, null, 2)}\n`);
            return;
          }
          const table = new Table(['id', 'name', 'image', 'state', 'runtime', 'pid', 'ips'], world.output.width);
          await world.output.write(
            table.render(
              containers.map(({ id, name, image, state, runtime, pid, ips }) => [
                id.slice(0, 12),
                name ?? '',
                image ?? '',
                state.toLowerCase(),
                runtime,
                String(pid ?? ''),
                ips.join(' '),
              ]),
            ),
          );
        },
        { watches: false },
      ),
    );
}
