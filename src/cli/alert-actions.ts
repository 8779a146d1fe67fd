import { Option, type Command } from 'commander';
import { severities } from '../event/severity.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { Table } from './format.js';
import { secondOf } from './time.js';
import { anyCase, forEachId, UsageError } from './usage.js';
import type { World } from './world.js';

/** What people do with one alert, as the schema names it. */
const actions = [
  ['acknowledge', 'acknowledgeAlert', 'somebody looks into it: what is raised with its key counts on it'],
  ['resolve', 'resolveAlert', 'it is done with: what is raised with its key is a new alert'],
  ['reopen', 'reopenAlert', 'it is open again'],
  ['comment', 'commentAlert', 'say something about it'],
] as const;

interface SilenceFlags extends ServerFlags {
  readonly rule?: string;
  readonly source?: string;
  readonly container?: string;
  readonly image?: string;
  readonly key?: string;
  readonly severityAtMost?: string;
  readonly for?: string;
  readonly until?: string;
  readonly reason?: string;
}

interface Silence {
  readonly id: string;
  readonly rule: string | null;
  readonly source: string | null;
  readonly container: string | null;
  readonly image: string | null;
  readonly key: string | null;
  readonly severityAtMost: string | null;
  readonly reason: string;
  readonly by: string;
  readonly until: string;
  readonly active: boolean;
}

const SILENCE = 'id rule source container image key severityAtMost reason by createdAt until endedAt endedBy active';

/** Adds what changes something to the group `alerts`. */
export function addAlertActions(alerts: Command, world: World): void {
  for (const [name, field, text] of actions) addAction(alerts, world, { name, field, text });
  withServer(alerts.command('silence'), 'which server shall be quiet?')
    .description('keep alerts from being sent out for a time; they are listed all the same')
    .option('--rule <name>', 'of this rule')
    .option('--source <source>', 'raised by this: plugin:NAME')
    .option('--container <pattern>', 'of containers with a name like this: web-*')
    .option('--image <pattern>', 'of containers with an image like this')
    .option('--key <key>', 'with this key')
    .addOption(anyCase(new Option('--severity-at-most <severity>', 'of this severity or lower'), severities))
    .option('--for <duration>', 'for so long: 90m, 8h')
    .option('--until <time>', 'until this time (RFC 3339)')
    .requiredOption('--reason <text>', 'why')
    .action((flags: SilenceFlags) =>
      withClient(world, flags, async (client) => {
        if ((flags.for === undefined) === (flags.until === undefined))
          throw new UsageError('give --for or --until: a silence has an end');
        const { silence } = await client.query<{ silence: Silence }>(
          `mutation Silence($input: SilenceInput!) { silence(input: $input) { ${SILENCE} } }`,
          { input: silenceInput(flags) },
        );
        await world.output.write(`${silence.id}: until ${silence.until}\n`);
      }),
    );
  withServer(alerts.command('unsilence'), 'which server has the silence?')
    .description('end a silence before its time')
    .argument('<silence>', 'its id')
    .action((id: string, flags: ServerFlags) =>
      withClient(world, flags, async (client) => {
        await client.query('mutation End($id: ID!) { endSilence(id: $id) { id } }', { id });
        await world.output.write(`${id}: ended\n`);
      }),
    );
  withServer(alerts.command('silences'), 'which server has the silences?')
    .description('list silences, those in force first')
    .option('--active', 'only those in force')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((flags: ServerFlags & { readonly active?: boolean; readonly output: 'table' | 'json' }) =>
      withClient(world, flags, async (client) => {
        const { silences } = await client.query<{ silences: readonly Silence[] }>(
          `query Silences($active: Boolean) { silences(active: $active) { ${SILENCE} } }`,
          { active: flags.active ?? null },
        );
        if (flags.output === 'json') return void (await world.output.write(`${JSON.stringify(silences, null, 2)}\n`));
        const table = new Table(['id', 'state', 'until', 'of', 'by', 'reason'], world.output.width);
        await world.output.write(table.render(silences.map(cellsOf)));
      }),
    );
}

function addAction(
  alerts: Command,
  world: World,
  { name, field, text }: { readonly name: string; readonly field: string; readonly text: string },
): void {
  const required = name === 'comment';
  const command = withServer(alerts.command(name), 'which server has the alert?')
    .description(text)
    .argument('<alert...>', 'the ids of alerts');
  const option = new Option('--comment <text>', 'what to say about it');
  command.addOption(required ? option.makeOptionMandatory() : option);
  const document = `mutation Handle($id: ID!, $comment: String${required ? '!' : ''}) {
    alert: ${field}(id: $id, comment: $comment) { id state } }`;
  command.action((ids: readonly string[], flags: ServerFlags & { readonly comment?: string }) =>
    withClient(world, flags, (client) =>
      forEachId(ids, async (id) => {
        const { alert } = await client.query<{ alert: { id: string; state: string } }>(document, {
          id,
          comment: flags.comment ?? null,
        });
        await world.output.write(`${alert.id}: ${alert.state.toLowerCase()}\n`);
      }),
    ),
  );
}

/** `SilenceInput`. */
function silenceInput({ severityAtMost, ...flags }: SilenceFlags): object {
  const { rule, source, container, image, key, until, reason } = flags;
  return {
    ...{ rule, source, container, image, key, until, reason },
    severityAtMost: severityAtMost?.toUpperCase(),
    for: flags.for,
  };
}

function cellsOf({ id, active, until, by, reason, ...of }: Silence): readonly string[] {
  const conditions = [
    ...(['rule', 'source', 'container', 'image', 'key'] as const).flatMap((name) =>
      of[name] === null ? [] : [`${name} ${of[name]}`],
    ),
    ...(of.severityAtMost === null ? [] : [`${of.severityAtMost.toLowerCase()} at most`]),
  ];
  return [id, active ? 'active' : 'over', secondOf(until), conditions.join(', '), by, reason];
}
