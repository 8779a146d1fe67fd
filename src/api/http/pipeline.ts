import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** While more requests of one connection wait for their turn, nothing is read from it. Those that were read wait, too. */
const MOST_WAITING = 16;

interface Pipeline {
  /** Requests whose responses have not been sent. */
  open: number;
  last: Promise<void>;
  paused: boolean;
}

const pipelines = new WeakMap<Socket, Pipeline>();

/**
 * Serves the requests of a connection one after the other, as their responses are sent (RFC 9112, 9.3.2). Node hands
 * over all that a client has sent at once: thousands were served in one piece, each with its places and its bytes, while
 * everybody else waited.
 *
 * Resolves when the response before has been sent, or the connection has closed; null when there is none.
 */
export function joinPipeline({ socket }: IncomingMessage, response: ServerResponse): Promise<void> | null {
  const pipeline = pipelines.get(socket) ?? create(socket);
  const before = pipeline.open > 0 ? pipeline.last : null;
  pipeline.open += 1;
  if (pipeline.open > MOST_WAITING + 1 && !pipeline.paused) {
    pipeline.paused = true;
    socket.pause();
  }
  pipeline.last = new Promise((resolve) =>
    response.once('close', () => {
      pipeline.open -= 1;
      if (pipeline.paused && pipeline.open <= MOST_WAITING / 2) {
        pipeline.paused = false;
        socket.resume();
      }
      resolve();
    }),
  );
  return before;
}

function create(socket: Socket): Pipeline {
  const pipeline = { open: 0, last: Promise.resolve(), paused: false };
  pipelines.set(socket, pipeline);
  // Node goes on reading for the body of a request that is served, which has arrived where others wait behind it.
  socket.on('resume', () => {
    if (pipeline.paused) socket.pause();
  });
  return pipeline;
}
