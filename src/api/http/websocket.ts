import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { GraphQLError, ExecutionArgs, ExecutionResult } from 'graphql';
import { handleProtocols, makeServer, type Context } from 'graphql-ws';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Identity } from '../../access/caller.js';
import type { Limits } from '../../base/config.js';
import { EunomiaError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { asciiJson } from '../../record/json/bytes.js';
import { refuseUpgrade } from './admit.js';
import type { Access } from '../../access/access.js';
import { isRefused, type Connections } from './connections.js';
import { isStream, type Executor, type Prepared } from '../graphql/executor.js';
import { excessOf, MAX_NESTING, MAX_VALUES, type Excess } from './json.js';
import { LEGACY, refuseLegacy } from './legacy.js';
import { limitExceeded } from '../graphql/limits.js';
import { maskError } from '../graphql/mask.js';
import { Operations, type Operation } from './operation.js';
import { Outgoing } from './outgoing.js';
import type { PersistedDocuments } from './persisted.js';
import { refuseRaw } from './refuse.js';
import type { Responses } from './responses.js';
import type { Strangers } from './strangers.js';
import { resultText } from '../text/result-text.js';
import type { TextSink } from '../text/text.js';
import { begun, Line, requests, turns } from '../../base/turn.js';

export interface WebSocketOptions {
  readonly executor: Executor;
  readonly documents: PersistedDocuments;
  readonly access: Access;
  readonly connections: Connections;
  readonly strangers: Strangers;
  readonly responses: Responses;
  readonly limits: Limits;
  readonly log: Log;
}

interface Extra {
  readonly request: IncomingMessage;
  readonly socket: WebSocket;
  readonly outgoing: Outgoing;
  readonly operations: Operations;
  /** Null until the client has shown that it may come in, and has a place. */
  identity: Identity | null;
}

type Connection = Context<Record<string, unknown>, Extra>;

const BAD_REQUEST = 4400;
const UNAUTHORIZED = 4401;
const NORMAL = 1000;
const GOING_AWAY = 1001;
const TRY_AGAIN_LATER = 1013;
/** How long a client may take to reply to a close frame. */
const CLOSE_MS = 2_000;
/** The same at the server's end. */
const GOING_MS = 500;
/** How long operations that have ended may take to say so. */
const LAST_MS = 200;
/** Of a message of a client that has not said who it is. */
const STRANGERS_BYTES = 64 << 10;
const EXCESS: Readonly<Record<Excess, string>> = {
  DEPTH: `nested more than ${MAX_NESTING} deep`,
  VALUES: `more than ${MAX_VALUES} values`,
};
/** Of the reason in a close frame (RFC 6455, 5.5): 125 bytes with the code. */
const REASON_BYTES = 123;

/** GraphQL over WebSocket (graphql-transport-ws) on the HTTP server's port. Returns the function that closes all connections. */
export function serveWebSockets(server: Server, options: WebSocketOptions): () => Promise<void> {
  const { access, limits, log } = options;
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: limits.bodyBytes,
    perMessageDeflate: false,
    handleProtocols: (protocols) => handleProtocols(protocols) || (protocols.has(LEGACY) ? LEGACY : false),
  });
  const graphql = createProtocol(options);
  const underWay = new Set<Operations>();

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    const refused = refuseUpgrade(request, access);
    if (refused) return refuseRaw(socket, refused);
    upgrade(request, socket, head).catch((error: unknown) => {
      log.error({ err: error }, 'upgrading to a WebSocket');
      socket.destroy();
    });
  });

  const upgrade = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    // Who says at once who it is, is told at once whether there is a place. Others have none yet, and wait among the strangers.
    const found = await access.identify(request.socket, request.headers.authorization);
    const identity = found instanceof EunomiaError ? null : found;
    if (socket.destroyed) return;
    const full = identity && admit(request, identity, options);
    if (full) return refuseRaw(socket, { error: full });
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      if (webSocket.protocol === LEGACY) refuseLegacy(webSocket);
      else attach(webSocket, socket, request, identity);
    });
  };

  const attach = (socket: WebSocket, stream: Duplex, request: IncomingMessage, identity: Identity | null): void => {
    const outgoing = new Outgoing({ socket, stream, log });
    const operations = new Operations();
    underWay.add(operations);
    const extra: Extra = { request, socket, outgoing, operations, identity };
    socket.on('error', (error) => log.debug({ err: error }, 'a WebSocket client broke the protocol'));
    const closed = graphql.opened(
      {
        protocol: socket.protocol,
        send: (data) => {
          const text = operations.send(data);
          return text === null ? Promise.resolve() : outgoing.send([text]);
        },
        close: (code, reason) => close(socket, code ?? NORMAL, reason ?? ''),
        onMessage: (receive) => {
          const line = new Line();
          const handle = (message: string): void => {
            // What came in one piece of the stream is still handed over after a close.
            if (socket.readyState !== socket.OPEN) return;
            const excess = excessOf(message);
            if (excess) return close(socket, BAD_REQUEST, `Invalid message: ${EXCESS[excess]}`);
            const incoming = operations.receive(message);
            if (incoming.kind === 'CLOSE') return close(socket, incoming.code, incoming.reason);
            if (incoming.kind === 'IGNORE') return;
            const { text, operation } = incoming;
            receive(text)
              .catch((error: unknown) => {
                log.error({ err: error }, 'a WebSocket message');
                close(socket, 1011, 'Internal server error');
              })
              .finally(() => operation && operations.ended(operation));
          };
          socket.on('message', (data) => {
            const message = String(data);
            if (!extra.identity && message.length > STRANGERS_BYTES)
              return close(
                socket,
                BAD_REQUEST,
                `Invalid message: more than ${STRANGERS_BYTES} bytes before the acknowledgement`,
              );
            const turn = line.next();
            if (!turn) return handle(message);
            const release = outgoing.hold();
            void turn.then(() => {
              release();
              handle(message);
            });
          });
        },
      },
      extra,
    );
    socket.once('close', (code, reason) => {
      operations.end();
      underWay.delete(operations);
      Promise.resolve(closed(code, String(reason))).catch((error: unknown) =>
        log.error({ err: error }, 'closing a WebSocket'),
      );
    });
  };

  return async () => {
    // The last message of an operation follows its end.
    for (const until = Date.now() + LAST_MS; Date.now() < until && [...underWay].some(({ size }) => size > 0);)
      await new Promise((resolve) => setTimeout(resolve, 5));
    for (const socket of sockets.clients) close(socket, GOING_AWAY, 'The server is ending');
    const deadline = Date.now() + GOING_MS;
    while (sockets.clients.size > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
  };
}

