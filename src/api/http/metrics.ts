import type { IncomingMessage, ServerResponse } from 'node:http';
import { messageOf } from '../../base/errors.js';
import type { Caller } from '../../access/caller.js';
import type { Compression } from './compression.js';
import { sendWhole } from './send.js';
import type { Service } from '../../service/service.js';

/** What Prometheus scrapes. */
export async function serveMetrics(
  request: IncomingMessage,
  response: ServerResponse,
  compression: Compression,
  service: Service,
  caller: Caller,
): Promise<void> {
  // What fails before anything is read is told as it is everywhere.
  const made = service.metrics(caller, request.headers.accept);
  try {
    const { contentType, body } = await made;
    const coding = compression.accepted(request.headers);
    sendWhole(request, response, await compression.whole(coding, Buffer.from(body)), {
      'Content-Type': contentType,
      'Cache-Control': 'no-store',
    });
  } catch (error) {
    service.log.error({ error: messageOf(error) }, 'serving /metrics');
    response
      .writeHead(500, { 'Content-Type': 'text/plain; charset=utf-8' })
      .end("the metrics could not be written; the server's log says why\n");
  }
}
