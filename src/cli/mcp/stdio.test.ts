import { PassThrough, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { until } from '../../../test/support/until.js';
import { toolServer } from './server.js';
import { PacedTransport } from './stdio.js';

const BIG = {
  name: 'big',
  description: 'x'.repeat(10_000),
  inputSchema: { type: 'object', properties: {}, required: [], additionalProperties: false },
  changes: false,
  call: () => Promise.resolve({ text: '', isError: false }),
} as const;
const REQUESTS = 2000;
const line = (message: object): string => `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`;

it('does not listen to a client that takes none of its answers, and goes on when it does', async () => {
  let isReading = false;
  let answers = 0;
  let go = (): void => undefined;
  const output = new Writable({
    decodeStrings: false,
    write(_text, _encoding, taken) {
      answers++;
      go = taken;
      if (isReading) taken();
    },
  });
  const input = new PassThrough();
  const server = toolServer([BIG], '1');
  await server.connect(new PacedTransport(input, output));
  const clientInfo = { name: 'slow', version: '1' };
  input.write(
    line({ id: 0, method: 'initialize', params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo } }),
  );
  for (let id = 1; id <= REQUESTS; id++) {
    input.write(line({ id, method: 'tools/list' }));
    await turn();
  }
  expect(input.isPaused()).toBe(true);
  expect(output.writableLength).toBeLessThan(2 << 20);
  expect(output.listenerCount('drain')).toBe(1);
  isReading = true;
  go();
  await until('all answers', () => answers === REQUESTS + 1 || null);
  await server.close();
  expect(input.isPaused()).toBe(true);
});
