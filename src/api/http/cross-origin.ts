import type { IncomingMessage, ServerResponse } from 'node:http';
import { howToAllow } from '../../access/access.js';
import { EunomiaError } from '../../base/errors.js';
import { refuse } from './refuse.js';
import { parseTarget, routesOf } from './routes.js';

/** Request headers of clients of GraphQL, and what shows that no foreign page sends a request. */
const REQUEST_HEADERS = [
  'authorization',
  'content-type',
  'accept',
  'last-event-id',
  'x-eunomia',
  'graphql-require-preflight',
  'apollo-require-preflight',
  'x-graphql-yoga-csrf',
  'apollographql-client-name',
  'apollographql-client-version',
].join(', ');
/** Response headers that a page may read besides the usual ones. */
const RESPONSE_HEADERS = 'Content-Disposition, Retry-After, WWW-Authenticate';
/** So long a browser need not ask again; Chromium asks after two hours anyway. */
const MAX_AGE_SECONDS = 7200;

/**
 * What browsers are told of pages of other origins (Fetch, 3.3): those of the given origins may use the server as any client with a token
 * does; responses to all others are kept from them. Cookies are never allowed, there are none.
 */
export class CrossOrigin {
  readonly #allowed: ReadonlySet<string>;

  constructor(allowed: readonly string[]) {
    this.#allowed = new Set(allowed);
  }

  /** The request header that decides what a response is like, as `Vary` has it behind others; empty where none does. */
  get vary(): string {
    return this.#allowed.size > 0 ? ', Origin' : '';
  }

  /** Lets a page of an allowed origin read the response. */
  mark({ headers: { origin } }: IncomingMessage, response: ServerResponse): void {
    if (origin === undefined || !this.#allowed.has(origin)) return;
    response.setHeader('Access-Control-Allow-Origin', origin);
    response.setHeader('Access-Control-Expose-Headers', RESPONSE_HEADERS);
  }

  /** Responds to the question of a browser whether a page may send a request. False: it is no such question, or of no path that exists. */
  respond(request: IncomingMessage, response: ServerResponse): boolean {
    const { method, url = '', headers } = request;
    const { origin, 'access-control-request-method': wanted } = headers;
    if (method !== 'OPTIONS' || origin === undefined || wanted === undefined) return false;
    const target = parseTarget(url);
    const methods = [...new Set((target ? routesOf(target.path) : []).flatMap((route) => route.methods))];
    if (methods.length === 0) return false;
    if (this.#allowed.has(origin)) {
      response
        .writeHead(204, {
          'Access-Control-Allow-Methods': methods.join(', '),
          'Access-Control-Allow-Headers': REQUEST_HEADERS,
          'Access-Control-Max-Age': MAX_AGE_SECONDS,
          // A page of the internet asks for a server of the private network.
          ...(headers['access-control-request-private-network'] === 'true' && {
            'Access-Control-Allow-Private-Network': 'true',
          }),
        })
        .end();
      return true;
    }
    const page = origin.slice(0, 100);
    refuse(response, {
      error: new EunomiaError('FORBIDDEN', `pages of ${page} may not use this server: ${howToAllow(origin)}`),
    });
    return true;
  }
}
