import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { Config, Role } from '../config.js';
import { EunomiaError, messageOf } from '../errors.js';

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
    `refusing to listen on ${host}: whoever reaches it could watch this machine. Give ${missing.join(' and ')}, or listen on 127.0.0.1 and forward a port to it`,
    { details: { host } },
  );
}

/** Reads the certificate and its key, and sees that they belong together. */
export function loadTls({ certFile, keyFile }: NonNullable<Config['tls']>): Tls {
  const read = (flag: string, path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw new EunomiaError('BAD_TLS', `${flag} ${path}: cannot be read: ${messageOf(error)}`, { cause: error });
    }
  };
  const tls = { cert: read('--tls-cert', certFile), key: read('--tls-key', keyFile) };
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

/** Who may come in, and as what. */
export class Access {
  readonly #tokens: readonly { readonly digest: Buffer; readonly role: Role }[];

  constructor({ tokens }: Pick<Config, 'tokens'>) {
    this.#tokens = tokens.map(({ secret, role }) => ({ digest: digest(secret), role }));
  }

  /** Null: no token where one is needed, or an unknown one. Without tokens everybody on the loopback is an operator. */
  roleOf(authorization: unknown): Role | null {
    if (this.#tokens.length === 0) return 'operator';
    const [, secret] = (typeof authorization === 'string' ? /^Bearer +(\S+) *$/i.exec(authorization) : null) ?? [];
    const given = digest(secret ?? '');
    let role: Role | null = null;
    // All are compared, whichever fits: the time tells nothing.
    for (const token of this.#tokens)
      if (timingSafeEqual(token.digest, given) && secret !== undefined) role = token.role;
    return role;
  }

  /**
   * Without tokens the browser is the way in for strangers: a page from elsewhere that talks to this address, or to a
   * name that was made to point here (DNS rebinding). Answers why a request is refused; null when it is not.
   */
  refuse({ host, origin }: IncomingHttpHeaders): EunomiaError | null {
    if (this.#tokens.length > 0) return null;
    const name = hostnameOf(`http://${host ?? ''}`);
    if (name === null || !isLoopback(name)) {
      return forbidden(
        `the Host header is "${host ?? ''}"; without tokens only localhost and loopback addresses are served. Use one of these, or start the server with --token`,
      );
    }
    if (origin !== undefined && !isSameOrigin(origin, host)) {
      return forbidden(
        `a page from ${origin} may not use a server without tokens; start it with --token, or use the page at /graphql of this server`,
      );
    }
    return null;
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

function forbidden(message: string): EunomiaError {
  return new EunomiaError('FORBIDDEN', message);
}

function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function isSameOrigin(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host?.toLowerCase();
}

function hostnameOf(url: string): string | null {
  return URL.canParse(url) ? new URL(url).hostname : null;
}
