import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { ExecutionResult } from 'graphql';
import { createClient, type Client as SocketClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { EunomiaError, messageOf } from '../base/errors.js';
import { readTrusted } from '../base/file.js';
import { responseTo } from '../base/response.js';
import { dataOf, errorOf, searchOf, type Client, type Variables } from './client.js';
import { UsageError } from '../base/usage.js';

export interface RemoteOptions {
  /** "https://host:4000", with or without the path /graphql. */
  readonly server: string;
  readonly token?: string | undefined;
  /** PEM file of the authority that signed the server's certificate; the system's authorities when missing. */
  readonly ca?: string | undefined;
  /** Sees each connection before anything is sent on it. Rejects to have it closed instead. */
  readonly guard?: ((socket: Socket) => Promise<void>) | undefined;
}

/** Queries and mutations go over HTTP, subscriptions over one WebSocket that is opened for the first of them. */
export function createRemoteClient({ server, token, ca, guard }: RemoteOptions): Client {
  const url = endpoint(server);
  const pem = ca === undefined ? {} : { ca: readPem(ca) };
  const trust: Trust = guard ? { ...pem, createConnection: guarded(url, pem, guard) } : pem;
  const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  let socket: SocketClient | undefined;
  return {
    async query<T>(query: string, variables: Variables = {}) {
      return dataOf<T>(await post(url, JSON.stringify({ query, variables }), authorization, trust));
    },
    async *subscribe<T>(query: string, variables: Variables = {}) {
      socket ??= openSocket(url, authorization, trust);
      try {
        for await (const result of socket.iterate({ query, variables: { ...variables } }))
          yield dataOf<T>(result as ExecutionResult);
      } catch (error) {
        throw error instanceof EunomiaError ? error : socketError(url, error);
      }
    },
    download: (path, parameters) =>
      get(
        Object.assign(new URL(path, url), { search: searchOf(parameters).toString() }),
        { ...authorization, 'x-eunomia': '1' },
        trust,
      ),
    async close() {
      await socket?.dispose();
    },
  };
}

/** How connections are made, for `http.request` and `ws`. */
type Trust = Pick<RequestOptions, 'createConnection'> & { readonly ca?: Buffer };

/** Hands out connections that the guard has let pass: one for each request, since none is kept by an agent. */
function guarded(
  { protocol, hostname, port }: URL,
  pem: { readonly ca?: Buffer },
  guard: (socket: Socket) => Promise<void>,
): NonNullable<RequestOptions['createConnection']> {
  const secure = protocol === 'https:';
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  const to = { host, port: Number(port) || (secure ? 443 : 80) };
  return (_options, done) => {
    const socket = secure ? tlsConnect({ ...to, ...pem }) : connect(to);
    const failed = (error: Error): void => {
      socket.destroy();
      done(error, socket);
    };
    socket.once('error', failed);
    const handOver = async (): Promise<void> => {
      try {
        await guard(socket);
      } catch (error) {
        return failed(error instanceof Error ? error : new Error(String(error)));
      }
      socket.off('error', failed);
      done(null, socket);
    };
    socket.once(secure ? 'secureConnect' : 'connect', () => void handOver());
    return null;
  };
}

export function endpoint(server: string): URL {
  const url = URL.canParse(server) ? new URL(server) : null;
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    throw new UsageError(`--server: ${JSON.stringify(server)} is no URL like https://host:4000`);
  }
  if (url.pathname === '/') url.pathname = '/graphql';
  return url;
}

function readPem(file: string): Buffer {
  try {
    return readTrusted(file, 'CONFIG');
  } catch (error) {
    throw new UsageError(`--ca: ${messageOf(error)}`);
  }
}

