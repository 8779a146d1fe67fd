import { Option, type Command } from 'commander';
import { suggest } from '../base/errors.js';
import { withClient, withConnection, type ConnectionFlags } from './connection.js';
import type { World } from './world.js';
import { trackerFields, type TrackerInfo } from './field.js';
import { Table } from './format.js';
import type { Output } from './output.js';
import { UsageError } from './usage.js';

interface Flags extends ConnectionFlags {
  readonly output: 'table' | 'json';
}

/** A tracker, and what the server's kernel says of it. */
interface Described extends TrackerInfo {
  readonly summary: string;
  readonly available: boolean;
  readonly problem: string | null;
  readonly minimumKernel: string;
  readonly hooks: readonly string[];
  readonly capabilities: readonly string[];
  readonly blindSpots: readonly string[];
}

const document = `{ trackers { summary available problem minimumKernel hooks capabilities blindSpots ${trackerFields} } }`;

export function addTrackers(program: Command, world: World): void {
  withConnection(program.command('trackers'))
    .description('list the trackers, or show the options and fields of one')
    .argument('[name]', 'show only this tracker')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((name: string | undefined, flags: Flags) =>
      withClient(world, flags, async (client) => {
        const { trackers } = await client.query<{ trackers: readonly Described[] }>(document);
        const chosen = name === undefined ? trackers : trackers.filter((tracker) => tracker.name === name);
        if (name !== undefined && !chosen.length) {
          const names = trackers.map((tracker) => tracker.name);
          throw new UsageError(
            `no tracker ${JSON.stringify(name)}${suggest(name, names) || `; there are ${names.join(', ')}`}`,
          );
        }
        if (flags.output === 'json') await world.output.write(`${JSON.stringify(chosen, null, 2)}\n`);
        else if (name === undefined) await listAll(chosen, world.output);
        else for (const tracker of chosen) await tellAll(tracker, world.output);
      }),
    );
}

async function listAll(trackers: readonly Described[], output: Output): Promise<void> {
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

function availability({ available, problem }: Described): string {
  return available ? 'yes' : `no: ${problem ?? 'unknown'}`;
}
