import type { IncomingMessage, ServerResponse } from 'node:http';
import { messageOf } from '../../base/errors.js';
import type { Caller } from '../../access/caller.js';
import type { Service } from '../../service/service.js';

/** What Prometheus scrapes. */
export function serveMetrics(
  { method, headers }: IncomingMessage,
  response: ServerResponse,
  service: Service,
  caller: Caller,
): void {
  service.metrics(caller, headers.accept).then(
    ({ contentType, body }) => {
      response
        .writeHead(200, {
          'Content-Type': contentType,
          'Content-Length': Buffer.byteLength(body),
          'Cache-Control': 'no-store',
        })
        .end(method === 'HEAD' ? undefined : body);
    },
    (error: unknown) => {
      service.log.error({ error: messageOf(error) }, 'serving /metrics');
      response
        .writeHead(500, { 'Content-Type': 'text/plain; charset=utf-8' })
        .end("the metrics could not be written; the server's log says why\n");
    },
  );
}
