import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EunomiaError } from '../errors.js';
import { openDownload, type Download } from './download.js';
import type { HttpOptions } from './http.js';
import { maskError } from './mask.js';
import { refuse } from './refuse.js';

const STATUS: Readonly<Record<string, number>> = {
  UNKNOWN_SESSION: 404,
  STORE_UNAVAILABLE: 503,
  METHOD_NOT_ALLOWED: 405,
};

/** Answers a GET of a download. It is made as fast as the client takes it, and ends when the client goes away. */
export async function sendDownload(
  request: IncomingMessage,
  response: ServerResponse,
  options: Pick<HttpOptions, 'engine' | 'services' | 'connections' | 'log'>,
  signal: AbortSignal,
): Promise<void> {
  const { connections, log } = options;
  const full = connections.take();
  if (full) return refuse(response, 503, full);
  response.once('close', () => connections.release());
  const download = await begin(request, options, signal).catch((error: unknown) => {
    const known =
      error instanceof EunomiaError ? error : new EunomiaError('INTERNAL_SERVER_ERROR', maskError(error, log).message);
    refuse(response, STATUS[known.code] ?? (known === error ? 400 : 500), known);
    return null;
  });
  if (!download) return;
  response.writeHead(200, {
    'Content-Type': download.contentType,
    'Content-Disposition': `attachment; filename="${download.filename}"`,
    'Cache-Control': 'no-store',
  });
  // The status is sent: a download that fails breaks off, so that no client takes a part for the whole.
  await pipeline(Readable.from(download.body, { objectMode: false }), response).catch((error: unknown) => {
    if (!signal.aborted) log.error({ err: error }, 'a download failed');
  });
}

async function begin(
  { method, url = '/' }: IncomingMessage,
  { engine, services }: Pick<HttpOptions, 'engine' | 'services'>,
  signal: AbortSignal,
): Promise<Download> {
  if (method !== 'GET') throw new EunomiaError('METHOD_NOT_ALLOWED', `a download must be a GET, not a ${method}`);
  const { pathname, searchParams } = new URL(url, 'http://localhost');
  return openDownload(services, engine.schema, pathname, searchParams, signal);
}
