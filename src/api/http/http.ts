import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { GraphQLError, type ExecutionResult } from 'graphql';
import { createYoga, type Plugin } from 'graphql-yoga';
import { sendNodeResponse } from '@whatwg-node/server';
import type { Caller, Identity } from '../../access/caller.js';
import { isErrorCode, statusOf, wholeResponseStatus } from '../../base/error-code.js';
import { EunomiaError, invalid } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { acceptable, plainAccept } from './accept.js';
import { admit, refusePacked } from './admit.js';
import { Bodies } from './bodies.js';
import { COMPRESSOR_BYTES, type Coded, type Coding, type Compression } from './compression.js';
import { closeWithConnection } from './closing.js';
import type { CrossOrigin } from './cross-origin.js';
import type { Access } from '../../access/access.js';
import { isRefused, type Connections } from './connections.js';
import type { Service } from '../../service/service.js';
import { isStream, type OperationResult, type Executor, type Prepared } from '../graphql/executor.js';
import { renderGraphiql, type GraphiqlPage } from './graphiql.js';
import { limitExceeded } from '../graphql/limits.js';
import { hasLong, longResult, resultResponse } from './long.js';
import { ResponseStream } from '../graphql/stream.js';
import { isClientError, maskError } from '../graphql/mask.js';
import { serveMetrics } from './metrics.js';
import { readDownload } from './download.js';
import { parseQuery, readParameters, type RequestParameters } from './parameters.js';
import type { PersistedDocuments } from './persisted.js';
import { joinPipeline } from './pipeline.js';
import { refuse } from './refuse.js';
import type { Responses } from './responses.js';
import { byteLength, resultText } from '../text/result-text.js';
import { ENDPOINT, type GuardedHandler, type PublicHandler, type Target } from './routes.js';
import { begun, Line, requests, turns } from '../../base/turn.js';
import { sendDownload, sendWhole } from './send.js';
import { EVENT_STREAM, eventStream } from './sse.js';
import type { Strangers } from './strangers.js';
import type { Limits } from '../../base/config.js';

export interface HttpOptions {
  readonly executor: Executor;
  readonly documents: PersistedDocuments;
  readonly service: Service;
  readonly access: Access;
  readonly connections: Connections;
  readonly strangers: Strangers;
  readonly responses: Responses;
  readonly compression: Compression;
  readonly crossOrigin: CrossOrigin;
  readonly limits: Limits;
  readonly log: Log;
}

interface HttpCaller extends Caller {
  /** As it was returned: connections are counted by it. */
  readonly identity: Identity;
  readonly response: ServerResponse;
  /** The type of results that the client likes best; null when it takes none. */
  readonly mediaType: string | null;
  /** The stream that the client likes best; null when it takes none. */
  readonly stream: string | null;
  /** What an EventSource that connects again says. */
  readonly lastEventId: string | null;
  /** How the client likes results compressed best; null for not at all. */
  readonly coding: Coding | null;
}

