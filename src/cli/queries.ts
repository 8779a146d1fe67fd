import { Option, type Command } from 'commander';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { Table } from './format.js';
import { allRows } from './pages.js';
import { secondOf } from './time.js';
import type { World } from './world.js';

interface Flags extends ServerFlags {
  readonly kind?: string;
  readonly output: 'table' | 'json';
}

interface SavedFields {
  readonly name: string;
  readonly kind: string;
  readonly description: string | null;
  readonly version: number;
  readonly savedBy: string;
  readonly savedAt: string;
}

const document = `query Queries($kind: SavedQueryKind, $first: Int, $after: Cursor) {
  page: savedQueries(kind: $kind, first: $first, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { name kind description version savedBy savedAt trackers content }
  }
}`;

export function addQueries(program: Command, world: World): void {
  withServer(program.command('queries'), 'which server has the saved queries?')
    .description("list the server's saved filters, aggregates and boards: --where @NAME uses a filter")
    .addOption(new Option('--kind <kind>', 'only those of this kind').choices(['filter', 'aggregate', 'board']))
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((flags: Flags) =>
      withClient(world, flags, async (client) => {
        const { rows: queries } = await allRows<SavedFields>(client, document, {
          kind: flags.kind?.toUpperCase() ?? null,
        });
        if (flags.output === 'json') return void (await world.output.write(`${JSON.stringify(queries, null, 2)}\n`));
        const table = new Table(['name', 'kind', 'version', 'saved by', 'saved at', 'description'], world.output.width);
        const rows = queries.map(({ name, kind, description, version, savedBy, savedAt }) => [
          name,
          kind.toLowerCase(),
          String(version),
          savedBy,
          secondOf(savedAt),
          description ?? '',
        ]);
        await world.output.write(table.render(rows));
      }),
    );
}
