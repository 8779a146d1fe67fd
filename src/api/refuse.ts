import type { ServerResponse } from 'node:http';
import type { EunomiaError } from '../errors.js';
import { formatError } from './mask.js';

/** Answers an error and no more. */
export function refuse(response: ServerResponse, status: number, error: EunomiaError): void {
  const body = JSON.stringify({ errors: [formatError(error)] });
  // The connection is not used again: the request's body may not have been read.
  response
    .writeHead(status, {
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
      Connection: 'close',
    })
    .end(body);
}
