import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { cert, key } from '../../test/support/certificate.js';
import { createRemoteClient } from './remote.js';

describe('a client whose connections are guarded', () => {
  const received: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    received.push(request.headers.authorization);
    response.setHeader('content-type', 'application/json');
    response.end('{"data":{"ok":true}}');
  });
  let url: string;
  beforeAll(async () => {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it('sends on each that passes, and nothing at all on one that does not', async () => {
    let seen = 0;
    const client = createRemoteClient({
      server: url,
      token: 'secret',
      guard: async ({ remotePort }) => {
        expect(remotePort).toBe(Number(new URL(url).port));
        seen += 1;
        if (seen > 2) throw new Error('somebody else listens there');
      },
    });
    expect(await client.query('{ ok }')).toEqual({ ok: true });
    expect(await client.query('{ ok }')).toEqual({ ok: true });
    await expect(client.query('{ ok }')).rejects.toThrow('somebody else listens there');
    await expect(async () => {
      for await (const _ of client.subscribe('subscription { ok }')) break;
    }).rejects.toThrow('somebody else listens there');
    await expect(async () => {
      for await (const _ of client.download('/export/x.ndjson', {})) break;
    }).rejects.toThrow('somebody else listens there');
    expect(received).toEqual(['Bearer secret', 'Bearer secret']);
    await client.close();
  });
});

describe('a server that does not respond', () => {
  const plain = createServer((_, response) => response.end());
  const secure = createTlsServer({ cert, key }, (_, response) => response.end());
  const portOf = (server: typeof plain): number => (server.address() as AddressInfo).port;
  beforeAll(async () => {
    await Promise.all([plain, secure].map((server) => once(server.listen(0, '127.0.0.1'), 'listening')));
  });
  afterAll(() => {
    for (const server of [plain, secure]) server.close();
  });

  it.each([
    ['is not there', () => 'http://127.0.0.1:9', /ECONNREFUSED.*`eunomia serve` starts one$/],
    ['speaks no TLS', () => `https://127.0.0.1:${portOf(plain)}`, /does not speak TLS: try http:\/\/$/],
    ['speaks TLS', () => `http://127.0.0.1:${portOf(secure)}`, /if the server has a certificate, use https:\/\/$/],
    ['has a certificate of its own', () => `https://127.0.0.1:${portOf(secure)}`, /--ca names the authority/],
  ])('because it %s fails with what would help', async (_what, server, message) => {
    const client = createRemoteClient({ server: server() });
    await expect(client.query('{ ok }')).rejects.toThrow(message);
    await client.close();
  });
});

it('tells why a subscription is refused as a whole, as it tells of a query', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'graphql-transport-ws' });
  server.on('connection', (socket) =>
    socket.on('message', (data: Buffer) => {
      const { type, id } = JSON.parse(data.toString()) as { type: string; id?: string };
      const payload = [{ message: 'the operation costs 12; at most 10', extensions: { code: 'LIMIT_EXCEEDED' } }];
      if (type === 'connection_init') socket.send('{"type":"connection_ack"}');
      if (type === 'subscribe') socket.send(JSON.stringify({ type: 'error', id, payload }));
    }),
  );
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = createRemoteClient({ server: `http://127.0.0.1:${port}` });
  try {
    await expect(client.subscribe('subscription { x }').next()).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
      message: 'the operation costs 12; at most 10',
    });
  } finally {
    await client.close();
    server.close();
  }
});