/** Gives a client whose identity is known a place of its own. Returns why there is none. */
function admit(
  { socket }: IncomingMessage,
  identity: Identity,
  { connections, strangers }: WebSocketOptions,
): EunomiaError | null {
  const place = connections.take(socket, identity);
  if (isRefused(place)) return place;
  strangers.identified(socket);
  return null;
}

function createProtocol(options: WebSocketOptions) {
  const { executor, documents, access, responses, limits, log } = options;
  return makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: limits.identifyMs,
    onConnect: async ({ extra, connectionParams }: Connection) => {
      if (extra.identity) return true;
      const authorization =
        extra.request.headers.authorization ??
        connectionParams?.['authorization'] ??
        connectionParams?.['Authorization'];
      const identity = await access.identify(extra.request.socket, authorization);
      if (identity instanceof EunomiaError) {
        // Without a token it is final; with a wrong one a client may come back with a fresh one (it gets 4403).
        if (authorization === undefined) close(extra.socket, UNAUTHORIZED, identity.message);
        return false;
      }
      const full = admit(extra.request, identity, options);
      if (full) {
        close(extra.socket, TRY_AGAIN_LATER, full.message);
        return false;
      }
      extra.identity = identity;
      return true;
    },
    onSubscribe: async ({ extra }, key, payload): Promise<ExecutionArgs | readonly GraphQLError[]> => {
      const { operations, identity } = extra;
      const operation = operations.get(key);
      if (!operation || !identity)
        return [
          maskError(
            new EunomiaError('UNAUTHENTICATED', 'an operation came before connection_init was acknowledged'),
            log,
          ),
        ];
      if (operations.size > limits.operations) {
        return [
          maskError(
            limitExceeded(
              'operations',
              limits.operations,
              operations.size,
              `this connection has ${limits.operations} operations under way, the most that are allowed; ` +
                'complete one, or open another connection',
            ),
            log,
          ),
        ];
      }
      const prepared = documents.prepare(payload, identity, {
        ...identity,
        signal: operation.gone.signal,
        connection: extra.socket,
      });
      if ('errors' in prepared) return prepared.errors;
      if (prepared.operation.operation !== 'subscription') {
        // Those that wait take no room: of a hundred pages that are asked for at once, all are sent.
        const { operation: node, measured, context } = prepared;
        const left = await context.share.begin(node.operation, measured.values, context.caller);
        if (left instanceof EunomiaError) return [maskError(left, log)];
        operation.frees.push(left);
        const share = responses.reserve(identity, measured.values);
        if (share instanceof EunomiaError) return [maskError(share, log)];
        operation.frees.push(share.free);
      }
      const { schema, document } = prepared;
      return {
        schema,
        document,
        operationName: prepared.operation.name?.value,
        contextValue: { prepared, sink: sinkOf(operation, extra) } satisfies Running,
      };
    },
    execute: ({ contextValue }) => run(executor, contextValue as Running),
    subscribe: ({ contextValue }) => run(executor, contextValue as Running),
  });
}

