import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { toolServer, type ToolServer } from './server.js';
import type { Tool } from './tool.js';

const PATH = '/mcp';
/** An agent's longest argument is a query. */
const MAX_BODY_BYTES = 1 << 20;
const MAX_CONNECTIONS = 500;
const MAX_SESSIONS = 200;
const MAX_OF_A_TOKEN = 20;
/** Agents do not always end their sessions. */
const IDLE_MS = 10 * 60_000;
const SWEEP_MS = 10_000;
/** So long the server is not asked again about a token whose sessions begin; each call asks it anyway. */
const ADMITTED_MS = 10_000;
/**
 * Within which a request is to be there as a whole, and after which a connection on which nothing happens is closed: other than one that
 * waits for a tool, which may watch for longer.
 */
const [HEADERS_MS, REQUEST_MS, SILENT_MS] = [10_000, 30_000, 120_000];

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface HttpServing {
  readonly version: string;
  /** Rejects with UNAUTHENTICATED for a token that the server does not know. */
  admit(token: string): Promise<void>;
  /** The tools that ask the server with this token. */
  toolsFor(token: string): readonly Tool[];
  /** Called with the address once requests are taken. */
  ready(url: string): void;
  readonly signal: AbortSignal;
}

interface Session {
  /** Of the token that it was begun with, and that each of its requests has. */
  readonly digest: string;
  readonly tools: readonly Tool[];
  readonly transport: StreamableHTTPServerTransport;
  readonly server: ToolServer;
  requests: number;
  usedAt: number;
}

/**
 * Serves tools by Streamable HTTP until the signal, on a loopback address. Each request has a token of the server, and can do what the
 * token may; pages of browsers are kept out. Rejects where the address cannot be had.
 */
export async function serveHttp(address: Address, serving: HttpServing, silentMs = SILENT_MS): Promise<void> {
  const sessions = new Sessions(serving);
  let hosts: ReadonlySet<string> = new Set();
  const http = createServer({ connectionsCheckingInterval: 2_000 }, (request, response) => {
    void respond(request, response, hosts, sessions).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else refuse(response, 500, messageOf(error));
    });
  });
  Object.assign(http, { maxConnections: MAX_CONNECTIONS, headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS });
  http.setTimeout(silentMs, (socket) => {
    if (!sessions.isWaiting(socket)) socket.destroy();
  });
  const { port } = await listen(http, address);
  const name = address.host.includes(':') ? `[${address.host}]` : address.host;
  hosts = hostsOf(name, port);
  const sweep = setInterval(() => sessions.endIdle(), SWEEP_MS);
  serving.ready(`http://${name}:${port}${PATH}`);
  await new Promise<void>((resolve) => {
    serving.signal.addEventListener('abort', () => resolve());
    if (serving.signal.aborted) resolve();
  });
  clearInterval(sweep);
  http.close();
  await sessions.close();
  http.closeAllConnections();
}

function listen(http: Server, { host, port }: Address): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    http.once('error', (error) =>
      reject(new EunomiaError('CANNOT_LISTEN', `--listen: ${messageOf(error)}`, { cause: error })),
    );
    http.listen(port, host, () => resolve(http.address() as AddressInfo));
  });
}

/** What the header Host may be where a server listens at this name. */
export function hostsOf(name: string, port: number): ReadonlySet<string> {
  return new Set(['localhost', '127.0.0.1', '[::1]', name].map((each) => hostOf(`${each}:${port}`)));
}

/** A name and a port to be compared: in lower case, without HTTP's own port, which clients leave out. */
export function hostOf(text: string): string {
  return text.toLowerCase().replace(/:80$/, '');
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  hosts: ReadonlySet<string>,
  sessions: Sessions,
): Promise<void> {
  const { method, url, headers } = request;
  const { host = '', origin, authorization = '' } = headers;
  // A page whose name was made to lead to this machine (DNS rebinding) sends that name.
  if (!hosts.has(hostOf(host)))
    return refuse(response, 403, `the header Host is to be one of ${[...hosts].join(', ')}`);
  if (origin !== undefined && !(origin.startsWith('http://') && hosts.has(hostOf(origin.slice('http://'.length)))))
    return refuse(response, 403, 'pages of other origins may not use this server');
  if (url?.split('?')[0] !== PATH) return refuse(response, 404, `there is only ${PATH}`);
  if (method !== 'POST' && method !== 'DELETE')
    return refuse(response, 405, 'send messages with POST; nothing is sent unasked', { allow: 'POST, DELETE' });
  const [, token] = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization) ?? [];
  if (token === undefined)
    return refuse(response, 401, 'send a token of the server: "Authorization: Bearer TOKEN"', {
      'www-authenticate': 'Bearer',
    });
  await sessions.handle(request, response, token);
}

