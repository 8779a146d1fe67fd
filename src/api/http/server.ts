import { once } from 'node:events';
import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Config } from '../../base/config.js';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { Access, checkListen, loadTls } from '../../access/access.js';
import { listenerAt } from '../../access/listener.js';
import { Compression } from './compression.js';
import { Connections } from './connections.js';
import { CrossOrigin } from './cross-origin.js';
import type { PeerCheck } from '../../access/peer.js';
import type { Service } from '../../service/service.js';
import { Executor } from '../graphql/executor.js';
import { createHttpHandler, type HttpHandler } from './http.js';
import { refuseMalformed } from './malformed.js';
import { PersistedDocuments } from './persisted.js';
import { refuse } from './refuse.js';
import { Responses } from './responses.js';
import { ENDPOINT } from './routes.js';
import { contractSchema } from '../graphql/schema.js';
import { StalledClients } from './stalled.js';
import { Strangers } from './strangers.js';
import { loadTrusted } from './trusted.js';
import { serveWebSockets } from './websocket.js';

export interface ApiServer {
  /** Of the GraphQL endpoint, for HTTP and SSE; `ws` for `http` in it serves WebSockets. */
  readonly url: string;
  /**
   * Stops listening, stops all sessions, gives their readers a while for what they have not read and tells them of the rest, and then ends
   * subscriptions and connections. Requests in progress have a second to complete. Idempotent.
   */
  close(): Promise<void>;
}

/** An address that is taken, where nothing is served yet: requests get 503. */
export interface Listener {
  /** To be called once. */
  serve(service: Service, peers: PeerCheck): ApiServer;
  /** Gives the address back, when nothing was served. */
  close(): Promise<void>;
}

const CLOSE_GRACE_MS = 1_000;
/** How long readers that were told of their end have to take it. */
const LAST_WORD_MS = 200;
/** For a request's body, from the request's begin on. */
const REQUEST_MS = 30_000;
const CHECK_MS = 1_000;

/**
 * Takes the address that the server will be reached at. Rejects with UNSAFE_LISTENER, BAD_TLS, BAD_TRUSTED_DOCUMENTS, PORT_IN_USE
 * or CANNOT_LISTEN; nothing is left open then.
 */
export async function openListener(config: Config): Promise<Listener> {
  checkListen(config);
  const tls = config.tls && loadTls(config.tls);
  const trusted = loadTrusted(config);
  const { identifyMs } = config.limits;
  // Without a Host header: Node's response would have no body, `admit` checks it.
  const http = {
    requireHostHeader: false,
    headersTimeout: identifyMs,
    requestTimeout: Math.max(REQUEST_MS, identifyMs),
    connectionsCheckingInterval: Math.min(CHECK_MS, identifyMs),
  };
  let report: (what: { readonly waitingBytes: number }) => void = () => {};
  let handler: HttpHandler = (_request, response) =>
    refuse(response, {
      error: new EunomiaError('STARTING', 'the server is starting; ask again in a moment'),
      headers: { 'Retry-After': '1' },
    });
  const serve: HttpHandler = (request, response) => handler(request, response);
  const server: Server = tls
    ? createHttpsServer({ ...tls, ...http, handshakeTimeout: identifyMs }, serve)
    : createHttpServer(http, serve);
  refuseMalformed(server);
  const strangers = new Strangers(config.limits.strangers);
  server.on('connection', (socket: Socket) => strangers.enter(socket));
  const stalled = new StalledClients(config.limits.stalledMs, (waitingBytes) => report({ waitingBytes }));
  server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => stalled.watch(socket));
  server.once('close', () => stalled.close());
  await listen(server, config);
  return {
    serve(service, peers) {
      const { log } = service;
      const executor = new Executor(contractSchema(), service);
      const options = {
        executor,
        documents: new PersistedDocuments({ executor, trusted, log }),
        service,
        access: new Access(config, peers),
        connections: new Connections(config.limits),
        strangers,
        responses: new Responses(),
        compression: new Compression(config.compression),
        crossOrigin: new CrossOrigin(config.allowedOrigins),
        limits: config.limits,
        log,
      };
      handler = createHttpHandler(options);
      report = (what) => log.info(what, 'a client that reads nothing was disconnected');
      const closeWebSockets = serveWebSockets(server, options);
      let closing: Promise<void> | null = null;
      return {
        url: `${tls ? 'https' : 'http'}://${authority(config.host, server.address())}${ENDPOINT}`,
        close: () => (closing ??= close({ server, executor, service, strangers, closeWebSockets })),
      };
    },
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      strangers.close();
      await closed;
    },
  };
}

interface Served {
  readonly server: Server;
  readonly executor: Executor;
  readonly service: Service;
  readonly strangers: Strangers;
  readonly closeWebSockets: () => Promise<void>;
}

async function close({ server, executor, service, strangers, closeWebSockets }: Served): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  executor.refuse();
  await service.end();
  await executor.close(LAST_WORD_MS);
  await closeWebSockets();
  server.closeIdleConnections();
  const timer = setTimeout(() => {
    server.closeAllConnections();
    strangers.close(); // of one in a TLS handshake the server does not know yet
  }, CLOSE_GRACE_MS);
  await closed;
  clearTimeout(timer);
}

async function listen(server: Server, { host, port }: Config): Promise<void> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const where = `${host}:${port}`;
    const details = { host, port };
    if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'))
      throw new EunomiaError('CANNOT_LISTEN', `listening on ${where}: ${messageOf(error)}`, { cause: error, details });
    const who = await listenerAt(host, port);
    throw new EunomiaError(
      'PORT_IN_USE',
      `${where} is in use by ${who}; give another --port (0 takes a free one), or stop that program`,
      { cause: error, details },
    );
  }
}

function authority(host: string, address: AddressInfo | string | null): string {
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
