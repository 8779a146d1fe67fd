import { STATUS_CODES, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { statusOf } from '../../base/error-code.js';
import type { RequestRefusal } from './admit.js';
import { formatError } from '../graphql/mask.js';

/** Sends an error as the whole response, with its status of the table. Does nothing once a response has begun. */
export function refuse(response: ServerResponse, { error, headers = {} }: RequestRefusal): void {
  if (response.headersSent) return void response.destroy();
  const body = JSON.stringify({ errors: [formatError(error)] });
  // The connection is not used again: the request's body may not have been read.
  response
    .writeHead(statusOf(error), {
      ...headers,
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
      Connection: 'close',
    })
    .end(body);
}

/** The same on a connection for which Node has made no response: an upgrade, or a request that it could not parse. */
export function refuseRaw(socket: Duplex, { error, headers = {} }: RequestRefusal): void {
  if (!socket.writable) return void socket.destroy();
  const body = JSON.stringify({ errors: [formatError(error)] });
  const lines = Object.entries({
    ...headers,
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  const status = statusOf(error);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n${body}`, () =>
    socket.destroy(),
  );
}
