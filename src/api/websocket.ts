import type { IncomingMessage, Server } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { GraphQLError, ExecutionArgs } from 'graphql';
import { handleProtocols, makeServer, type Context } from 'graphql-ws';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Limits, Role } from '../config.js';
import type { EunomiaError } from '../errors.js';
import type { Log } from '../log.js';
import { asciiJson } from '../pipeline/json-bytes.js';
import type { Access } from './auth.js';
import type { Connections } from './connections.js';
import type { Engine, Prepared } from './engine.js';
import { ENDPOINT, unauthenticated } from './http.js';
import { limitExceeded } from './limits.js';
import { formatError, maskError } from './mask.js';
import type { TextSink } from './text.js';

export interface WebSocketOptions {
  readonly engine: Engine;
  readonly access: Access;
  readonly connections: Connections;
  readonly limits: Limits;
  readonly log: Log;
}

interface Extra {
  readonly request: IncomingMessage;
  readonly socket: WebSocket;
  role: Role;
  /** Sends one message in parts; resolves as `send` does. */
  readonly sendParts: (parts: readonly Buffer[]) => Promise<void>;
  /** Operations under way; aborting tells a resolver that its client has gone. */
  readonly running: Map<string, AbortController>;
}

type Connection = Context<Record<string, unknown>, Extra>;

const UNAUTHORIZED = 4401;
const GOING_AWAY = 1001;
const OPERATIONS_AT_ONCE = 100;
const PING_MS = 15_000;
/** A client that reads nothing for so long has gone; until then it only loses its own events. */
const STALLED_MS = 300_000;

/** GraphQL over WebSocket (graphql-transport-ws) on the HTTP server's port. Answers the function that closes all connections. */
export function serveWebSockets(server: Server, options: WebSocketOptions): () => Promise<void> {
  const { access, connections, limits, log } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: limits.bodyBytes,
    perMessageDeflate: false,
    handleProtocols: (protocols) => handleProtocols(protocols),
  });
  const graphql = createProtocol(options);

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    if (request.url?.split('?')[0] !== ENDPOINT) return reject(socket, 404, null);
    const refused = access.refuse(request.headers);
    if (refused) return reject(socket, 403, refused);
    const full = connections.take();
    if (full) return reject(socket, 503, full);
    socket.once('close', () => connections.release());
    sockets.handleUpgrade(request, socket, head, (webSocket) => attach(webSocket, socket, request));
  });

  const attach = (socket: WebSocket, stream: Duplex, request: IncomingMessage): void => {
    const life = watch(socket);
    // Resolves when the message has left for the kernel: the next batch is not made before, and a slow client's
    // events wait, bounded, in the session's queue.
    const send = (parts: readonly (string | Buffer)[]): Promise<void> =>
      new Promise((resolve) => {
        if (socket.readyState !== socket.OPEN) return resolve();
        life.sending();
        const sent = (error?: Error | null): void => {
          life.sent();
          if (error) {
            // The client has gone in the middle of a message: `close` follows, and ends its operations.
            log.debug({ err: error }, 'a WebSocket client is gone');
            socket.terminate();
          }
          resolve();
        };
        // One write to the socket for all parts; each is a fragment of the message (RFC 6455, 5.4), so that none is copied.
        stream.cork();
        const last = parts.length - 1;
        parts.forEach((part, i) =>
          socket.send(part, { binary: false, fin: i === last }, i === last ? sent : undefined),
        );
        stream.uncork();
      });
    const extra: Extra = { request, socket, role: 'viewer', sendParts: send, running: new Map() };
    socket.on('error', (error) => log.debug({ err: error }, 'a WebSocket client broke the protocol'));
    const closed = graphql.opened(
      {
        protocol: socket.protocol,
        send: (data) => send([data]),
        close: (code, reason) => socket.close(code, reason),
        onMessage: (receive) =>
          socket.on('message', (data) => {
            const text = String(data);
            abortCompleted(text, extra);
            receive(text).catch((error: unknown) => {
              log.error({ err: error }, 'a WebSocket message');
              socket.close(1011, 'Internal server error');
            });
          }),
      },
      extra,
    );
    socket.once('close', (code, reason) => {
      life.end();
      for (const controller of extra.running.values()) controller.abort();
      Promise.resolve(closed(code, String(reason))).catch((error: unknown) =>
        log.error({ err: error }, 'closing a WebSocket'),
      );
    });
  };

  return async () => {
    for (const socket of sockets.clients) socket.close(GOING_AWAY, 'The server is ending');
    const deadline = Date.now() + 1_000;
    while (sockets.clients.size > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
  };
}

