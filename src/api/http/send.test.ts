import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { defaultConfig } from '../../base/config.js';
import { EunomiaError } from '../../base/errors.js';
import { createLog } from '../../base/log.js';
import type { Download } from '../../service/encoded.js';
import { Compression } from './compression.js';
import { Connections } from './connections.js';
import { sendDownload } from './send.js';

let close: () => Promise<void> = async () => undefined;
afterEach(() => close());

/** What a client of HTTP/1.0 gets, and how its connection ended. */
async function get(more: Partial<Download>, headers = ''): Promise<{ text: string; end: string }> {
  const signal = new AbortController().signal;
  const options = {
    connections: new Connections(defaultConfig.limits),
    compression: new Compression(true),
    log: createLog('silent'),
  };
  const download = {
    ...{ contentType: 'text/plain', filename: 'a.txt', compressible: false, live: false, body: all() },
    ...more,
  };
  const server = createServer((request, response) => {
    const caller = { who: 'a test', role: 'operator', signal } as const;
    void sendDownload(request, response, options, caller, { caller, open: async () => download });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  close = async () => void (await once(server.close(), 'close'));
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.write(`GET / HTTP/1.0\r\n${headers}\r\n`);
  const got: Buffer[] = [];
  socket.on('data', (data) => got.push(data));
  const end = await new Promise<string>((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? '')).on('end', () => resolve('FIN'));
  });
  socket.destroy();
  return { text: Buffer.concat(got).toString('latin1'), end };
}

async function* all(): Download['body'] {
  yield 'a part';
  yield ' and the rest';
}

async function* failing(): Download['body'] {
  yield 'a part';
  await new Promise((resolve) => setTimeout(resolve, 50));
  throw new Error('the disk is broken');
}

async function* endless(): Download['body'] {
  yield 'a part';
  await new Promise(() => undefined);
}

it('tells the length of a download where it is known', async () => {
  const { text, end } = await get({ length: 19 });
  expect(text).toMatch(/^Content-Length: 19\r$/im);
  expect(text).toMatch(/a part and the rest$/);
  expect(end).toBe('FIN');
});

it('tells no length of what it compresses', async () => {
  const { text } = await get({ length: 19, compressible: true }, 'Accept-Encoding: gzip\r\n');
  expect(text).toMatch(/^Content-Encoding: gzip\r$/im);
  expect(text).not.toMatch(/content-length/i);
});

it.each([false, true])('lets no reader take a part for the whole (compressible: %s)', async (compressible) => {
  const { end } = await get({ body: failing(), compressible }, 'Accept-Encoding: gzip\r\n');
  expect(end).toBe('ECONNRESET');
});

it('breaks off when the reader is too slow', async () => {
  const giving = new AbortController();
  setTimeout(() => giving.abort(new EunomiaError('CANCELLED', 'it is too slow')), 100);
  const { end } = await get({ body: endless(), tooSlow: giving.signal });
  expect(end).toBe('ECONNRESET');
});