export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** GraphQL over HTTP, with subscriptions as server-sent events, and GraphiQL for browsers. */
export function createHttpHandler(options: HttpOptions): HttpHandler {
  const { access, compression, crossOrigin, limits, log } = options;
  const bodies = new Bodies(limits.bodyBytes);
  const yoga = createYoga<HttpCaller>({
    graphqlEndpoint: ENDPOINT,
    extraParamNames: ['documentId'],
    plugins: [useExecutor(options)],
    batching: { limit: Number.MAX_SAFE_INTEGER }, // its message does not tell how many there were: `useExecutor` checks
    maxRequestBodySize: limits.bodyBytes,
    multipart: false,
    cors: false,
    landingPage: false,
    maskedErrors: { maskError: (error) => maskError(error, log), isDev: false },
    graphiql: false, // the page is a route of its own: whatever reaches yoga has a role
    logging: {
      debug: () => undefined,
      info: () => undefined,
      warn: (...args: unknown[]) => log.warn({ args: args.map(String) }, 'http'),
      error: (...args: unknown[]) =>
        log[args.every(isClientError) ? 'debug' : 'error']({ args: args.map(String) }, 'http'),
    },
  });

  /** The page has megabytes: anybody may ask for it, and it is compressed once. */
  type Page = Coded & Pick<GraphiqlPage, 'policy'> & { readonly tag: string };
  const pages = new Map<Coding | null, Promise<Page>>();
  const pageIn = (coding: Coding | null): Promise<Page> => {
    const page =
      pages.get(coding) ??
      renderGraphiql().then(async ({ html, policy }) => {
        const coded = await compression.whole(coding, Buffer.from(html));
        return { ...coded, policy, tag: `"${createHash('sha256').update(coded.body).digest('base64url')}"` };
      });
    pages.set(coding, page);
    return page;
  };

  const open: Record<PublicHandler, (exchange: Exchange) => unknown> = {
    home: ({ response }) => response.writeHead(302, { Location: ENDPOINT }).end(),
    page: async ({ request, response }) => {
      const { headers } = request;
      const page = await pageIn(compression.accepted(headers));
      // A browser asks each time, and gets megabytes when there is another page.
      const { tag, policy } = page;
      const cached = { ETag: tag, 'Cache-Control': 'no-cache' };
      if (names(headers['if-none-match'], tag)) return response.writeHead(304, cached).end();
      sendWhole(request, response, page, {
        ...cached,
        'Content-Type': 'text/html; charset=utf-8',
        'Content-Security-Policy': policy,
      });
    },
    health: ({ response }) => {
      const { dead } = options.service.facts;
      const body = dead ? 'unhealthy\n' : 'ok\n';
      response
        .writeHead(dead ? 503 : 200, {
          'Content-Type': 'text/plain; charset=utf-8',
          'Content-Length': body.length,
          'Cache-Control': 'no-store',
        })
        .end(body);
    },
  };
  const guarded: Record<GuardedHandler, (exchange: Exchange, identity: Identity) => unknown> = {
    // Not `yoga(request, response)`: that sends the stack of whatever was thrown outside of an operation.
    operation: async ({ request, response }, identity) => {
      const { accept } = request.headers;
      const accepted = acceptable(accept);
      const plain = plainAccept(accepted);
      if (plain === '')
        return refuse(response, {
          error: notAcceptable(
            `the Accept header is "${(accept ?? '').slice(0, 200)}"`,
            'application/graphql-response+json, application/json, or text/event-stream',
          ),
        });
      const packed = refusePacked(request.headers);
      if (packed) return refuse(response, packed);
      const full = bodies.take(request, identity);
      if (full) return refuse(response, { error: full, headers: { 'Retry-After': '1' } });
      request.headers.accept = plain; // yoga knows neither weights nor preferences
      const caller = {
        ...callerOf(identity, response),
        connection: request.socket,
        identity,
        response,
        mediaType: accepted.results[0] ?? null,
        stream: accepted.streams[0] ?? null,
        lastEventId: lastEventIdOf(request),
        coding: compression.accepted(request.headers),
      };
      return sendNodeResponse(
        await yoga.handleNodeRequestAndResponse(request, response, caller),
        response,
        request,
        true,
      );
    },
    download: ({ request, response, target: { path, query } }, identity) => {
      const caller = callerOf(identity, response);
      const open = async () => options.service.exports.open(caller, readDownload(path, parseQuery(query)));
      return sendDownload(request, response, options, identity, { caller, open });
    },
    backup: ({ request, response, target: { query } }, identity) => {
      const caller = callerOf(identity, response);
      const open = async () => {
        if (query !== '') throw invalid('query', 'a backup has no parameters: it is of all that is stored');
        return options.service.backups.open(caller);
      };
      return sendDownload(request, response, options, identity, { caller, open });
    },
    metrics: ({ request, response }, identity) =>
      serveMetrics(request, response, compression, options.service, callerOf(identity, response)),
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    await joinPipeline(request, response);
    if (!requests.isOpen) await requests.next();
    if (request.socket.destroyed) return;
    if (crossOrigin.respond(request, response)) return;
    const admission = await admit(request, access, limits);
    switch (admission.access) {
      case 'REFUSED':
        return refuse(response, admission.refusal);
      case 'PUBLIC':
        return void (await open[admission.handler]({ request, response, target: admission.target }));
      case 'ROLE':
        options.strangers.identified(request.socket);
        return void (await guarded[admission.handler](
          { request, response, target: admission.target },
          admission.identity,
        ));
    }
  };

  return (request, response) => {
    response.setMaxListeners(limits.batch + 20); // each operation of a batch frees something when it closes
    closeWithConnection(request, response);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('X-Frame-Options', 'DENY');
    response.setHeader('Vary', `${compression.vary}${crossOrigin.vary}`);
    crossOrigin.mark(request, response);
    serve(request, response).catch((error: unknown) => {
      if (request.socket.destroyed) return; // nobody is there to be told, and that may be all that is wrong
      refuse(response, { error: new EunomiaError('INTERNAL_SERVER_ERROR', maskError(error, log).message) });
    });
  };
}

