/**
 * Every route of the server, as data. A request that matches no row exactly does not exist: there are no prefixes, no
 * normalisation and no default row.
 */

/** Handlers that anybody may call: they disclose nothing of the machine. */
export type PublicHandler = 'home' | 'page' | 'health';
/** Handlers that are called with the caller's role, and never without one. */
export type GuardedHandler = 'operation' | 'download' | 'backup' | 'metrics';

interface Row {
  readonly path: string | RegExp;
  readonly methods: readonly string[];
}

export type Route = Row &
  (
    | { readonly access: 'PUBLIC'; readonly handler: PublicHandler; readonly html?: true }
    /** `forgeable`: a foreign page could make a browser send it, so it needs proof that a page of ours, or no page, did. */
    | { readonly access: 'ROLE'; readonly handler: GuardedHandler; readonly forgeable: boolean }
    /** An upgrade to a WebSocket. Its role may also arrive in the first message: no operation runs before that. */
    | { readonly access: 'UPGRADE' }
  );

/** The GraphQL endpoint. */
export const ENDPOINT = '/graphql';

/** The first row that matches decides. `html`: only when the client accepts HTML, as a browser does. */
export const ROUTES: readonly Route[] = [
  { path: '/', methods: ['GET', 'HEAD'], access: 'PUBLIC', handler: 'home' },
  { path: ENDPOINT, methods: ['GET'], access: 'PUBLIC', handler: 'page', html: true },
  { path: ENDPOINT, methods: ['GET', 'POST'], access: 'ROLE', handler: 'operation', forgeable: true },
  { path: ENDPOINT, methods: ['GET'], access: 'UPGRADE' },
  { path: /^\/export\/[A-Za-z0-9._-]{1,200}$/, methods: ['GET'], access: 'ROLE', handler: 'download', forgeable: true },
  { path: '/backup/eunomia.duckdb', methods: ['GET'], access: 'ROLE', handler: 'backup', forgeable: true },
  { path: '/metrics', methods: ['GET', 'HEAD'], access: 'ROLE', handler: 'metrics', forgeable: false },
  { path: '/healthz', methods: ['GET', 'HEAD'], access: 'PUBLIC', handler: 'health' },
  { path: '/readyz', methods: ['GET', 'HEAD'], access: 'PUBLIC', handler: 'health' },
];

/** A request target in origin form (RFC 9112, 3.2.1). */
export interface Target {
  readonly path: string;
  /** Behind the question mark, still percent-encoded; empty when there is none. */
  readonly query: string;
}

/**
 * Null for every other form (absolute, authority, `*`), and for a path with a character that no route has: percent-encoded
 * letters, `;` and spaces are never decoded, so two spellings of one path cannot differ between a check and a handler.
 */
export function parseTarget(text: string): Target | null {
  const [, path, query = ''] = /^(\/[A-Za-z0-9._/-]*)(?:\?([\x21-\x22\x24-\x7e]*))?$/.exec(text) ?? [];
  return path === undefined ? null : { path, query };
}

/** The rows with this path, for any method: empty when the path does not exist. */
export function routesOf(path: string): readonly Route[] {
  return ROUTES.filter((route) => (typeof route.path === 'string' ? route.path === path : route.path.test(path)));
}
