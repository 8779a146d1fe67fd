import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { EunomiaError } from '../../base/errors.js';
import { refuse, refuseRaw } from './refuse.js';

const KNOWN: Readonly<Record<string, () => EunomiaError>> = {
  HPE_HEADER_OVERFLOW: () =>
    new EunomiaError(
      'LIMIT_EXCEEDED',
      "the request's head is larger than this server reads; send the document in the body of a POST",
      { details: { limit: 'headers' } },
    ),
  HPE_CHUNK_EXTENSIONS_OVERFLOW: () =>
    new EunomiaError('LIMIT_EXCEEDED', "the chunk extensions of the request's body are larger than this server reads", {
      details: { limit: 'chunkExtensions' },
    }),
  ERR_HTTP_REQUEST_TIMEOUT: () => new EunomiaError('REQUEST_TIMEOUT', 'the request did not arrive in time'),
};

/** Responds to what Node's parser refuses, and to CONNECT and Expect, with the same kind of error as everything else. */
export function refuseMalformed(server: Server): void {
  const responses = new WeakMap<Duplex, ServerResponse>();
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) =>
    responses.set(request.socket, response),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const response = responses.get(socket);
    // A second response in the middle of the first one would be read as part of it.
    if (error.code === 'ECONNRESET' || (response?.headersSent && !response.writableFinished))
      return void socket.destroy();
    const refusal =
      KNOWN[error.code ?? '']?.() ??
      new EunomiaError('BAD_REQUEST', 'the request is not HTTP/1.1 as RFC 9112 defines it');
    refuseRaw(socket, { error: refusal });
  });
  // Nothing can be sent before the handshake is done, and what waits to be sent would keep the connection.
  server.on('tlsClientError', (_error: Error, socket: Duplex) => socket.destroy());
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy());
    refuseRaw(socket, {
      error: new EunomiaError('METHOD_NOT_ALLOWED', 'this server is no proxy'),
      headers: { Allow: 'GET, HEAD, POST' },
    });
  });
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    refuse(response, {
      error: new EunomiaError('EXPECTATION_FAILED', 'the only expectation that this server meets is "100-continue"'),
    });
  });
}
