import type { WebSocket } from 'ws';
import { excessOf } from './json.js';

/** The subprotocol of subscriptions-transport-ws, which has the name of the library that came after it. */
export const LEGACY = 'graphql-ws';

const NOT_ACCEPTABLE = 4406;
/** A client that has asked for nothing by then is not told more. */
const ENDS_MS = 2000;
const REFUSAL =
  'this server speaks graphql-transport-ws, not the protocol of subscriptions-transport-ws: ' +
  'use the client of the npm package "graphql-ws"';

/**
 * Refuses a client of subscriptions-transport-ws in its own protocol. It shows the payload of `connection_error` to its
 * `connectionCallback`, and that of `error` as the error of the subscription; of a refused handshake or a close it shows nothing.
 */
export function refuseLegacy(socket: WebSocket): void {
  const end = (): void => socket.close(NOT_ACCEPTABLE, 'use the protocol graphql-transport-ws');
  const timer = setTimeout(end, ENDS_MS);
  const payload = { message: REFUSAL };
  socket.on('error', end);
  socket.once('close', () => clearTimeout(timer));
  socket.on('message', (data) => {
    const { type, id } = messageOf(String(data));
    if (type === 'connection_init') return socket.send(JSON.stringify({ type: 'connection_error', payload }));
    if (type === 'start' && typeof id === 'string') socket.send(JSON.stringify({ type: 'error', id, payload }));
    end();
  });
}

function messageOf(text: string): { type?: unknown; id?: unknown } {
  try {
    const message: unknown = excessOf(text) ? null : JSON.parse(text);
    return typeof message === 'object' && message !== null ? message : {};
  } catch {
    return {};
  }
}