/** As the protocol has errors. */
function refuse(response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}): void {
  // What is still sent of a body is not read.
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close', ...headers });
  response.end(JSON.stringify({ jsonrpc: '2.0', error: { code: -32000, message }, id: null }));
}

class Sessions {
  readonly #serving: HttpServing;
  readonly #sessions = new Map<string, Session>();
  readonly #responses = new Set<ServerResponse>();
  /** When the server let tokens in, by their digests. */
  readonly #admitted = new Map<string, number>();

  constructor(serving: HttpServing) {
    this.#serving = serving;
  }

  async handle(request: IncomingMessage, response: ServerResponse, token: string): Promise<void> {
    const digest = createHash('sha256').update(token).digest('base64');
    const { 'mcp-session-id': given } = request.headers;
    if (given !== undefined) {
      const session = this.#sessions.get(String(given));
      // Another token's session does not exist for this one.
      if (session?.digest !== digest)
        return refuse(response, 404, 'there is no such session: it has ended; begin anew');
      return this.#pass(session, request, response);
    }
    // Before it has a place among the sessions: who has no token takes none from others.
    const denial = await this.#admit(digest, token).then(
      () => null,
      (error: unknown) => error,
    );
    if (denial !== null) {
      const isDenied = denial instanceof EunomiaError && denial.code === 'UNAUTHENTICATED';
      const headers: Record<string, string> = isDenied ? { 'www-authenticate': 'Bearer' } : {};
      return refuse(response, isDenied ? 401 : 502, messageOf(denial), headers);
    }
    if (!this.#makeRoom(digest))
      return refuse(response, 429, 'there are too many sessions: end those that are not used', { 'retry-after': '10' });
    const id = randomUUID();
    const session = await this.#begin(id, digest, token);
    try {
      await this.#pass(session, request, response);
    } finally {
      if (session.transport.sessionId === undefined) await this.#end(id, session); // it was no request to begin
    }
  }

  /** Whether a connection is silent because a tool of ours runs; not where the client does not read its answer. */
  isWaiting(socket: Socket): boolean {
    return [...this.#responses].some(({ req, writableEnded }) => req.socket === socket && !writableEnded);
  }

  async #admit(digest: string, token: string): Promise<void> {
    if (Date.now() - (this.#admitted.get(digest) ?? 0) < ADMITTED_MS) return;
    await this.#serving.admit(token);
    this.#admitted.set(digest, Date.now());
  }

  async #begin(id: string, digest: string, token: string): Promise<Session> {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => id,
      maxRequestBodySize: MAX_BODY_BYTES,
    });
    // They know the schema, once somebody has asked for it.
    const tools = this.#of(digest)[0]?.[1].tools ?? this.#serving.toolsFor(token);
    const server = toolServer(tools, this.#serving.version);
    const session: Session = { digest, tools, transport, server, requests: 0, usedAt: Date.now() };
    this.#sessions.set(id, session);
    await server.connect(transport);
    void server.closed.then(() => this.#sessions.delete(id));
    return session;
  }

  async #pass(session: Session, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    const ended = new Promise<void>((resolve) => {
      response.once('close', () => {
        if (!response.writableFinished) gone.abort();
        resolve();
      });
    });
    session.requests++;
    this.#responses.add(response);
    try {
      // What a call of this request is told: nobody waits for its answer any more.
      const auth = { token: '', clientId: '', scopes: [], extra: { gone: gone.signal } };
      await session.transport.handleRequest(Object.assign(request, { auth }), response);
      await ended;
    } finally {
      this.#responses.delete(response);
      session.requests--;
      session.usedAt = Date.now();
    }
  }

  #of(digest: string): readonly (readonly [string, Session])[] {
    return [...this.#sessions].filter(([, session]) => session.digest === digest);
  }

  /** False where the token has as many sessions as it may, and all are in use. Otherwise the one that was not used for longest ends. */
  #makeRoom(digest: string): boolean {
    const own = this.#of(digest);
    if (own.length < MAX_OF_A_TOKEN) return this.#sessions.size < MAX_SESSIONS;
    const [oldest] = own.filter(([, { requests }]) => requests === 0).sort(([, a], [, b]) => a.usedAt - b.usedAt);
    if (oldest) void this.#end(...oldest);
    return oldest !== undefined;
  }

  /** Ends what nobody has used for a while, and forgets verdicts that do not hold any more. */
  endIdle(now = Date.now()): void {
    for (const [id, session] of this.#sessions)
      if (session.requests === 0 && now - session.usedAt > IDLE_MS) void this.#end(id, session);
    for (const [digest, at] of this.#admitted) if (now - at > ADMITTED_MS) this.#admitted.delete(digest);
  }

  async #end(id: string, { server }: Session): Promise<void> {
    this.#sessions.delete(id);
    await server.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sessions].map((each) => this.#end(...each)));
  }
}
