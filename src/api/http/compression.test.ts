import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import zlib from 'node:zlib';
import { expect, it } from 'vitest';
import { until } from '../../../test/support/until.js';
import { Compression } from './compression.js';

const compression = new Compression(true);
const best = 'createZstdCompress' in zlib ? 'zstd' : 'br';

it.each([
  [undefined, null],
  ['', null],
  ['identity', null],
  ['deflate', null],
  ['gzip', 'gzip'],
  ['GZIP', 'gzip'],
  ['gzip, deflate, br', 'br'],
  ['gzip, deflate, br, zstd', best],
  ['br;q=0.5, gzip', 'gzip'],
  ['br;q=0.5, gzip;q=0.8', 'gzip'],
  ['br;q=0, gzip;q=0.001', 'gzip'],
  ['gzip;q=0', null],
  ['identity, gzip;q=0.5', null],
  ['gzip;q=0, *', best],
  ['*;q=0', null],
  ['identity;q=0', null],
  ['nonsense;;;q=x, gzip', 'gzip'],
])('Accept-Encoding: %s is answered with %s', (accepted, coding) => {
  expect(compression.accepted({ 'accept-encoding': accepted })).toBe(coding);
});

it('compresses for nobody when it is off', () => {
  const off = new Compression(false);
  expect(off.accepted({ 'accept-encoding': 'gzip, br, zstd' })).toBeNull();
  expect([off.vary, compression.vary]).toEqual(['Accept', 'Accept, Accept-Encoding']);
});

it('leaves a small body as it is', async () => {
  expect(await compression.whole('gzip', Buffer.alloc(1023))).toMatchObject({ coding: null });
  const { body, coding } = await compression.whole('gzip', Buffer.alloc(1024));
  expect(coding).toBe('gzip');
  expect(zlib.gunzipSync(body)).toEqual(Buffer.alloc(1024));
});

it('a live body can be read as far as it was written', async () => {
  const compressor = compression.open('br', { live: true });
  const reader = compressor.pipe(zlib.createBrotliDecompress());
  for (const line of ['{"a":1}\n', '{"a":2}\n']) {
    compressor.write(line);
    expect(String((await once(reader, 'data'))[0])).toBe(line);
  }
  compressor.destroy();
  reader.destroy();
});

it('takes no more of a body than its reader does, and ends it with its reader', async () => {
  let made = 0;
  let ended = false;
  const parts = async function* () {
    try {
      for (; made < 1000; made++) yield randomBytes(64 << 10);
    } finally {
      ended = true;
    }
  };
  const body = compression.stream('gzip', parts());
  await once(body, 'readable');
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(made).toBeLessThan(20);
  expect(ended).toBe(false);
  body.destroy();
  await until('the parts have ended', () => ended);
});
