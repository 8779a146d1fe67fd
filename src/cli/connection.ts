import { Option, type Command } from 'commander';
import { defaultConfig, type Config } from '../config.js';
import { createLog } from '../log.js';
import { createLocalClient, type Client } from './client.js';
import { createRemoteClient } from './remote.js';
import type { World } from './world.js';

/** Flags of each command that asks a server. */
export interface ConnectionFlags {
  readonly server?: string;
  readonly token?: string;
  readonly ca?: string;
  readonly engine?: string;
  readonly logLevel: string;
}

export function withConnection(command: Command): Command {
  return command
    .addOption(
      new Option('--server <url>', 'ask the server at this URL; without it, the command is its own server').env(
        'EUNOMIA_SERVER',
      ),
    )
    .addOption(
      new Option(
        '--token <secret>',
        "the server's token (better in the environment: arguments are visible to all)",
      ).env('EUNOMIA_TOKEN'),
    )
    .addOption(
      new Option('--ca <file>', "PEM file of the authority that signed the server's certificate").env('EUNOMIA_CA'),
    )
    .addOption(
      new Option('--engine <socket>', 'container engine without --server: a socket, or "none"').env('EUNOMIA_ENGINE'),
    )
    .addOption(
      new Option('--log-level <level>', 'log to stderr without --server').default('warn').env('EUNOMIA_LOG_LEVEL'),
    );
}

/** Runs some work with a client, and closes it whatever happens. */
export async function withClient<T>(
  world: World,
  flags: ConnectionFlags,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await connect(world, flags);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

async function connect(world: World, { server, token, ca, engine, logLevel }: ConnectionFlags): Promise<Client> {
  if (server !== undefined) return createRemoteClient({ server, token, ca });
  const config: Config = { ...defaultConfig, engine: engine ?? null, logLevel };
  return createLocalClient(await world.local(config, createLog(logLevel)));
}
