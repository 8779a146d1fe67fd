import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createServer } from '../../src/api/server.js';
import { createFixture } from './support.js';

// Made for these tests: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost`
const cert = `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUfX1lWe42CttGRdFS5gYntKqy1e8wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzIwNTkwOFoYDzIxMjYxMDMw
MjA1OTA4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASirMMDZp9geHUlurKf3fMdmnNYEzapyg1mRfhPzVfVkI3CJUwAhmVb
ONgOpEZIPDlMZ2zXMX8tM6xLMCiOqEJ6o28wbTAdBgNVHQ4EFgQUlov7VJe0DJCi
Ijox5tPQIJJz5UowHwYDVR0jBBgwFoAUlov7VJe0DJCiIjox5tPQIJJz5UowDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAKxrsAXDPrJAdJpbJzHXTrRVtfBtGCV+ZhYX3glyVH9mAiBl
vGkeO9hbGxZZU4FLM9zI0SjrO6UYg1JEKTa9X6wUtQ==
-----END CERTIFICATE-----
`;
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQ8dMUMb72X+uIzlK
fbJU4l69af3j5y8ng6Ndb9n+OzOhRANCAASirMMDZp9geHUlurKf3fMdmnNYEzap
yg1mRfhPzVfVkI3CJUwAhmVbONgOpEZIPDlMZ2zXMX8tM6xLMCiOqEJ6
-----END PRIVATE KEY-----
`;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'eunomia-tls-'));
  await writeFile(join(folder, 'cert.pem'), cert);
  await writeFile(join(folder, 'key.pem'), key);
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
