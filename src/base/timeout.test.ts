import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { collectGarbage } from '../../test/support/memory.js';
import { until } from '../../test/support/until.js';
import { root } from './paths.js';
import { timeoutSignal } from './timeout.js';

it('aborts also where nothing but another signal refers to it, and garbage is collected', async () => {
  const closing = new AbortController();
  const reasons: unknown[] = [];
  const begin = (): void => {
    const signal = AbortSignal.any([closing.signal, timeoutSignal(200)]);
    signal.addEventListener('abort', () => reasons.push(signal.reason));
  };
  for (let i = 0; i < 20; i++) begin();
  await until('all are aborted', () => {
    collectGarbage();
    return reasons.length === 20;
  });
  expect(reasons).toEqual(
    Array.from({ length: 20 }, () => expect.objectContaining({ name: 'TimeoutError' }) as unknown),
  );
});

it('stands in the place of AbortSignal.timeout everywhere', () => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && file !== 'base/timeout.ts',
  );
  expect(files.length).toBeGreaterThan(100);
  const uses = files.filter((file) => readFileSync(join(root, 'src', file), 'utf8').includes('AbortSignal.timeout'));
  expect(uses).toEqual([]);
});
