import { Option, type Command } from 'commander';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import type { World } from './world.js';
import { describeTrackers } from './field.js';
import { Table } from './format.js';
import type { Output } from './output.js';

interface Flags extends ConnectionFlags {
  readonly output: 'table' | 'json';
}

/** A tracker, and what the server's kernel says of it. */
interface Listed {
  readonly name: string;
  readonly summary: string;
  readonly available: boolean;
  readonly problem: string | null;
}

interface Described extends Listed {
  readonly minimumKernel: string;
  readonly hooks: readonly string[];
  readonly capabilities: readonly string[];
  readonly blindSpots: readonly string[];
  readonly options: readonly {
    readonly name: string;
    readonly type: { readonly name: string };
    readonly description: string;
    readonly default: unknown;
  }[];
  readonly fields: readonly {
    readonly path: string;
    readonly type: { readonly name: string };
    readonly description: string;
    readonly onDemand: boolean;
  }[];
}

const listDocument = '{ trackers { name summary available problem } }';
const fields = `name summary available problem minimumKernel hooks capabilities blindSpots eventType details columns
  options { name type { name } description default } fields { path type { name } description onDemand }`;

export function addTrackers(program: Command, world: World): void {
  withConnection(program.command('trackers'))
    .description('list the trackers, or show the options and fields of one')
    .argument('[name]', 'show only this tracker')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((name: string | undefined, flags: Flags) =>
      withClient(
        world,
        flags,
        async (client) => {
          if (name === undefined && flags.output === 'table') {
            const { trackers } = await client.query<{ trackers: readonly Listed[] }>(listDocument);
            return listAll(trackers, world.output);
          }
          const trackers =
            name === undefined
              ? (await client.query<{ trackers: readonly Described[] }>(`{ trackers { ${fields} } }`)).trackers
              : await describeTrackers<Described>(client, [name], fields);
          if (flags.output === 'json') await world.output.write(`${JSON.stringify(trackers, null, 2)}\n`);
          else for (const tracker of trackers) await tellAll(tracker, world.output);
        },
        { watches: false },
      ),
    );
}

async function listAll(trackers: readonly Listed[], output: Output): Promise<void> {
  const table = new Table(['name', 'available', 'summary'], output.width);
  await output.write(table.render(trackers.map((tracker) => [tracker.name, availability(tracker), tracker.summary])));
}

async function tellAll(tracker: Described, output: Output): Promise<void> {
  const options = new Table(['option', 'type', 'default', 'description'], output.width);
  const fields = new Table(['field', 'type', 'captured', 'description'], output.width);
  await output.write(
    [
      `${tracker.name}: ${tracker.summary}`,
      `available: ${availability(tracker)}; oldest Linux: ${tracker.minimumKernel}`,
      `hooks: ${tracker.hooks.join(', ') || '-'}`,
      `capabilities: ${tracker.capabilities.join(', ') || '-'}`,
      `blind spots:${tracker.blindSpots.map((text) => `\n  - ${text}`).join('') || ' none known'}`,
      '',
      options.render(
        tracker.options.map(({ name, type, default: value, description }) => [
          name,
          type.name,
          value === null ? '' : JSON.stringify(value),
          description,
        ]),
      ),
      fields.render(
        tracker.fields.map(({ path, type, onDemand, description }) => [
          path,
          type.name,
          onDemand ? 'on demand' : 'always',
          description,
        ]),
      ),
    ].join('\n'),
  );
}

function availability({ available, problem }: Listed): string {
  return available ? 'yes' : `no: ${problem ?? 'unknown'}`;
}