/** Whether If-None-Match names a tag: a proxy that compresses has made it a weak one (RFC 9110, 13.1.2). */
function names(condition: string | undefined, tag: string): boolean {
  return (condition ?? '').split(',').some((each) => ['*', tag, `W/${tag}`].includes(each.trim()));
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
}

/** Its signal aborts when the client goes away, and when its response is complete. */
function callerOf(identity: Identity, response: ServerResponse): Caller {
  const gone = new AbortController();
  if (response.destroyed) gone.abort();
  else response.once('close', () => gone.abort());
  return { ...identity, signal: gone.signal };
}

function notAcceptable(what: string, right: string): EunomiaError {
  return new EunomiaError('NOT_ACCEPTABLE', `${what}: send "Accept: ${right}"`);
}

function lastEventIdOf({ headers }: IncomingMessage): string | null {
  const id = headers['last-event-id'];
  return typeof id === 'string' && id !== '' ? id : null;
}

/** yoga puts a result's text into an event of its own. */
const PLAIN = { head: '', tail: '' } as const;

/** Hands operations to the executor; yoga reads requests and writes responses. */
function useExecutor({
  executor,
  documents,
  connections,
  responses,
  compression,
  limits,
  log,
}: HttpOptions): Plugin<object, HttpCaller> {
  const result = async (params: RequestParameters, request: Request, caller: HttpCaller): Promise<OperationResult> => {
    await lineOf(request).next();
    const prepared = documents.prepare({ ...params, resumeAfter: caller.lastEventId }, caller.identity, caller);
    if ('errors' in prepared) return withStatus(prepared, { executed: false });
    const refused = refusal(prepared, request, caller) ?? overspent(prepared, request);
    if (refused) return refused;
    if (prepared.operation.operation !== 'subscription') {
      const left = await prepared.context.share.begin(prepared.operation.operation, prepared.measured.values, caller);
      if (left instanceof EunomiaError) return failure(left, log);
      try {
        const sized = responses.take(caller.response, caller.identity, prepared.measured);
        if (sized instanceof EunomiaError) return failure(sized, log, { 'Retry-After': '1' });
        const result = (await executor.execute(prepared)) as ExecutionResult;
        return await inPieces(withStatus(result, { executed: true }), caller.coding, sized);
      } finally {
        left();
      }
    }
    const place = connections.take(caller.response, caller.identity);
    if (isRefused(place)) return failure(place, log);
    const result = await executor.execute(prepared, PLAIN);
    if (isStream(result)) result.onEnd(place.free);
    else place.free();
    return result;
  };
  const spent = new WeakMap<Request, number>();
  /** Operations of a batch come all at once. */
  const lines = new WeakMap<Request, Line>();
  const lineOf = (request: Request): Line => {
    const line = lines.get(request) ?? new Line();
    lines.set(request, line);
    return line;
  };
  /** Requests that are batches, by their responses: yoga hands a parser another request than it hands an operation. */
  const batched = new WeakSet<ServerResponse>();
  const refusal = (
    { operation: { operation } }: Prepared,
    request: Request,
    { stream, response }: HttpCaller,
  ): ExecutionResult | null => {
    const { method } = request;
    if (operation === 'mutation' && method !== 'POST')
      return failure(new EunomiaError('METHOD_NOT_ALLOWED', `a mutation must be a POST, not a ${method}`), log, {
        Allow: 'POST',
      });
    if (operation !== 'subscription') return null;
    if (batched.has(response))
      return failure(
        new EunomiaError(
          'BAD_REQUEST',
          'a subscription cannot be part of a batch, whose results are one list: send it as a request of its own',
        ),
        log,
      );
    if (stream !== null) return null;
    return failure(
      notAcceptable(
        'a subscription is a stream',
        'text/event-stream", or use a WebSocket with the protocol "graphql-transport-ws',
      ),
      log,
    );
  };
  /** Operations of one batch cost together what one may: they are one request of one client. */
  const overspent = ({ measured: { cost } }: Prepared, request: Request): ExecutionResult | null => {
    const sum = (spent.get(request) ?? 0) + cost;
    if (sum > limits.cost) {
      return failure(
        limitExceeded(
          'cost',
          limits.cost,
          sum,
          `the batch's operations up to this one cost ${sum}; at most ${limits.cost} are allowed for one ` +
            'request: send it in a request of its own',
        ),
        log,
      );
    }
    spent.set(request, sum);
    return null;
  };
  const read = async (request: Request, { response }: HttpCaller): Promise<RequestParameters | RequestParameters[]> => {
    const batch = await readParameters(request).catch((error: unknown) => {
      throw error instanceof EunomiaError ? statusError(maskError(error, log)) : error;
    });
    if (!Array.isArray(batch)) return batch;
    batched.add(response);
    if (batch.length <= limits.batch) return batch;
    const message = `the batch has ${batch.length} operations; at most ${limits.batch} are allowed: send several requests`;
    throw statusError(maskError(limitExceeded('batch', limits.batch, batch.length, message), log));
  };
  return {
    onRequestParse: ({ setRequestParser, serverContext }) =>
      setRequestParser((request) => read(request, serverContext)),
    onResultProcess({ result, setResultProcessor, serverContext: { mediaType, stream, coding } }) {
      // yoga's own events have no ids.
      if (result instanceof ResponseStream && stream === EVENT_STREAM)
        setResultProcessor((_result, fetchAPI) => eventStream(result, fetchAPI), EVENT_STREAM);
      else if (hasLong(result) || (mediaType !== null && !(Symbol.asyncIterator in result)))
        setResultProcessor(
          (_result, fetchAPI, type) =>
            resultResponse(result, fetchAPI, type, { compression, coding: mediaType === null ? null : coding }),
          mediaType ?? stream ?? EVENT_STREAM,
        );
    },
    onParams({ context, setParamsHandler }) {
      setParamsHandler(({ params, request }) => result(params, request, context));
    },
  };
}

