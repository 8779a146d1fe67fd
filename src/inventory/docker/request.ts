import { STATUS_CODES, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { messageOf } from '../../base/errors.js';

/**
 * Requests to an engine whose responses are bounded. dockerode's own calls collect a body of any length, of an error
 * too: whoever listens on the socket could fill the server's memory.
 */

/** What an engine responded with a status that is no success, or what kept it from responding. */
export class RequestError extends Error {
  readonly statusCode: number | undefined;

  constructor(message: string, statusCode?: number) {
    super(message);
    this.name = 'RequestError';
    this.statusCode = statusCode;
  }
}

/**
 * The most bytes that a response may have: far above what engines send. A list of 10,000 containers with 4 KiB of labels
 * each has some 45 MB.
 */
export const MAX_BYTES = { ping: 64 << 10, inspect: 4 << 20, list: 64 << 20 } as const;

const MAX_CAUSE = 1000;

/** What docker-modem takes besides what @types/dockerode 4.0.2 knows of it. */
interface Dialling {
  dial(options: object, callback: (error: unknown, response: IncomingMessage | null | undefined) => void): void;
}

// docker-modem collects the body of a status that is not among these.
const ANY_STATUS = Object.fromEntries(Object.keys(STATUS_CODES).map((code) => [code, true]));

/**
 * The response to a GET, before its body. `options` become the query. Rejects with what docker-modem rejects with when there is no
 * response. Statuses are not looked at.
 */
export function open(
  docker: Docker,
  path: string,
  abortSignal: AbortSignal,
  options: object = {},
): Promise<IncomingMessage> {
  return dial(docker, { path, method: 'GET', abortSignal, options });
}

function dial(docker: Docker, request: object): Promise<IncomingMessage> {
  const modem = docker.modem as Dialling;
  return new Promise((resolve, reject) => {
    modem.dial({ isStream: true, statusCodes: ANY_STATUS, ...request }, (error, response) =>
      response ? resolve(response) : reject(error),
    );
  });
}

/** The body of a response; rejects when it has more than `maxBytes`, and then closes the connection. */
export async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  // To leave the loop destroys the response.
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new RequestError(`the response is longer than ${sizeText(maxBytes)}`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

/** Headers and body of a GET. Rejects with RequestError for a status that is no success, and for a body of more than `maxBytes`. */
export async function get(
  docker: Docker,
  path: string,
  abortSignal: AbortSignal,
  maxBytes: number,
  options?: object,
): Promise<{ readonly headers: IncomingHttpHeaders; readonly body: Buffer }> {
  const response = await open(docker, path, abortSignal, options);
  await requireOk(response);
  return { headers: response.headers, body: await bodyOf(response, maxBytes) };
}

/** The same for JSON; null when it is none. */
export async function getJson(...request: Parameters<typeof get>): Promise<unknown> {
  const { body } = await get(...request);
  try {
    return JSON.parse(body.toString()) as unknown;
  } catch {
    return null;
  }
}

/** A request with a method. */
export interface EngineRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';
  readonly path: string;
  readonly query?: object;
  /** JSON, or an archive. */
  readonly body?: object;
  readonly archive?: Buffer | Readable;
}

/** Headers and body of the response. Rejects with RequestError for a status that is no success. */
export async function change(
  docker: Docker,
  request: EngineRequest,
  abortSignal: AbortSignal,
  maxBytes: number = MAX_BYTES.inspect,
): Promise<Awaited<ReturnType<typeof get>>> {
  const response = await begin(docker, request, abortSignal);
  await requireOk(response);
  return { headers: response.headers, body: await bodyOf(response, maxBytes) };
}

/** The response before its body. Statuses are not looked at. */
export function begin(
  docker: Docker,
  { method, path, query = {}, body, archive }: EngineRequest,
  abortSignal: AbortSignal,
): Promise<IncomingMessage> {
  return dial(docker, {
    path: `${path}?`,
    method,
    abortSignal,
    ...(archive === undefined ? {} : { file: archive }),
    options: method === 'GET' ? query : { _query: query, _body: body ?? {} },
  });
}

/** The first `most` bytes of a body; the rest is read to its end, and forgotten. */
export async function headOf(response: IncomingMessage, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let room = most;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (room > 0) chunks.push(chunk.subarray(0, room));
    room -= chunk.length;
  }
  return Buffer.concat(chunks);
}

/** Rejects with the status, and what the engine says of it, when it is 300 or above. */
export async function requireOk(response: IncomingMessage): Promise<void> {
  const { statusCode = 0 } = response;
  if (statusCode >= 200 && statusCode < 300) return;
  const text = await bodyOf(response, MAX_BYTES.ping).then(String, messageOf);
  throw new RequestError(`(HTTP code ${statusCode}) ${causeOf(text)}`, statusCode);
}

function causeOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === 'string') return message.slice(0, MAX_CAUSE);
  } catch {
    // Not the engine's own words.
  }
  return text.slice(0, MAX_CAUSE);
}

function sizeText(bytes: number): string {
  return bytes >= 1 << 20 ? `${bytes / (1 << 20)} MiB` : `${bytes / (1 << 10)} KiB`;
}
