import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { isLoopback } from '../../access/access.js';
import { EunomiaError } from '../../base/errors.js';
import { withClient, withConnection, type ConnectionFlags } from '../connection.js';
import { checkFlags } from '../effect.js';
import { UsageError } from '../usage.js';
import type { World } from '../world.js';
import { commandTool } from './command-tool.js';
import { exposed } from './exposed.js';
import type { Address } from './http.js';
import { schemaTools } from './schema-tool.js';
import type { Tool } from './tool.js';

interface Flags extends ConnectionFlags {
  readonly allowChanges?: boolean;
  readonly listen?: Address;
}

/** The command line that tools are made of. */
export interface CommandLine {
  readonly version: string;
  create(world: World): Command;
  run(argv: readonly string[], world: World): Promise<number>;
}

export function addMcp(program: Command, world: World, commands: CommandLine): void {
  const command = withConnection(program.command('mcp'));
  checkFlags<Flags>(command, ({ listen, server }, refuse) => {
    if (listen === undefined) return;
    if (server === undefined) throw new UsageError('--listen: the tokens are those of a server; give --server as well');
    refuse(['token'], 'does nothing with --listen: each client sends its own');
  });
  command
    .description(
      'serve the Model Context Protocol, on standard input and output or HTTP: tools for agents, read-only ones by default',
    )
    .option(
      '--allow-changes',
      'also tools that change something that lasts: sessions, alerts, and mutations of GraphQL',
    )
    .option(
      '--listen <host:port>',
      'serve HTTP at this loopback address (/mcp), to clients that have a token of the server; port 0 takes a free one',
      addressOf,
    )
    .action(async (flags: Flags) => {
      if (flags.listen) return serveByHttp(flags.listen, flags, world, commands);
      const tools = toolsOf(flags, world, commands);
      // Loaded when needed, as what serves is.
      const { serveTools } = await import('./server.js');
      await serveTools(tools, commands.version, world.signal);
    });
}

async function serveByHttp(address: Address, flags: Flags, world: World, commands: CommandLine): Promise<void> {
  const { serveHttp } = await import('./http.js');
  // Never with what this process may: who has no token has no tool.
  const as = (token: string): Flags => ({ ...flags, token });
  const ask = (token: string): Promise<unknown> =>
    withClient(world, as(token), (client) => client.query('{ server { version } }'));
  /** A server without tokens goes by the user of a connection, whatever token is sent: that is this process's. */
  const checkServer = async (): Promise<void> => {
    const lets = await ask(randomUUID()).then(
      () => true,
      (error: unknown) => {
        if (error instanceof EunomiaError && error.code === 'UNAUTHENTICATED') return false;
        throw error;
      },
    );
    if (lets)
      throw new EunomiaError(
        'FORBIDDEN',
        `--listen: the server lets this user in without a token, and each agent would have its rights; ` +
          `start ${flags.server} with tokens (--tokens-file)`,
      );
  };
  await checkServer();
  await serveHttp(address, {
    version: commands.version,
    async admit(token) {
      await checkServer(); // it may be another one by now
      await ask(token);
    },
    toolsFor: (token) => toolsOf(as(token), world, commands),
    ready: (url) => world.tell(`tools for agents at ${url}; Ctrl-C stops`),
    signal: world.signal,
  });
}

function addressOf(value: string): Address {
  const [, host = '', port = ''] = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(value) ?? [];
  const name = host.replace(/^\[(.*)\]$/, '$1');
  if (name === '' || Number(port) > 65_535)
    throw new UsageError(`--listen: ${JSON.stringify(value)} is no address; 127.0.0.1:4100 is one`);
  if (!isLoopback(name))
    throw new UsageError(
      `--listen: ${name} is no loopback address, and tokens would cross the network as plain text; ` +
        'listen on 127.0.0.1, behind a proxy with TLS',
    );
  return { host: name, port: Number(port) };
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
