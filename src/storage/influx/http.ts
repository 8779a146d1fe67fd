import http from 'node:http';
import https from 'node:https';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { responseTo } from '../../base/response.js';
import { timeoutSignal } from '../../base/timeout.js';
import { GZIP_BYTES, QUERY_TIMEOUT_MS, type InfluxOptions } from './client.js';

/** Of a response. Far above what the largest page takes; a database that sends more is none. */
export const MAX_BODY_BYTES = 64 << 20;
/** Of an error's text, and of responses in which nothing is read. */
const MAX_ERROR_BYTES = 64 << 10;

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly body?: Buffer | string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the request. It also ends by itself, body included, after `timeoutMs`. */
  readonly signal?: AbortSignal;
  /** How much of an error's text is read, where it lists what was refused. Default MAX_ERROR_BYTES. */
  readonly errorBytes?: number;
}

export interface HttpReply {
  readonly headers: http.IncomingHttpHeaders;
  readonly body: AsyncIterable<Buffer>;
}

/** What a database refused: `statusCode`, and what it said. */
export class HttpError extends Error {
  readonly statusCode: number;
  readonly body: string;
  readonly headers: http.IncomingHttpHeaders;

  constructor(statusCode: number, body: string, headers: http.IncomingHttpHeaders) {
    super(body || `HTTP ${statusCode}`);
    this.statusCode = statusCode;
    this.body = body || String(headers['x-influxdb-error'] ?? '');
    this.headers = headers;
  }
}

/**
 * Requests to a database that may be anybody's: whatever it sends, a response ends in bounded time and bounded memory. (The clients of both
 * versions read bodies without a bound, and wait for ever for one that was cut off.)
 */
export class InfluxHttp {
  readonly #base: URL;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #ca: string | null;
  readonly #timeoutMs: number;

  constructor(
    { url, ca, timeoutMs = QUERY_TIMEOUT_MS }: Pick<InfluxOptions, 'url' | 'ca'> & { readonly timeoutMs?: number },
    headers: Readonly<Record<string, string>> = {},
  ) {
    this.#base = new URL(url);
    this.#headers = headers;
    this.#ca = ca;
    this.#timeoutMs = timeoutMs;
  }

  /** Calls `read` with a response of 2xx. Rejects with HttpError for others, and with the system's error. */
  async ask<Result>(
    path: string,
    { method, body = '', headers, signal, errorBytes = MAX_ERROR_BYTES }: HttpRequest,
    read: (reply: HttpReply) => Promise<Result>,
  ): Promise<Result> {
    const timeout = timeoutSignal(this.#timeoutMs);
    const ends = signal ? AbortSignal.any([signal, timeout]) : timeout;
    let response: http.IncomingMessage | null = null;
    try {
      response = await this.#send(path, method, Buffer.from(body), headers ?? {}, ends);
      const { statusCode = 0 } = response;
      if (statusCode < 200 || statusCode > 299)
        throw new HttpError(statusCode, await beginningOf(response, errorBytes), response.headers);
      return await read({ headers: response.headers, body: bounded(response) });
    } catch (error) {
      throw timeout.aborted
        ? new Error(`no whole response within ${this.#timeoutMs / 1000} s`, { cause: error })
        : error;
    } finally {
      response?.destroy();
    }
  }

  /** Rejects as `ask`, and when the response is larger than MAX_BODY_BYTES. */
  text(path: string, request: HttpRequest): Promise<string> {
    return this.ask(path, request, async ({ body }) => {
      const parts: Buffer[] = [];
      for await (const part of body) parts.push(part);
      return Buffer.concat(parts).toString('utf8');
    });
  }

  async #send(
    path: string,
    method: string,
    body: Buffer,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage> {
    const packed =
      body.length >= GZIP_BYTES && method === 'POST' && headers['content-type']?.startsWith('text/plain')
        ? await promisify(gzip)(body)
        : null;
    const sent = packed ?? body;
    const { protocol, hostname, port, pathname } = this.#base;
    const secure = protocol === 'https:';
    const options: https.RequestOptions = {
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port) || (secure ? 443 : 80),
      path: `${pathname.replace(/\/$/, '')}${path}`,
      method,
      signal,
      headers: {
        'content-length': sent.length,
        ...this.#headers,
        ...headers,
        ...(packed ? { 'content-encoding': 'gzip' } : {}),
      },
      ...(this.#ca === null ? {} : { ca: this.#ca }),
    };
    const request = (secure ? https : http).request(options);
    request.end(sent);
    return responseTo(request);
  }
}

async function* bounded(response: http.IncomingMessage): AsyncGenerator<Buffer, void> {
  let left = MAX_BODY_BYTES;
  for await (const part of response as AsyncIterable<Buffer>) {
    left -= part.length;
    if (left < 0) throw new Error(`the response has more than ${MAX_BODY_BYTES >> 20} MiB`);
    yield part;
  }
}

async function beginningOf(response: AsyncIterable<Buffer>, bytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response) {
    parts.push(part);
    length += part.length;
    if (length > bytes) break;
  }
  return Buffer.concat(parts).subarray(0, bytes).toString('utf8');
}
