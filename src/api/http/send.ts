import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TLSSocket } from 'node:tls';
import type { Caller, Identity } from '../../access/caller.js';
import { EunomiaError } from '../../base/errors.js';
import type { Download } from '../../service/export.js';
import { encodingHeader, type Coded } from './compression.js';
import { isRefused } from './connections.js';
import type { HttpOptions } from './http.js';
import { maskError } from '../graphql/mask.js';
import { refuse } from './refuse.js';

/** Sends a body that is there as a whole, with its length. */
export function sendWhole(
  { method }: IncomingMessage,
  response: ServerResponse,
  { body, coding }: Coded,
  headers: Readonly<Record<string, string>>,
): void {
  response
    .writeHead(200, { ...headers, ...encodingHeader(coding), 'Content-Length': body.length })
    .end(method === 'HEAD' ? undefined : body);
}

/** Sends what `open` begins. It is made as fast as the client takes it, and ends when the client goes away. */
export async function sendDownload(
  { headers }: IncomingMessage,
  response: ServerResponse,
  { connections, compression, log }: Pick<HttpOptions, 'connections' | 'compression' | 'log'>,
  identity: Identity,
  { caller, open }: { readonly caller: Caller; readonly open: () => Promise<Download> },
): Promise<void> {
  const place = connections.take(response, identity);
  if (isRefused(place)) return refuse(response, { error: place });
  const download = await open().catch((error: unknown) => {
    const known =
      error instanceof EunomiaError ? error : new EunomiaError('INTERNAL_SERVER_ERROR', maskError(error, log).message);
    refuse(response, { error: known });
    return null;
  });
  if (!download) return;
  const coding = download.compressible ? compression.accepted(headers) : null;
  const { length, tooSlow } = download;
  response.writeHead(200, {
    ...encodingHeader(coding),
    ...(coding === null && length !== undefined ? { 'Content-Length': length } : {}),
    'Content-Type': download.contentType,
    'Content-Disposition': `attachment; filename="${download.filename}"`,
    'Cache-Control': 'no-store',
  });
  const body = Readable.from(download.body, { objectMode: false });
  const coder = coding === null ? [] : [compression.open(coding, download)];
  // The status is sent: a download that fails breaks off, so that no client takes a part for the whole.
  const reset = (): void => breakOff(response.socket);
  for (const stream of [body, ...coder]) stream.once('error', reset);
  tooSlow?.addEventListener('abort', reset, { once: true });
  if (tooSlow?.aborted) reset();
  await pipeline([body, ...coder, response]).catch((error: unknown) => {
    if (tooSlow?.aborted) log.warn({ err: tooSlow.reason }, 'a download was given up');
    else if (!caller.signal.aborted) log.error({ err: error }, 'a download failed');
  });
}

/** To a reader of HTTP/1.0, the end of the connection is the end of a body: it is reset instead. */
function breakOff(socket: Socket | null): void {
  // TLS tells an end from a break itself, and has nothing else that could be reset.
  if (socket instanceof TLSSocket) socket.destroy();
  else socket?.resetAndDestroy();
}
