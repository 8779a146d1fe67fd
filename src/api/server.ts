import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Config } from '../config.js';
import { EunomiaError, messageOf } from '../errors.js';
import { Access, checkListen, loadTls } from './auth.js';
import { Connections } from './connections.js';
import type { Services } from './context.js';
import { Engine } from './engine.js';
import { createHttpHandler, ENDPOINT } from './http.js';
import { createSchema } from './schema.js';
import { serveWebSockets } from './websocket.js';

export interface ApiServer {
  /** Of the GraphQL endpoint, for HTTP and SSE; `ws` for `http` in it serves WebSockets. */
  readonly url: string;
  /** Ends subscriptions and connections, and stops listening. What is under way may answer for a second. Idempotent. */
  close(): Promise<void>;
}

const CLOSE_GRACE_MS = 1_000;

/**
 * Serves GraphQL over HTTP, SSE and WebSocket on one port. Rejects with UNSAFE_LISTENER, BAD_TLS, PORT_IN_USE or
 * CANNOT_LISTEN; nothing is left open then.
 */
export async function createServer(services: Services): Promise<ApiServer> {
  const { config, log } = services;
  checkListen(config);
  const tls = config.tls && loadTls(config.tls);
  const engine = new Engine(createSchema(), services);
  const options = {
    engine,
    services,
    access: new Access(config),
    connections: new Connections(config.limits.connections),
    limits: config.limits,
    metrics: services.metrics,
    log,
  };
  const handler = createHttpHandler(options);
  const server: Server = tls ? createHttpsServer(tls, handler) : createHttpServer(handler);
  const closeWebSockets = serveWebSockets(server, options);
  await listen(server, config);
  let closing: Promise<void> | null = null;
  return {
    url: `${tls ? 'https' : 'http'}://${authority(config.host, server.address())}${ENDPOINT}`,
    close: () => (closing ??= close(server, engine, closeWebSockets)),
  };
}

async function close(server: Server, engine: Engine, closeWebSockets: () => Promise<void>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  await engine.close();
  await closeWebSockets();
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
  await closed;
  clearTimeout(timer);
}

function listen(server: Server, { host, port }: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const where = `${host}:${port}`;
      reject(
        error.code === 'EADDRINUSE'
          ? new EunomiaError(
              'PORT_IN_USE',
              `${where} is in use by another program; give another --port (0 takes a free one), or stop that program`,
              { cause: error, details: { host, port } },
            )
          : new EunomiaError('CANNOT_LISTEN', `listening on ${where}: ${messageOf(error)}`, {
              cause: error,
              details: { host, port },
            }),
      );
    });
    server.listen(port, host, resolve);
  });
}

function authority(host: string, address: AddressInfo | string | null): string {
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
