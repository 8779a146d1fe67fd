import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';

/** Clients that do as they like with the bytes of a connection. */

/** A plain TCP connection to the server at a URL. */
export async function dial(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** A WebSocket of which nothing is read unless somebody resumes it. Resolves when the handshake is done. */
export async function dialWebSocket(url: string, headers: Readonly<Record<string, string>> = {}): Promise<Socket> {
  const socket = await dial(url);
  const more = Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
  socket.write(
    `GET /graphql HTTP/1.1\r\nHost: ${new URL(url).host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ' +
      `graphql-transport-ws\r\n${more}\r\n`,
  );
  await once(socket, 'readable');
  const head = String(socket.read(15));
  if (!head.startsWith('HTTP/1.1 101')) throw new Error(`no WebSocket: ${head}`);
  return socket;
}

/** Shows who the client of a WebSocket is, and waits until the server has seen it; nothing more is read then. */
export async function identify(socket: Socket, payload: object = {}): Promise<void> {
  socket.write(frame({ type: 'connection_init', payload }));
  for (let text = ''; !text.includes('connection_ack');) {
    await once(socket, 'readable');
    text += String(socket.read() ?? '');
  }
  socket.pause();
}

/** A masked frame, as a client must send. `opcode` 1 is text, 9 a ping. */
export function frame(message: unknown, opcode = 1): Buffer {
  const payload = Buffer.from(typeof message === 'string' ? message : JSON.stringify(message));
  const length =
    payload.length < 126
      ? [0x80 | payload.length]
      : payload.length < 65_536
        ? [0xfe, payload.length >> 8, payload.length & 255]
        : [0xff, 0, 0, 0, 0, ...new Uint8Array(new Uint32Array([payload.length]).buffer).reverse()];
  return Buffer.concat([Buffer.from([0x80 | opcode, ...length]), Buffer.alloc(4), payload]);
}

/**
 * Sends as much of `data`, again and again, as the server takes, until it takes nothing for `quietMs` or closes.
 * Returns the bytes that left.
 */
export async function flood(
  socket: Socket,
  data: Buffer,
  { quietMs = 100, mostBytes = Number.POSITIVE_INFINITY } = {},
): Promise<number> {
  const before = socket.bytesWritten;
  while (!socket.destroyed && socket.bytesWritten - before < mostBytes) {
    const taken = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), quietMs);
      socket.write(data, (error) => {
        clearTimeout(timer);
        resolve(!error);
      });
    });
    if (!taken) break;
  }
  return socket.bytesWritten - before - socket.writableLength;
}
