import { connect as dialSocket, type Socket } from 'node:net';
import { Option, type Command } from 'commander';
import { isLoopback } from '../access/access.js';
import { serverCheck } from '../access/listener.js';
import { EunomiaError } from '../base/errors.js';
import { defaultConfig, type Config } from '../base/config.js';
import { createLog } from '../base/log.js';
import { readToken, tokenFiles } from '../access/access-token.js';
import { createLocalClient, type Client } from '../client/client.js';
import { checkFlags } from './effect.js';
import { createRemoteClient } from '../client/remote.js';
import { enginesOf, readSources } from '../options/config.js';
import { generalSettings, historySettings } from '../options/server.js';
import { defaultTextOf, variableOf } from '../options/setting.js';
import { SettingSources } from '../options/sources.js';
import { flagOf, orVariable } from './flags.js';
import { collect, UsageError } from './usage.js';
import type { World } from './world.js';

/** Which server a command asks, and how. */
export interface ServerFlags {
  readonly server?: string;
  readonly token?: string;
  readonly ca?: string;
}

/** Flags of each command that asks a server, or does what a server would. */
export interface ConnectionFlags extends ServerFlags {
  readonly engine?: readonly string[];
  readonly logLevel: string;
}

const LOG_LEVEL = 'warn';

/** For commands about what only a running server has: sessions, plugins. Without one, they fail with `question`. */
export function withServer(command: Command, question: string): Command {
  checkFlags<ServerFlags>(command, ({ server }) => {
    if (server === undefined) throw new UsageError(`--server: ${question} Give its URL, or EUNOMIA_SERVER`);
  });
  return addServer(command, 'the URL of the server; required');
}

export function withConnection(command: Command): Command {
  checkFlags<ConnectionFlags>(command, ({ server }, refuse) => {
    if (server === undefined) refuse(['token', 'ca'], 'says how to reach a server; give --server as well');
    else refuse(['engine', 'logLevel'], 'cannot be combined with --server');
  });
  const { engines, logLevel } = generalSettings;
  return addServer(command, 'use the server at this URL; without it, the command does itself what a server would')
    .addOption(
      orVariable(
        new Option('--engine <socket>', `without --server: ${engines.text}; by default ${defaultTextOf(engines)}`),
        variableOf(engines),
      ).argParser(collect),
    )
    .addOption(
      orVariable(
        flagOf(logLevel, 'without --server: log to stderr from this level on', LOG_LEVEL),
        variableOf(logLevel),
      ),
    );
}

function addServer(command: Command, text: string): Command {
  return command
    .addOption(orVariable(new Option('--server <url>', text), 'EUNOMIA_SERVER'))
    .addOption(
      orVariable(
        new Option('--token <secret>', "the server's token (better in the environment: arguments are visible to all)"),
        'EUNOMIA_TOKEN',
      ).argParser(givenToken),
    )
    .addOption(
      orVariable(
        new Option('--ca <file>', "PEM file of the authority that signed the server's certificate"),
        'EUNOMIA_CA',
      ),
    );
}

function givenToken(value: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw new UsageError(
    value === ''
      ? '--token: is empty; leave it out where the server needs none'
      : '--token: has characters that no header can have, such as spaces; a token has letters, digits and signs of ASCII',
  );
}

/**
 * Runs some work with a client, and closes it whatever happens. `watches`: false where it needs no BPF program when there is no server.
 */
export async function withClient<T>(
  world: World,
  flags: Partial<ConnectionFlags>,
  work: (client: Client) => Promise<T>,
  { watches = true }: { readonly watches?: boolean } = {},
): Promise<T> {
  const { client, unsent, sent } = await connect(world, flags, watches);
  try {
    return await work(client);
  } catch (error) {
    if (!(error instanceof EunomiaError) || error.code !== 'UNAUTHENTICATED') throw error;
    if (sent !== null)
      throw new EunomiaError(error.code, `this server needs a token, and it is not the one in ${sent}`, {
        cause: error,
      });
    throw unsent === null ? error : new EunomiaError(error.code, `${error.message}; ${unsent}`, { cause: error });
  } finally {
    await client.close();
  }
}

interface Connected {
  readonly client: Client;
  /** Why a token that this user can read was not sent. */
  readonly unsent: string | null;
  /** The file whose token was sent, as none was given. */
  readonly sent: string | null;
}

async function connect(
  world: World,
  { server, token, ca, engine, logLevel = LOG_LEVEL }: Partial<ConnectionFlags>,
  watches: boolean,
): Promise<Connected> {
  if (server !== undefined) {
    const own = token === undefined ? await ownToken(server) : null;
    const client = createRemoteClient({ server, token: token ?? own?.secret, ca, guard: own?.guard });
    return { client, unsent: own?.unsent ?? null, sent: own?.file ?? null };
  }
  const given = new SettingSources(new Map(engine ? [[generalSettings.engines.flag, engine]] : []), {});
  const config: Config = { ...defaultConfig, engines: enginesOf(given), logLevel, watches };
  return { client: createLocalClient(await world.local(config, createLog(logLevel))), unsent: null, sent: null };
}

interface OwnToken {
  readonly secret?: string;
  /** Of the secret. */
  readonly file?: string;
  readonly guard?: (socket: Socket) => Promise<void>;
  readonly unsent?: string;
}

/**
 * The token of a server of this machine, where this user can read it. It is sent on connections to that server only:
 * each is looked at before, since the server may end at any time, and anybody may listen on its port then.
 */
async function ownToken(server: string): Promise<OwnToken | null> {
  if (!URL.canParse(server)) return null;
  const { hostname, port, protocol } = new URL(server);
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  if (!isLoopback(host)) return null;
  for (const file of tokenFiles(dataDirectory())) {
    const found = tokenOf(file);
    if (found === null) continue;
    const check = serverCheck(found.owner);
    const socket = await dial(host, Number(port) || (protocol === 'https:' ? 443 : 80));
    if (socket === null) return null; // whoever sends a request there says why
    const verdict = await check(socket);
    socket.destroy();
    const unsent = (reason: string): string => `the token in ${file} is not sent there: ${reason}`;
    if (!verdict.operator) return { unsent: unsent(verdict.reason) };
    const guard = async (each: Socket): Promise<void> => {
      const again = await check(each);
      if (!again.operator) throw new Error(unsent(again.reason));
    };
    return { secret: found.secret, file, guard };
  }
  return null;
}

function dial(host: string, port: number): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = dialSocket({ host, port });
    socket.once('connect', () => resolve(socket));
    socket.on('error', () => resolve(null));
  });
}

/** Where a server of this user keeps its data, as far as the environment and the file that it names tell. */
function dataDirectory(): string | null {
  const { dataDir } = historySettings;
  try {
    const directory = readSources(new Map(), process.env).value(dataDir);
    return directory === 'none' ? null : directory;
  } catch {
    return dataDir.default; // the file is not for this user
  }
}

function tokenOf(file: string): ReturnType<typeof readToken> {
  try {
    return readToken(file, { anyOwner: true });
  } catch {
    return null; // not for us: the server says whether it needs one
  }
}
