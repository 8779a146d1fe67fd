import type { ExecutionResult } from 'graphql';
import type { FetchAPI } from 'graphql-yoga';
import type { ResponseStream } from '../graphql/stream.js';
import { EncodedResult } from '../text/text.js';

/** Proxies close connections on which nothing moves, many after 30 s or a minute. */
const PING_MS = 12_000;
const PING = ':\n\n';

export const EVENT_STREAM = 'text/event-stream';

export const EVENT_STREAM_HEADERS = {
  'Content-Type': EVENT_STREAM,
  Connection: 'keep-alive',
  // A proxy that compressed or buffered it would hold events back.
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
} as const;

/**
 * A subscription as server-sent events, with the events of graphql-sse's distinct connections: `next` and `complete`. The id of an event
 * is the cursor behind the result, which a browser's EventSource sends back as Last-Event-ID when it connects again. So the place where
 * the stream begins comes first, as an id without an event: a client whose connection breaks before the first one misses nothing either.
 */
export function eventStream(stream: ResponseStream, { Response, ReadableStream }: FetchAPI): Response {
  const encoder = new TextEncoder();
  let ping: NodeJS.Timeout | undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      // Some browsers show the response's head to a page with the first bytes of the body only.
      controller.enqueue(encoder.encode(`${PING}${stream.cursor === null ? '' : `${idOf(stream)}\n`}`));
      ping = setInterval(() => {
        // Null where it has failed; 0 where the client is behind.
        if (controller.desiredSize === null) clearInterval(ping);
        else if (controller.desiredSize > 0) controller.enqueue(encoder.encode(PING));
      }, PING_MS);
    },
    async pull(controller) {
      const { done, value } = await stream.next();
      if (!done) return controller.enqueue(frame(value, stream));
      clearInterval(ping);
      controller.enqueue(encoder.encode('event: complete\ndata:\n\n'));
      controller.close();
    },
    async cancel() {
      clearInterval(ping);
      await stream.return();
    },
  });
  return new Response(body, { headers: EVENT_STREAM_HEADERS });
}

function frame(result: ExecutionResult, stream: ResponseStream): Uint8Array {
  const head = Buffer.from(`event: next\n${idOf(stream)}data: `);
  const tail = Buffer.from('\n\n');
  // Copied: the next result is written over this one.
  return Buffer.concat(
    result instanceof EncodedResult ? [head, ...result.parts, tail] : [head, Buffer.from(JSON.stringify(result)), tail],
  );
}

function idOf({ cursor }: ResponseStream): string {
  return cursor === null ? '' : `id: ${cursor}\n`;
}
