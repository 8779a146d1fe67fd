import { existsSync, realpathSync } from 'node:fs';
import type Docker from 'dockerode';
import { invalid } from '../../base/errors.js';
import { userName } from '../../base/user.js';

// Of root's engines only: what a user's own engine says of containers is believed only where the administrator names it.
const SOCKETS = ['/var/run/docker.sock', '/run/podman/podman.sock'];

export interface Endpoint {
  readonly host: string;
  /** Nobody named it, and its socket is not there: it may come, or there is no engine. */
  readonly presumed: boolean;
}

const known = (host: string): Endpoint => ({ host, presumed: false });

/**
 * Those that somebody named; null: DOCKER_HOST where it is set, else the usual sockets that exist now, each once,
 * else Docker's, which may come.
 */
export function endpoints(
  named: readonly string[] | null,
  { DOCKER_HOST: host }: NodeJS.ProcessEnv = process.env,
  sockets: readonly string[] = SOCKETS,
): Endpoint[] {
  if (named !== null) return [...new Set(named)].map(known);
  return host !== undefined && host !== '' ? [known(host)] : endpointsOf(sockets);
}

/** `sockets` that exist, without those that lead to another's place (the package podman-docker makes such a link). */
function endpointsOf(sockets: readonly string[]): Endpoint[] {
  const found = new Map<string, string>();
  for (const path of sockets) {
    if (!existsSync(path)) continue;
    const real = realpathSync(path);
    if (!found.has(real)) found.set(real, `unix://${path}`);
  }
  if (found.size > 0) return [...found.values()].map(known);
  return sockets.slice(0, 1).map((path) => ({ host: `unix://${path}`, presumed: true }));
}

export const endpointForms = "a socket's path, unix:///…, tcp://host:port or ssh://host";

/** Throws EunomiaError BAD_USER_INPUT when the endpoint is no address, or one over SSH without a user. */
export function dockerOptions(endpoint: string, self = userName()): Docker.DockerOptions {
  const options = parseEndpoint(endpoint, self);
  if (!options) throw invalid('--engine', `${JSON.stringify(endpoint)} is no engine's address; give ${endpointForms}`);
  if (options.protocol === 'ssh' && !options.username)
    throw invalid(
      '--engine',
      `${endpoint}: the user of this process has no name; name one: ssh://USER@${options.host}`,
    );
  return options;
}

/** Null when the endpoint is no address. `self`: the user of an address over SSH that names none. */
export function parseEndpoint(endpoint: string, self = userName()): Docker.DockerOptions | null {
  const path = endpoint.startsWith('/') ? endpoint : endpoint.replace(/^unix:\/\//, '');
  // `host` wins over a socket inside dockerode, and its defaults come from DOCKER_HOST: unset it.
  if (path.startsWith('/')) return { socketPath: path, host: undefined, protocol: 'http' };
  const address = endpoint.includes('://') ? endpoint : `tcp://${endpoint}`;
  const schemes = ['tcp:', 'http:', 'https:', 'ssh:'];
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url === null || url.hostname === '' || !schemes.includes(url.protocol)) return null;
  const { hostname, port, protocol } = url;
  if (protocol === 'ssh:') {
    return {
      protocol: 'ssh',
      host: hostname,
      port: port || 22,
      username: decodeURIComponent(url.username) || (self ?? ''),
      sshOptions: { agent: process.env['SSH_AUTH_SOCK'] },
    };
  }
  const secure = protocol === 'https:' || port === '2376' || process.env['DOCKER_TLS_VERIFY'] === '1';
  return { host: hostname, port: port || (secure ? 2376 : 2375), protocol: secure ? 'https' : 'http' };
}
