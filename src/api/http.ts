import type { IncomingMessage, ServerResponse } from 'node:http';
import { GraphQLError, type ExecutionResult } from 'graphql';
import { createYoga, type GraphQLParams, type Plugin } from 'graphql-yoga';
import type { Role } from '../config.js';
import { EunomiaError } from '../errors.js';
import type { Metrics } from '../consumers/metrics/index.js';
import type { Log } from '../log.js';
import type { Access } from './auth.js';
import type { Connections } from './connections.js';
import type { Services } from './context.js';
import { DOWNLOADS } from './download.js';
import { isStream, type Answer, type Engine, type Prepared } from './engine.js';
import { renderGraphiQL } from './graphiql.js';
import { limitExceeded } from './limits.js';
import { maskError } from './mask.js';
import { METRICS_PATH, serveMetrics } from './metrics.js';
import { refuse } from './refuse.js';
import { sendDownload } from './send.js';
import type { Limits } from '../config.js';

export const ENDPOINT = '/graphql';

export interface HttpOptions {
  readonly engine: Engine;
  readonly services: Services;
  readonly access: Access;
  readonly connections: Connections;
  readonly limits: Limits;
  readonly metrics: Metrics;
  readonly log: Log;
}

interface Caller {
  readonly role: Role;
  readonly signal: AbortSignal;
}

export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** GraphQL over HTTP, with subscriptions as server-sent events, and GraphiQL for browsers. */
export function createHttpHandler(options: HttpOptions): HttpHandler {
  const { access, limits, log } = options;
  const yoga = createYoga<Caller>({
    graphqlEndpoint: ENDPOINT,
    plugins: [useEngine(options)],
    batching: { limit: Number.MAX_SAFE_INTEGER }, // its message does not tell how many there were: `useEngine` checks
    maxRequestBodySize: limits.bodyBytes,
    multipart: false,
    cors: false,
    landingPage: false,
    graphiql: { title: 'Eunomia' },
    renderGraphiQL,
    logging: {
      debug: () => undefined,
      info: () => undefined,
      warn: (...args: unknown[]) => log.warn({ args: args.map(String) }, 'http'),
      error: (...args: unknown[]) => log.error({ args: args.map(String) }, 'http'),
    },
  });

  return (request, response) => {
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('X-Frame-Options', 'DENY');
    const { method = 'GET', url = '/', headers } = request;
    if (url === '/') return void response.writeHead(302, { Location: ENDPOINT }).end();
    const refused = access.refuse(headers);
    if (refused) return refuse(response, 403, refused);
    const length = Number(headers['content-length'] ?? 0);
    if (length > limits.bodyBytes) {
      request.unpipe();
      return refuse(
        response,
        413,
        limitExceeded(
          'bodyBytes',
          limits.bodyBytes,
          length,
          `the request's body has ${length} bytes; at most ${limits.bodyBytes} are allowed: send its operations one by one`,
        ),
      );
    }
    const [path] = url.split('?');
    const isPage = method === 'GET' && headers.accept?.includes('text/html') === true;
    const isMetrics = path === METRICS_PATH;
    const isDownload = path?.startsWith(DOWNLOADS) === true;
    const isOperation = isDownload || (path === ENDPOINT && !isPage && method !== 'OPTIONS');
    const forged = isOperation ? access.refuseForged(method, headers) : null;
    if (forged) return refuse(response, 403, forged);
    const role = access.roleOf(headers.authorization);
    if ((isOperation || isMetrics) && role === null) {
      response.setHeader('WWW-Authenticate', 'Bearer');
      return refuse(response, 401, unauthenticated(headers.authorization !== undefined));
    }
    if (isMetrics) return serveMetrics(request, response, options);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    if (isDownload) return void sendDownload(request, response, options, gone.signal);
    void yoga(request, response, { role: role ?? 'viewer', signal: gone.signal });
  };
}

export function unauthenticated(given: boolean): EunomiaError {
  return new EunomiaError(
    'UNAUTHENTICATED',
    given
      ? 'the token is not known to this server, or the header is not "Authorization: Bearer TOKEN"'
      : 'this server needs a token: send "Authorization: Bearer TOKEN" (over WebSocket in connectionParams)',
  );
}

/** yoga puts a result's text into an event of its own. */
const PLAIN = { head: '', tail: '' } as const;

/** Hands operations to the engine; yoga reads requests and writes answers. */
function useEngine({ engine, connections, limits, log }: HttpOptions): Plugin<object, Caller> {
  const answer = async (params: GraphQLParams, request: Request, caller: Caller): Promise<Answer> => {
    const query = params.query ?? '';
    const prepared = engine.prepare(
      { query, variables: params.variables, operationName: params.operationName },
      caller,
    );
    if ('errors' in prepared) return withStatus(prepared, 400);
    const refused = refusal(prepared, request);
    if (refused) return refused;
    if (prepared.operation.operation !== 'subscription')
      return withStatus((await engine.execute(prepared)) as ExecutionResult);
    const full = connections.take();
    if (full) return failure(full, 503, log);
    const result = await engine.execute(prepared, PLAIN);
    if (isStream(result)) result.onEnd(() => connections.release());
    else connections.release();
    return result;
  };
  const refusal = ({ operation: { operation } }: Prepared, { method, headers }: Request): ExecutionResult | null => {
    if (operation === 'mutation' && method !== 'POST')
      return failure(new EunomiaError('METHOD_NOT_ALLOWED', `a mutation must be a POST, not a ${method}`), 405, log, {
        Allow: 'POST',
      });
    const accept = headers.get('accept') ?? '*/*';
    if (operation !== 'subscription' || accept.includes('text/event-stream') || accept.includes('multipart/mixed'))
      return null;
    return failure(
      new EunomiaError(
        'NOT_ACCEPTABLE',
        'a subscription is a stream: send "Accept: text/event-stream", or use a WebSocket with the protocol graphql-transport-ws',
      ),
      406,
      log,
    );
  };
  return {
    onRequestParse: () => ({
      onRequestParseDone({ requestParserResult: batch }) {
        if (!Array.isArray(batch) || batch.length <= limits.batch) return;
        const message = `the batch has ${batch.length} operations; at most ${limits.batch} are allowed: send several requests`;
        throw statusError(maskError(limitExceeded('batch', limits.batch, batch.length, message), log), 413);
      },
    }),
    onParams({ context, setParamsHandler }) {
      setParamsHandler(({ params, request }) => answer(params, request, context));
    },
  };
}

const statusOfCode: Readonly<Record<string, number>> = { FORBIDDEN: 403, UNAUTHENTICATED: 401 };

/** `requestError`: the status of a request that was not executed, for clients that accept application/graphql-response+json. */
function withStatus(result: ExecutionResult, requestError?: number): ExecutionResult {
  if (!result.errors) return result;
  const errors = result.errors.map((error) => {
    const status = statusOfCode[String(error.extensions['code'])];
    if (status !== undefined) return statusError(error, status);
    return requestError === undefined ? error : statusError(error, requestError, { spec: true });
  });
  return { ...result, errors };
}

function failure(error: EunomiaError, status: number, log: Log, headers: Record<string, string> = {}): ExecutionResult {
  return { errors: [statusError(maskError(error, log), status, { headers })] };
}

/** yoga reads `extensions.http` and leaves it out of the answer. */
function statusError(error: GraphQLError, status: number, more: Record<string, unknown> = {}): GraphQLError {
  const { message, nodes, source, positions, path, extensions } = error;
  return new GraphQLError(message, {
    nodes,
    source,
    positions,
    path,
    extensions: { ...extensions, http: { status, ...more } },
  });
}