function createProtocol({ engine, access, log }: WebSocketOptions) {
  return makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: 10_000,
    onConnect: ({ extra, connectionParams }: Connection) => {
      const authorization =
        extra.request.headers.authorization ??
        connectionParams?.['authorization'] ??
        connectionParams?.['Authorization'];
      const role = access.roleOf(authorization);
      if (role !== null) {
        extra.role = role;
        return true;
      }
      // Without a token it is final; with a wrong one a client may come back with a fresh one (it gets 4403).
      if (authorization === undefined) extra.socket.close(UNAUTHORIZED, unauthenticated(false).message.slice(0, 120));
      return false;
    },
    onSubscribe: ({ extra }, id, payload): ExecutionArgs | readonly GraphQLError[] => {
      if (extra.running.size >= OPERATIONS_AT_ONCE) {
        return [
          maskError(
            limitExceeded(
              'operations',
              OPERATIONS_AT_ONCE,
              extra.running.size + 1,
              `this connection has ${extra.running.size} operations under way, the most that are allowed; complete one, or open another connection`,
            ),
            log,
          ),
        ];
      }
      const controller = new AbortController();
      const prepared = engine.prepare(
        { query: payload.query, variables: payload.variables, operationName: payload.operationName },
        { role: extra.role, signal: controller.signal },
      );
      if ('errors' in prepared) return prepared.errors;
      extra.running.set(id, controller);
      const { schema, document, operation } = prepared;
      return {
        schema,
        document,
        operationName: operation.name?.value,
        contextValue: { prepared, sink: sinkOf(id, extra), done: () => extra.running.delete(id) } satisfies Running,
      };
    },
    execute: ({ contextValue }) => run(engine, contextValue as Running),
    subscribe: ({ contextValue }) => run(engine, contextValue as Running),
  });
}

/** What `next` of graphql-transport-ws says around a result. Results that are text already go to the socket without graphql-ws. */
function sinkOf(id: string, { sendParts }: Extra): TextSink {
  return { head: `{"id":${asciiJson(id)},"type":"next","payload":`, tail: '}', send: sendParts };
}

interface Running {
  readonly prepared: Prepared;
  readonly sink: TextSink;
  readonly done: () => void;
}

async function run(engine: Engine, { prepared, sink, done }: Running) {
  const answer = await engine.execute(prepared, sink);
  if ('onEnd' in answer) answer.onEnd(done);
  else done();
  return answer;
}

/** graphql-ws tells of a client's "complete" only for subscriptions; a `trace` should end then too. */
function abortCompleted(text: string, { running }: Extra): void {
  if (running.size === 0 || text.length > 512 || !text.includes('"complete"')) return;
  try {
    const message: unknown = JSON.parse(text);
    if (
      typeof message === 'object' &&
      message !== null &&
      'id' in message &&
      'type' in message &&
      message.type === 'complete'
    )
      running.get(String(message.id))?.abort();
  } catch {
    // graphql-ws answers to what is no message.
  }
}

/** Finds connections whose client has gone without a word. */
function watch(socket: WebSocket): { sending(): void; sent(): void; end(): void } {
  let pending = 0;
  let alive = Date.now();
  socket.on('pong', () => (alive = Date.now()));
  socket.on('message', () => (alive = Date.now()));
  const timer = setInterval(() => {
    const silent = Date.now() - alive;
    // A ping would wait behind what is being sent, and tell nothing.
    if (pending > 0 ? silent > STALLED_MS : silent > 3 * PING_MS) socket.terminate();
    else if (pending === 0) socket.ping();
  }, PING_MS).unref();
  return {
    sending: () => (pending += 1),
    sent: () => {
      pending -= 1;
      alive = Date.now();
    },
    end: () => clearInterval(timer),
  };
}

function reject(socket: Duplex, status: number, error: EunomiaError | null): void {
  const body = error ? JSON.stringify({ errors: [formatError(error)] }) : '';
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