/** The same result, with its text: yoga takes that, and would else make it in one piece. */
async function inPieces(
  result: ExecutionResult,
  coding: Coding | null,
  sized: (length: number) => void,
): Promise<ExecutionResult> {
  const { data, errors } = result;
  if (data == null) return result;
  // yoga writes errors, of which it tells less than there is.
  const text = await begun(resultText(errors ? { data } : result), requests, turns);
  // Of a short text, all that waits for the client is the text.
  sized(byteLength(text) + (coding === null || typeof text === 'string' ? 0 : COMPRESSOR_BYTES));
  if (typeof text !== 'string') return longResult(result, text);
  return errors ? result : Object.assign({ ...result, data: null }, { stringify: () => text });
}

/** A request that was not executed has a status of its own only for clients that accept application/graphql-response+json. */
function withStatus(result: ExecutionResult, { executed }: { readonly executed: boolean }): ExecutionResult {
  if (!result.errors) return result;
  const errors = result.errors.map((error) => {
    if (wholeResponseStatus(error.extensions['code']) !== null) return statusError(error);
    return executed ? error : statusError(error, { spec: true });
  });
  return { ...result, errors };
}

function failure(error: EunomiaError, log: Log, headers: Record<string, string> = {}): ExecutionResult {
  return { errors: [statusError(maskError(error, log), { headers })] };
}

/** yoga reads `extensions.http` and leaves it out of the response. */
function statusError(error: GraphQLError, more: Record<string, unknown> = {}): GraphQLError {
  const { message, nodes, source, positions, path, extensions } = error;
  const code = extensions['code'];
  const status = statusOf({ code: isErrorCode(code) ? code : 'BAD_REQUEST', details: extensions });
  return new GraphQLError(message, {
    nodes,
    source,
    positions,
    path,
    extensions: { ...extensions, http: { status, ...more } },
  });
}
