import type { IncomingMessage, ServerResponse } from 'node:http';
import { messageOf } from '../errors.js';
import type { Metrics } from '../consumers/metrics/index.js';
import type { Log } from '../log.js';

export const METRICS_PATH = '/metrics';

/** What Prometheus scrapes. Whoever comes here may read: the handler has asked for the token. */
export function serveMetrics(
  { method, headers }: IncomingMessage,
  response: ServerResponse,
  { metrics, log }: { readonly metrics: Metrics; readonly log: Log },
): void {
  if (method !== 'GET' && method !== 'HEAD') {
    response
      .writeHead(405, { Allow: 'GET, HEAD', 'Content-Type': 'text/plain; charset=utf-8' })
      .end('/metrics takes GET\n');
    return;
  }
  metrics.expose(headers.accept).then(
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
      log.error({ error: messageOf(error) }, 'answering /metrics');
      response
        .writeHead(500, { 'Content-Type': 'text/plain; charset=utf-8' })
        .end("the metrics could not be written; the server's log says why\n");
    },
  );
}
