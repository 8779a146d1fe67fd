import { once } from 'node:events';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { responseTo } from './response.js';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** Where each connection gets this text when it has sent something. */
async function portOf(text: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write(text));
    closing.push(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function post(text: string): Promise<number | undefined> {
  const sent = request({ port: await portOf(text), method: 'POST', signal: AbortSignal.timeout(300) });
  const response = responseTo(sent);
  sent.end('x');
  return (await response).destroy().statusCode;
}

it.each([
  [
    'a response that switches protocols',
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n',
  ],
  ['a hint and no response', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
])('rejects with %s', async (_what, text) => {
  await expect(post(text)).rejects.toThrow(/without a response|aborted|Parse Error/);
});

it('resolves with the head, however long the body takes', async () => {
  expect(await post('HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\n')).toBe(201);
});
