import { Option, type Command } from 'commander';
import { withClient, withServer, type ServerFlags } from './connection.js';
import { Table } from './format.js';
import { secondOf } from './time.js';
import type { World } from './world.js';

interface Flags extends ServerFlags {
  readonly output: 'table' | 'json';
}

interface ListedRule {
  readonly name: string;
  readonly severity: string;
  readonly enabled: boolean;
  readonly problem: string | null;
  readonly origin: string;
  readonly file: string;
  readonly description: string;
  readonly actions: readonly { readonly kind: string; readonly problem: string | null }[];
  readonly stats: {
    readonly alerts: string;
    readonly repeated: string;
    readonly suppressed: string;
    readonly lastAlertAt: string | null;
  };
}

interface Rules {
  readonly problem: string | null;
  readonly missed: string;
  readonly rules: readonly ListedRule[];
}

const LIST = `{
  rules {
    problem
    missed
    rules {
      name severity enabled problem origin file description tags attack
      steps { trackers condition }
      actions { kind webhook trackers for events signal problem }
      stats { matched alerts repeated suppressed forgotten lastAlertAt }
    }
  }
}`;

/** Adds `list` to the group `rules`. */
export function addRulesList(rules: Command, world: World): void {
  withServer(rules.command('list'), 'which server has the rules?')
    .description("list the server's rules, and what they have raised")
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action((flags: Flags) =>
      withClient(world, flags, async (client) => print(await client.query(LIST), flags, world)),
    );
}

async function print(
  { rules: answer }: { readonly rules: Rules | null },
  { output }: Flags,
  world: World,
): Promise<void> {
  const { problem = null, missed = '0', rules = [] } = answer ?? {};
  if (output === 'json') await world.output.write(`${JSON.stringify(rules, null, 2)}\n`);
  else {
    const table = new Table(
      ['name', 'severity', 'state', 'alerts', 'repeated', 'suppressed', 'last alert', 'origin', 'file', 'description'],
      world.output.width,
    );
    await world.output.write(
      table.render(
        rules.map(({ name, severity, enabled, problem: why, origin, file, description, stats }) => [
          name,
          severity.toLowerCase(),
          why !== null ? 'problem' : enabled ? 'on' : 'off',
          stats.alerts,
          stats.repeated,
          stats.suppressed,
          secondOf(stats.lastAlertAt),
          origin.toLowerCase(),
          file,
          description,
        ]),
      ),
    );
  }
  for (const { name, problem: why } of rules) if (why !== null) world.tell(`${name} is not evaluated: ${why}`);
  for (const { name, actions } of rules)
    for (const { kind, problem: why } of actions)
      if (why !== null) world.tell(`${name}: the action ${kind.toLowerCase()} is not taken: ${why}`);
  if (missed !== '0') world.tell(`${missed} events were seen by no rule: they were lost in the kernel, or dropped`);
  if (problem !== null) world.tell(`the files as they are now are not in force:\n${problem}`);
}
