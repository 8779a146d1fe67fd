import { Option, type Command } from 'commander';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { Table } from './format.js';
import { allRows } from './pages.js';
import { secondOf } from './time.js';
import type { World } from './world.js';

interface Flags extends ServerFlags {
  readonly running?: boolean;
  readonly output: 'table' | 'json';
}

interface SessionFields {
  readonly id: string;
  readonly name: string | null;
  readonly state: string;
  readonly trackers: readonly string[];
  readonly startedAt: string | null;
  readonly stoppedAt: string | null;
  readonly stats: { readonly received: string; readonly lost: string };
}

const document = `query Sessions($state: SessionState, $first: Int, $after: Cursor) {
  page: sessions(state: $state, first: $first, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id name state trackers origin startedAt stoppedAt stopsAt stopReason problem labels { name value }
      stats { produced lost received delivered }
    }
  }
}`;

export function addSessions(program: Command, world: World): void {
  withServer(program.command('sessions'), 'which server has the sessions?')
    .description(
      "list the server's sessions, in memory and in its stores: `export`, `report` and `update` take their ids",
    )
    .option('--running', 'only those that run now')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((flags: Flags) =>
      withClient(world, flags, async (client) => {
        const { rows: sessions } = await allRows<SessionFields>(client, document, {
          state: flags.running ? 'RUNNING' : null,
        });
        if (flags.output === 'json') return void (await world.output.write(`${JSON.stringify(sessions, null, 2)}\n`));
        const table = new Table(
          ['id', 'name', 'state', 'trackers', 'started', 'stopped', 'received', 'lost'],
          world.output.width,
        );
        const rows = sessions.map(({ id, name, state, trackers, startedAt, stoppedAt, stats }) => [
          id,
          name ?? '',
          state.toLowerCase(),
          trackers.join(','),
          secondOf(startedAt),
          secondOf(stoppedAt),
          stats.received,
          stats.lost,
        ]);
        await world.output.write(table.render(rows));
      }),
    );
}