/** What `next` of graphql-transport-ws says around a result. Results that are text already go to the socket without graphql-ws. */
function sinkOf({ id, gone }: Operation, { outgoing }: Extra): TextSink {
  return {
    head: `{"id":${asciiJson(id)},"type":"next","payload":`,
    tail: '}',
    send: (parts) => (gone.signal.aborted ? Promise.resolve() : outgoing.send(parts)),
    turn: () => outgoing.turn(),
  };
}

interface Running {
  readonly prepared: Prepared;
  readonly sink: TextSink;
}

async function run(executor: Executor, { prepared, sink }: Running) {
  const result = await executor.execute(prepared, sink);
  return isStream(result) || result.errors ? result : sendInPieces(result, sink);
}

/** Sends a query's result by itself, so that graphql-ws gets nothing but the end: it would make the text in one piece. */
async function* sendInPieces(
  result: ExecutionResult,
  { head, tail, send, turn }: TextSink,
): AsyncGenerator<ExecutionResult, void> {
  if (!send) return yield result;
  const endTurn = await turn?.();
  try {
    const text = await begun(resultText(result), requests, turns);
    await send(
      typeof text === 'string'
        ? [Buffer.from(`${head}${text}${tail}`)]
        : [Buffer.from(head), ...text, Buffer.from(tail)],
    );
  } finally {
    endTurn?.();
  }
}

function close(socket: WebSocket, code: number, reason: string): void {
  // A paused socket would not see the client's reply.
  if (socket.isPaused) socket.resume();
  socket.close(code, shortened(reason));
  setTimeout(() => socket.terminate(), CLOSE_MS).unref();
}

/** A reason may repeat what the client sent, an operation's id for one. */
function shortened(text: string): string {
  if (Buffer.byteLength(text) <= REASON_BYTES) return text;
  let end = Math.min(text.length, REASON_BYTES - 3);
  while (Buffer.byteLength(text.slice(0, end)) > REASON_BYTES - 3) end -= 1;
  return `${text.slice(0, end)}…`;
}
