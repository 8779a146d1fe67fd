import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { Config, Token } from '../base/config.js';
import { EunomiaError, messageOf } from '../base/errors.js';
import { readTrusted, type FileKind } from '../base/file.js';
import type { Identity } from './caller.js';
import type { ConnectionEnds, PeerCheck } from './peer.js';

/** A key and its certificate, as PEM. */
export interface Tls {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Refuses to listen where strangers could reach a server that asks for no token, or read the token on the way. */
export function checkListen({ host, tls, tokens }: Config): void {
  if (isLoopback(host)) return;
  const missing = [
    ...(tls ? [] : ['TLS (--tls-cert FILE and --tls-key FILE)']),
    ...(tokens.length > 0 ? [] : ['a token (--token operator:SECRET, or EUNOMIA_TOKENS)']),
  ];
  if (missing.length === 0) return;
  throw new EunomiaError(
    'UNSAFE_LISTENER',
    `refusing to listen on ${host}: whoever reaches it could watch this machine. Give ${missing.join(' and ')}, ` +
      'or listen on 127.0.0.1 and forward a port to it',
    { details: { host } },
  );
}

/** Reads the certificate and its key, and sees that they belong together. */
export function loadTls({ certFile, keyFile }: NonNullable<Config['tls']>): Tls {
  const read = (flag: string, path: string, kind: FileKind): Buffer => {
    try {
      return readTrusted(path, kind);
    } catch (error) {
      throw new EunomiaError(
        'BAD_TLS',
        error instanceof EunomiaError
          ? `${flag} ${error.message}`
          : `${flag} ${path}: cannot be read: ${messageOf(error)}`,
        { cause: error },
      );
    }
  };
  const tls = { cert: read('--tls-cert', certFile, 'CONFIG'), key: read('--tls-key', keyFile, 'SECRET') };
  try {
    createSecureContext(tls);
  } catch (error) {
    throw new EunomiaError(
      'BAD_TLS',
      `--tls-cert ${certFile} and --tls-key ${keyFile} are not a certificate and its key in PEM: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return tls;
}

/** Whether only this machine reaches the address. A name other than localhost is not trusted to. */
export function isLoopback(host: string): boolean {
  const name = host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
  if (name === 'localhost' || name.endsWith('.localhost') || name === '::1') return true;
  if (/^::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}$/.test(name)) return true; // ::ffff:127.0.0.1, as URL writes it
  const v4 = name.startsWith('::ffff:') ? name.slice(7) : name;
  return isIP(v4) === 4 && v4.startsWith('127.');
}

const SIMPLE_TYPES = new Set(['', 'application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain']);
// Any of these makes a browser ask before it sends across origins (a preflight, which this server never grants).
const PREFLIGHT_HEADERS = [
  'authorization',
  'x-eunomia',
  'graphql-require-preflight',
  'apollo-require-preflight',
  'x-graphql-yoga-csrf',
];

/** What clients send whose token is empty. */
const NO_TOKEN = /^\s*(?:Bearer\s*)?$/i;

/** The rest of this turn of the event loop, one that polls, and one in which a socket that wraps a closed one (TLS) closes. */
const SETTLING_TURNS = 3;

const ANYBODY: Identity = { who: 'anybody', role: 'operator' };
const OWNER: Identity = { who: 'the owner of a loopback connection', role: 'operator' };

/** What is needed of a connection. */
export type PeerConnection = Partial<
  Pick<Socket, 'remoteAddress' | 'remotePort' | 'localAddress' | 'localPort' | 'destroyed'>
>;

/** Who may come in, and as what. */
export class Access {
  readonly #tokens: readonly { readonly digest: Buffer; readonly identity: Identity }[];
  readonly #byOwner: boolean;
  readonly #open: boolean;
  readonly #peers: PeerCheck;
  /** A connection is looked up once, however many requests it carries. */
  readonly #verdicts = new WeakMap<PeerConnection, ReturnType<PeerCheck['check']>>();

  constructor(
    { tokens, localToken, insecureNoAuth }: Pick<Config, 'tokens' | 'localToken' | 'insecureNoAuth'>,
    peers: PeerCheck,
  ) {
    const local: readonly Token[] = localToken === null ? [] : [{ secret: localToken, role: 'operator' }];
    this.#byOwner = tokens.length === 0;
    this.#open = this.#byOwner && insecureNoAuth;
    const who = this.#byOwner ? 'local token' : 'token';
    this.#tokens = (this.#byOwner ? local : tokens).map(({ secret, role }) => ({
      digest: digest(secret),
      identity: { who, role },
    }));
    this.#peers = peers;
  }

  /**
   * Who sends a request on this connection, or why nobody knows (UNAUTHENTICATED). A server with tokens goes by
   * these alone; without, the owner of a loopback connection decides, and a token that is not known changes nothing about that.
   */
  async identify(connection: PeerConnection, authorization: unknown): Promise<Identity | EunomiaError> {
    if (this.#open) return ANYBODY;
    const identity = this.#identityOf(authorization);
    if (identity) return identity;
    const given = typeof authorization === 'string' ? !NO_TOKEN.test(authorization) : authorization != null;
    if (!this.#byOwner) return unauthenticated(given);
    const verdict = await this.#verdictOf(connection);
    return verdict.operator ? OWNER : unauthenticated(given, verdict.reason);
  }

  #verdictOf(connection: PeerConnection): ReturnType<PeerCheck['check']> {
    const known = this.#verdicts.get(connection);
    if (known) return known;
    const { remoteAddress, remotePort, localAddress, localPort } = connection;
    const verdict =
      remoteAddress !== undefined &&
      remotePort !== undefined &&
      localAddress !== undefined &&
      localPort !== undefined &&
      isLoopback(remoteAddress)
        ? this.#lookUp(connection, {
            localAddress: remoteAddress,
            localPort: remotePort,
            remoteAddress: localAddress,
            remotePort: localPort,
          })
        : Promise.resolve({
            operator: false,
            reason: 'this connection comes from another machine, or is closed',
          } as const);
    this.#verdicts.set(connection, verdict);
    return verdict;
  }

  /**
   * A client may reset its connection and leave its port to somebody else, whose socket would be found then. So the
   * verdict holds only when this connection is open after the event loop has seen what had happened by the time of the
   * look-up: its reset, or a new connection with its ends.
   */
  async #lookUp(connection: PeerConnection, ends: ConnectionEnds): ReturnType<PeerCheck['check']> {
    const verdict = await this.#peers.check(ends);
    if (!verdict.operator) return verdict;
    for (let turn = 0; turn < SETTLING_TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
    if (connection.destroyed !== true) return verdict;
    return { operator: false, reason: 'this connection was closed while its owner was looked up' };
  }

  /** Null: there is no token, or an unknown one. */
  #identityOf(authorization: unknown): Identity | null {
    const [, secret] = (typeof authorization === 'string' ? /^Bearer +(\S+) *$/i.exec(authorization) : null) ?? [];
    const given = digest(secret ?? '');
    let found: Identity | null = null;
    // All are compared, whichever fits: the time tells nothing.
    for (const token of this.#tokens)
      if (timingSafeEqual(token.digest, given) && secret !== undefined) found = token.identity;
    return found;
  }

  /**
   * Without tokens the browser is the way in for strangers: a page from elsewhere that talks to this address, or to a
   * name that was made to point here (DNS rebinding). Returns why a request is refused; null when it is not.
   */
  refuse({ host, origin }: IncomingHttpHeaders): EunomiaError | null {
    if (!this.#byOwner) return null;
    const name = hostnameOf(`http://${host ?? ''}`);
    if (name === null || !isLoopback(name)) {
      return forbidden(
        `the Host header is "${host ?? ''}"; without tokens only localhost and loopback addresses are served. ` +
          'Use one of these, or start the server with --token',
      );
    }
    if (origin !== undefined && !isSameOrigin(origin, host)) {
      return forbidden(
        `a page from ${origin.slice(0, 100)} may not use a server without tokens; ${howToAllow(origin)}, ` +
          'or use the page at /graphql of this server',
      );
    }
    return null;
  }

  /** Refuses a Host header that is no host: libraries build URLs from it, and a slash in it would change their path. */
  refuseHost({ host = '' }: IncomingHttpHeaders): EunomiaError | null {
    if (/^(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/i.test(host)) return null;
    return new EunomiaError(
      'BAD_REQUEST',
      'the Host header is no host: send a name or an address, and a port behind a colon',
    );
  }

  /** Refuses what a foreign page could make a browser send without asking this server first. */
  refuseForged(method: string, headers: IncomingHttpHeaders): EunomiaError | null {
    const [type = ''] = (headers['content-type'] ?? '').split(';');
    if (method !== 'GET' && !SIMPLE_TYPES.has(type.trim().toLowerCase())) return null;
    if (PREFLIGHT_HEADERS.some((name) => headers[name] !== undefined)) return null;
    const site = headers['sec-fetch-site'];
    if (site === 'same-origin' || site === 'none') return null;
    if (site === undefined && headers.origin !== undefined && isSameOrigin(headers.origin, headers.host)) return null;
    return new EunomiaError(
      'CSRF_PREVENTED',
      method === 'GET'
        ? 'a GET could come from any page; send the header `x-eunomia: 1` with it, or POST application/json'
        : `a POST with the content type "${type}" could come from any page; send application/json, or the header \`x-eunomia: 1\` with it`,
    );
  }
}

/** `reason`: why the connection itself does not show an operator. */
function unauthenticated(given: boolean, reason?: string): EunomiaError {
  const problem = given
    ? 'the token is not known to this server, or the header is not "Authorization: Bearer TOKEN"'
    : 'this server needs a token: send "Authorization: Bearer TOKEN" (over WebSocket in connectionParams)';
  return new EunomiaError('UNAUTHENTICATED', reason === undefined ? problem : `${problem}; ${reason}`);
}

function forbidden(message: string): EunomiaError {
  return new EunomiaError('FORBIDDEN', message);
}

function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** What would let pages of an origin in. */
export function howToAllow(origin: string): string {
  return origin === 'null'
    ? 'a page of a file or in a sandbox has no origin that can be allowed: serve it by HTTP'
    : `start it with --token and --allow-origin ${origin.slice(0, 100)}`;
}

function isSameOrigin(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}

function hostnameOf(url: string): string | null {
  return URL.canParse(url) ? new URL(url).hostname : null;
}
