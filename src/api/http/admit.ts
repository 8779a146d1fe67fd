import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Identity } from '../../access/caller.js';
import type { Limits } from '../../base/config.js';
import { EunomiaError } from '../../base/errors.js';
import type { Access } from '../../access/access.js';
import { limitExceeded } from '../graphql/limits.js';
import { parseTarget, routesOf, type GuardedHandler, type PublicHandler, type Route, type Target } from './routes.js';

/** Why a request goes no further, as its response tells. */
export interface RequestRefusal {
  readonly error: EunomiaError;
  readonly headers?: Readonly<Record<string, string>>;
}

export type Admission =
  | { readonly access: 'REFUSED'; readonly refusal: RequestRefusal }
  | { readonly access: 'PUBLIC'; readonly handler: PublicHandler; readonly target: Target }
  | { readonly access: 'ROLE'; readonly handler: GuardedHandler; readonly target: Target; readonly identity: Identity };

/**
 * The one decision on an HTTP request, made before any handler runs: whether its route exists, whether its method and
 * origin are allowed, and who sends it. There is no way to a guarded handler but through here.
 */
export async function admit(request: IncomingMessage, access: Access, limits: Limits): Promise<Admission> {
  const found = find(request, access, false);
  if ('refusal' in found) return { access: 'REFUSED', refusal: found.refusal };
  const { route, target } = found;
  if (route.access === 'PUBLIC') return { access: 'PUBLIC', handler: route.handler, target };
  if (route.access === 'UPGRADE') return refused(notFound());
  const forged = route.forgeable ? access.refuseForged(request.method ?? '', request.headers) : null;
  if (forged) return refused({ error: forged });
  const identity = await access.identify(request.socket, request.headers.authorization);
  if (identity instanceof EunomiaError) return refused({ error: identity, headers: { 'WWW-Authenticate': 'Bearer' } });
  if (request.socket.destroyed)
    return refused({
      error: new EunomiaError('CANCELLED', 'the client closed the connection before it was identified'),
    });
  const length = Number(request.headers['content-length'] ?? 0);
  if (length > limits.bodyBytes) {
    return refused({
      error: limitExceeded(
        'bodyBytes',
        limits.bodyBytes,
        length,
        `the request's body has ${length} bytes; at most ${limits.bodyBytes} are allowed: send its operations one by one`,
      ),
    });
  }
  return { access: 'ROLE', handler: route.handler, target, identity };
}

/** Of a request with a body that is compressed: a few bytes of one would take the server's memory. Null where it is not. */
export function refusePacked({ 'content-encoding': coding = 'identity' }: IncomingHttpHeaders): RequestRefusal | null {
  if (coding.split(',').every((name) => ['', 'identity'].includes(name.trim().toLowerCase()))) return null;
  return {
    error: new EunomiaError(
      'UNSUPPORTED_MEDIA_TYPE',
      `the body is sent with "Content-Encoding: ${coding.slice(0, 40)}", and compressed ones are not read here; send it as it is`,
    ),
    headers: { 'Accept-Encoding': 'identity' }, // RFC 9110, 12.5.3
  };
}

/** The same for an upgrade to a WebSocket, whose client is known later: null when the upgrade may go on. */
export function refuseUpgrade(request: IncomingMessage, access: Access): RequestRefusal | null {
  const found = find(request, access, true);
  return 'refusal' in found ? found.refusal : refuseHandshake(request.headers);
}

/** What `ws` would refuse with a text of its own. */
function refuseHandshake({
  upgrade = '',
  'sec-websocket-key': key = '',
  'sec-websocket-version': version,
}: IncomingHttpHeaders): RequestRefusal | null {
  if (upgrade.toLowerCase() !== 'websocket') {
    return {
      error: new EunomiaError(
        'UPGRADE_REQUIRED',
        `this address upgrades to "websocket" only, not to "${upgrade.slice(0, 40)}"`,
      ),
      headers: { Upgrade: 'websocket' },
    };
  }
  if (version !== '13' && version !== '8')
    return {
      error: new EunomiaError('BAD_REQUEST', 'Sec-WebSocket-Version must be 13'),
      headers: { 'Sec-WebSocket-Version': '13' },
    };
  return /^[+/0-9A-Za-z]{22}==$/.test(key)
    ? null
    : { error: new EunomiaError('BAD_REQUEST', 'Sec-WebSocket-Key must be 16 bytes in base64') };
}

type Found = { readonly route: Route; readonly target: Target } | { readonly refusal: RequestRefusal };

function find({ url = '', method = '', headers }: IncomingMessage, access: Access, upgrade: boolean): Found {
  const target = parseTarget(url);
  const routes = target ? routesOf(target.path).filter((route) => (route.access === 'UPGRADE') === upgrade) : [];
  if (!target || routes.length === 0) return { refusal: notFound() };
  const allowed = routes.filter((route) => route.methods.includes(method));
  const acceptsHtml = headers.accept?.includes('text/html') === true;
  const route = allowed.find((each) => !('html' in each) || acceptsHtml);
  if (!route) {
    const methods = [...new Set(routes.flatMap((each) => each.methods))].join(', ');
    return {
      refusal: {
        error: new EunomiaError('METHOD_NOT_ALLOWED', `${target.path} takes ${methods}, not ${method}`),
        headers: { Allow: methods },
      },
    };
  }
  const malformed = access.refuseHost(headers);
  if (malformed) return { refusal: { error: malformed } };
  const foreign = access.refuse(headers);
  return foreign ? { refusal: { error: foreign } } : { route, target };
}

function notFound(): RequestRefusal {
  return { error: new EunomiaError('NOT_FOUND', 'there is nothing at this address; GraphQL is at /graphql, exactly') };
}

function refused(refusal: RequestRefusal): Admission {
  return { access: 'REFUSED', refusal };
}