async function post(url: URL, body: string, headers: Record<string, string>, trust: Trust): Promise<ExecutionResult> {
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const request = send(url, {
    method: 'POST',
    headers: {
      accept: 'application/graphql-response+json, application/json',
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...headers,
    },
    ...trust,
  });
  request.end(body);
  const { statusCode, text } = await reached(url, url.href, async () => {
    const response = await responseTo(request);
    return { statusCode: response.statusCode, text: await textOf(response) };
  });
  const result = parse(text);
  if (result) return result;
  throw new EunomiaError(
    'UNREACHABLE',
    `${url.href} responded with status ${statusCode} and without GraphQL: is this Eunomia's address?${hint(statusCode)}`,
  );
}

/** Rejects with UNREACHABLE, and why `name` is. */
async function reached<T>(url: URL, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new EunomiaError('UNREACHABLE', `no response from ${name}: ${reasonOf(error, url)}`);
  }
}

async function textOf(response: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function* get(url: URL, headers: Record<string, string>, trust: Trust): AsyncGenerator<Uint8Array> {
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  const request = send(url, { headers, ...trust });
  request.end();
  const response = await reached(url, url.origin, () => responseTo(request));
  if (response.statusCode !== 200) {
    const result = parse(await textOf(response));
    if (result) dataOf(result);
    throw new EunomiaError(
      'UNREACHABLE',
      `${url.origin} responded with status ${response.statusCode} and without a file: ` +
        `is this Eunomia's address?${hint(response.statusCode)}`,
    );
  }
  try {
    for await (const chunk of response) yield chunk as Buffer;
  } catch (error) {
    throw new EunomiaError('UNREACHABLE', `the download from ${url.origin} broke off: ${messageOf(error)}`);
  }
}

function parse(text: string): ExecutionResult | null {
  try {
    const result: unknown = JSON.parse(text);
    return typeof result === 'object' && result !== null && ('data' in result || 'errors' in result)
      ? (result as ExecutionResult)
      : null;
  } catch {
    return null;
  }
}

function hint(status: number | undefined): string {
  return status === 401 || status === 403 ? ' It wants a token: --token or EUNOMIA_TOKEN.' : '';
}

/** Why there is no response, and what would help. A connection tried at several addresses (localhost) fails with a list of errors. */
function reasonOf(error: unknown, { protocol }: URL): string {
  const { code = '' } = Object(error) as NodeJS.ErrnoException;
  if (code === 'EPROTO' && protocol === 'https:') return 'what listens there does not speak TLS: try http://';
  const because = error instanceof AggregateError ? error.errors.map(messageOf).join(', ') : messageOf(error);
  if (code === 'ECONNREFUSED') return `${because}: is a server running there? \`eunomia serve\` starts one`;
  if (code === 'ECONNRESET' && protocol === 'http:') return `${because}: if the server has a certificate, use https://`;
  return /_CERT|LEAF_SIGNATURE/.test(code)
    ? `${because}: --ca names the authority that signed its certificate`
    : because;
}

function openSocket(url: URL, connectionParams: Record<string, string>, trust: Trust): SocketClient {
  class TrustingWebSocket extends WebSocket {
    constructor(address: string, protocols: string | string[]) {
      super(address, protocols, trust);
    }
  }
  return createClient({
    url: url.href.replace(/^http/, 'ws'),
    webSocketImpl: TrustingWebSocket,
    connectionParams,
    // A stream that broke has lost events; the command ends with an error and does not go on as if nothing had happened.
    retryAttempts: 0,
  });
}

function socketError(url: URL, error: unknown): Error {
  // An operation that is refused as a whole.
  if (Array.isArray(error)) return errorOf(error as NonNullable<ExecutionResult['errors']>);
  if (typeof error === 'object' && error !== null && 'code' in error && 'reason' in error) {
    const because = String(error.reason) || 'no reason given';
    return new EunomiaError('UNREACHABLE', `${url.href} closed the connection: ${because} (${String(error.code)})`);
  }
  // `ws` tells a failed connection by an event.
  const told: unknown = error instanceof Error ? null : Reflect.get(Object(error), 'message');
  const because = typeof told === 'string' ? told : messageOf(error);
  return new EunomiaError('UNREACHABLE', `no connection to ${url.href}: ${because}`);
}
