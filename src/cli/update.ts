import { Option, type Command } from 'commander';
import type { Client } from '../client/client.js';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { checkFlags } from './effect.js';
import { pathsOfSession } from './field.js';
import { persistInput } from './persist.js';
import { targetInput, withTarget, type TargetFlags } from './target.js';
import { UsageError } from './usage.js';
import { whereInput } from './where.js';
import type { World } from './world.js';

interface Flags extends ServerFlags, TargetFlags {
  readonly where?: string | false;
  readonly for?: string | false;
  readonly name?: string | false;
  readonly capture?: string;
  /** The store; true for the default one. */
  readonly persist?: string | boolean;
  /** False: the whole machine. */
  readonly target?: boolean;
}

interface Changed {
  readonly id: string;
  readonly name: string | null;
  readonly stopsAt: string | null;
  readonly explain: { readonly where: string | null };
  readonly persistence: { readonly store: string; readonly state: string } | null;
  readonly changes: readonly { readonly at: string }[];
}

const document = `mutation Update($id: ID!, $input: UpdateSessionInput!) {
  updateSession(id: $id, input: $input) { id name stopsAt explain { where } persistence { store state } changes { at } } }`;

export function addUpdate(program: Command, world: World): void {
  const command = withServer(program.command('update'), 'which server has the session?');
  checkFlags<Flags>(command, ({ container, image, label, cgroup, pid, uid, comm, target }) => {
    if (target === false && [container, image, label, cgroup, pid, uid, comm].some((list) => list !== undefined))
      throw new UsageError(
        '--no-target: the whole machine is no container, process, user or thread; leave one of them out',
      );
  });
  command
    .description('change a running session without losing an event; what is not given stays')
    .argument('<session>', 'its id');
  withTarget(command)
    .option('--no-target', 'watch the whole machine')
    .option('--where <expression>', 'keep only events that match this CEL expression, or the saved filter @NAME')
    .option('--no-where', 'keep all events of the target')
    .option('--for <duration>', 'stop it this long after its start: 10m, 1h')
    .option('--no-for', 'do not stop it after a time')
    .option('--name <text>', 'its name')
    .option('--no-name', 'remove its name')
    .addOption(
      new Option('--capture <mode>', 'which on-demand fields are captured').choices(['demanded', 'default', 'all']),
    )
    .addOption(
      new Option('--persist [store]', 'write its events from now on to a store; the embedded one by default').choices([
        'embedded',
        'influx',
      ]),
    )
    .option('--no-persist', 'keep its events in memory only from now on; what was stored stays')
    .action((id: string, flags: Flags) =>
      withClient(world, flags, async (client) => {
        const { updateSession } = await client.query<{ updateSession: Changed }>(document, {
          id,
          input: await inputOf(client, id, flags),
        });
        await world.output.write(`${textOf(updateSession)}\n`);
      }),
    );
}

/** `UpdateSessionInput`. Rejects with a UsageError where nothing is given. */
async function inputOf(client: Client, id: string, flags: Flags): Promise<Record<string, unknown>> {
  const target = targetInput(flags);
  const unless = <Value>(value: Value | false): Value | null => (value === false ? null : value);
  const input = {
    ...(target ? { target } : flags.target === false ? { target: null } : {}),
    ...(flags.where === undefined ? {} : { where: await whereOf(client, id, flags, flags.where) }),
    ...(flags.for === undefined ? {} : { for: unless(flags.for) }),
    ...(flags.name === undefined ? {} : { name: unless(flags.name) }),
    ...(flags.capture === undefined ? {} : { capture: flags.capture.toUpperCase() }),
    ...(flags.persist === undefined ? {} : { persist: persistInput(flags.persist) }),
  };
  if (Object.keys(input).length === 0)
    throw new UsageError('nothing to change: give for example --where, --container, --for, --persist or --name');
  return input;
}

async function whereOf(client: Client, id: string, flags: Flags, where: string | false): Promise<object | null> {
  return where === false ? null : whereInput(where, flags, await pathsOfSession(client, id));
}

function textOf({ id, name, stopsAt, explain: { where }, persistence, changes }: Changed): string {
  const facts = [
    name === null ? 'no name' : `name ${JSON.stringify(name)}`,
    where === null ? 'no filter' : `filter ${where}`,
    stopsAt === null ? 'until it is stopped' : `until ${stopsAt}`,
    persistence === null || persistence.state === 'OFF'
      ? 'in memory only'
      : `stored in the ${persistence.store.toLowerCase()} store`,
  ];
  return `${id}: ${facts.join(', ')}; changed at ${changes.at(-1)?.at ?? 'once'}`;
}
