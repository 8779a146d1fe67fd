import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Responses of a connection that are not closed. */
const open = new WeakMap<Socket, Set<ServerResponse>>();

/**
 * Closes the response when its connection closes. Node does so only for the response that is being sent: those of pipelined requests, which
 * wait behind it, were never closed, and what belonged to them (places, reserved bytes, subscriptions) stayed for ever.
 */
export function closeWithConnection({ socket }: IncomingMessage, response: ServerResponse): void {
  const responses = open.get(socket) ?? watch(socket);
  responses.add(response);
  response.once('close', () => responses.delete(response));
}

function watch(socket: Socket): Set<ServerResponse> {
  const responses = new Set<ServerResponse>();
  open.set(socket, responses);
  socket.once('close', () => {
    for (const response of responses) {
      // The one that is being sent has the socket, and Node closes it.
      if (response.socket !== null || response.destroyed) continue;
      response.destroyed = true;
      response.emit('close');
    }
  });
  return responses;
}
