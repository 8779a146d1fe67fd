import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { root } from '../src/base/paths.js';
import { cert, key } from '../test/support/certificate.js';

const run = promisify(execFile);
let server: ReturnType<typeof createServer>;
afterEach(() => void server.close());

const asked: (string | undefined)[] = [];

async function exitCode(made: typeof server, variables: Record<string, string> = {}): Promise<number> {
  server = made.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const env = { PATH: process.env.PATH, EUNOMIA_PORT: String(port), ...variables };
  return run(process.execPath, [join(root, 'docker/health.mjs')], { env }).then(
    () => 0,
    ({ code }: { code: number }) => code,
  );
}

it('asks the server of the container, with TLS or without', async () => {
  expect(await exitCode(createServer(({ url }, response) => (asked.push(url), response.end('ok\n'))))).toBe(0);
  expect(asked).toEqual(['/healthz']);
  server.close();
  expect(await exitCode(createTlsServer({ cert, key }, (_, response) => void response.end('ok\n')))).toBe(0);
});

it.each(['0.0.0.0', '::', '127.0.0.1'])('asks where it listens: %s', async (EUNOMIA_HOST) => {
  expect(
    await exitCode(
      createServer((_, response) => void response.end()),
      { EUNOMIA_HOST },
    ),
  ).toBe(0);
});

it('takes a variable that is empty as one that is not set, as the server does', async () => {
  const asks = `data:text/javascript,import http from 'node:http';
    http.get = ({ host, port }) => (console.log(host + ' ' + port), process.exit(0));`;
  const env = { PATH: process.env.PATH, EUNOMIA_HOST: ' ', EUNOMIA_PORT: '' };
  const { stdout } = await run(process.execPath, ['--import', asks, join(root, 'docker/health.mjs')], { env });
  expect(stdout).toBe('127.0.0.1 4000\n');
});

it('fails where the server is not healthy, or does not listen', async () => {
  expect(await exitCode(createServer((_, response) => void response.writeHead(503).end('unhealthy\n')))).toBe(1);
  server.close();
  expect(await exitCode(createServer(), { EUNOMIA_HOST: '127.0.0.2' })).toBe(1);
});
