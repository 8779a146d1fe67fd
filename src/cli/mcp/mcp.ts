import type { Command } from 'commander';
import { withClient, withConnection, type ConnectionFlags } from '../connection.js';
import type { World } from '../world.js';
import { commandTool } from './command-tool.js';
import { exposed } from './exposed.js';
import { schemaTools } from './schema-tool.js';
import type { Tool } from './tool.js';

interface Flags extends ConnectionFlags {
  readonly allowChanges?: boolean;
}

/** The command line that tools are made of. */
export interface CommandLine {
  readonly version: string;
  create(world: World): Command;
  run(argv: readonly string[], world: World): Promise<number>;
}

export function addMcp(program: Command, world: World, commands: CommandLine): void {
  withConnection(program.command('mcp'))
    .description(
      'serve the Model Context Protocol on standard input and output: tools for agents, read-only ones by default',
    )
    .option(
      '--allow-changes',
      'also tools that change something that lasts: sessions, alerts, and mutations of GraphQL',
    )
    .action(async (flags: Flags) => {
      const tools = toolsOf(flags, world, commands);
      // Loaded when needed, as what serves is.
      const { serveTools } = await import('./server.js');
      await serveTools(tools, commands.version, world.signal);
    });
}

/** Without a server, those tools that can do what a server would. */
export function toolsOf(flags: Flags, world: World, commands: CommandLine): readonly Tool[] {
  const { server, token, ca, engine, logLevel, allowChanges = false } = flags;
  const common = Object.fromEntries(
    Object.entries({
      server,
      token,
      ca,
      engine: engine?.join(','),
      'log-level': server === undefined ? logLevel : undefined,
    }).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const program = commands.create(world);
  const usable = exposed.filter(({ changes }) => allowChanges || !changes);
  const made = usable
    .filter(({ needsServer }) => server !== undefined || !needsServer)
    .map((each) => commandTool(each, program, { common, run: (argv, own) => commands.run(argv, own), world }));
  return [...made, ...schemaTools((work) => withClient(world, flags, work), allowChanges)];
}
