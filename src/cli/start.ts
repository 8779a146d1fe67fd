import { Option, type Command } from 'commander';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { describeTrackers, readablePaths } from './field.js';
import { parseSetting, parseTracker, trackerInputs } from './input.js';
import { persistFlag, startedWith, type StartFlags } from './persist.js';
import { targetInput, withTarget, type TargetFlags } from './target.js';
import { append, collect } from './usage.js';
import { whereInput } from './where.js';
import type { World } from './world.js';

interface Flags extends ServerFlags, TargetFlags, StartFlags {
  readonly where?: string;
  readonly for?: string;
  readonly ttl?: string;
  readonly name?: string;
  readonly set?: readonly string[];
  readonly capture: string;
}

const document = 'mutation Start($input: StartSessionInput!) { startSession(input: $input) { id } }';

export function addStart(program: Command, world: World): void {
  const command = withServer(program.command('start'), 'which server shall watch?')
    .description('start a session that goes on without this command; prints its id')
    .argument(
      '<tracker...>',
      'a tracker, optionally with options: open, open:failedOnly, tcp:operations=CONNECT,CLOSE',
    );
  withTarget(command)
    .option('--where <expression>', 'only events that match this CEL expression, or the saved filter @NAME')
    .option('--for <duration>', 'stop after this time: 10m, 1h')
    .option('--ttl <duration>', 'remove it this long after it has stopped')
    .option('--name <text>', 'a name for it')
    .option('--set <tracker.option=value>', "set a tracker's option (repeatable)", append)
    .addOption(
      new Option('--capture <mode>', 'which on-demand fields are captured')
        .choices(['demanded', 'default', 'all'])
        .default('default'),
    )
    .addOption(persistFlag('write its events to a store'))
    .option('--plugin <names>', 'attach these plugins', collect)
    .action((names: readonly string[], flags: Flags) =>
      withClient(world, flags, async (client) => {
        const requests = names.map(parseTracker);
        const trackers = await describeTrackers(
          client,
          requests.map(({ name }) => name),
        );
        const { startSession } = await client.query<{ startSession: { id: string } }>(document, {
          input: {
            trackers: trackerInputs([...requests, ...(flags.set ?? []).map(parseSetting)], trackers),
            target: targetInput(flags),
            where: flags.where === undefined ? null : await whereInput(flags.where, flags, readablePaths(trackers)),
            capture: flags.capture.toUpperCase(),
            for: flags.for,
            ttl: flags.ttl,
            name: flags.name,
            ...startedWith(flags),
          },
        });
        await world.output.write(`${startSession.id}\n`);
      }),
    );
}
