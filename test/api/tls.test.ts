import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { cert, key } from '../support/certificate.js';
import { createServer, createFixture } from './support.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-tls-'));
  await writeFile(join(folder, 'cert.pem'), cert);
  await writeFile(join(folder, 'key.pem'), key, { mode: 0o600 });
});

afterEach(() => rm(folder, { recursive: true }));

const files = () => ({ certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') });

it('serves HTTPS and WSS on a foreign address with TLS and a token, whatever the Host', async () => {
  const { services } = await createFixture({
    host: '0.0.0.0',
    tls: files(),
    tokens: [{ secret: 'secret', role: 'viewer' }],
  });
  const server = await createServer(services);
  try {
    expect(server.url).toMatch(/^https:\/\/0\.0\.0\.0:\d+\/graphql$/);
    const { port } = new URL(server.url);
    const headers = { host: 'eunomia.example', authorization: 'Bearer secret', 'content-type': 'application/json' };
    const text = await new Promise<string>((resolve, reject) => {
      const sent = request(
        { host: '127.0.0.1', port, path: '/graphql', method: 'POST', ca: cert, headers, servername: 'localhost' },
        (response) => {
          response.on('data', (chunk: Buffer) => resolve(String(chunk)));
        },
      );
      sent.on('error', reject);
      sent.end(JSON.stringify({ query: '{ server { version } }' }));
    });
    expect(JSON.parse(text)).toEqual({ data: { server: { version: '0.1.0' } } });
    const socket = new WebSocket(`wss://127.0.0.1:${port}/graphql`, 'graphql-transport-ws', { ca: cert });
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: 'Bearer secret' } }));
    expect(String(await new Promise((resolve) => socket.once('message', resolve)))).toBe('{"type":"connection_ack"}');
    socket.terminate();
  } finally {
    await server.close();
  }
});

it('refuses files that are no certificate and key', async () => {
  await writeFile(files().keyFile, 'nonsense');
  const { services } = await createFixture({ tls: files() });
  await expect(createServer(services)).rejects.toMatchObject({
    code: 'BAD_TLS',
    message: expect.stringContaining('are not a certificate and its key in PEM'),
  });
});

it('refuses a foreign address without them', async () => {
  const { services } = await createFixture({ host: '0.0.0.0' });
  await expect(createServer(services)).rejects.toMatchObject({
    code: 'UNSAFE_LISTENER',
    message: expect.stringContaining('--tls-cert'),
  });
});

it('takes no private key that everybody may read, and one that a group of root’s may', async () => {
  const { services } = await createFixture({ tls: files(), tokens: [{ secret: 'secret', role: 'viewer' }] });
  await chmod(files().keyFile, 0o644);
  await expect(createServer(services)).rejects.toMatchObject({
    code: 'BAD_TLS',
    message: `--tls-key ${files().keyFile}: is open to everybody; run: chmod o= ${files().keyFile}`,
  });
  await chmod(files().keyFile, 0o440);
  await (await createServer(services)).close();
});
