import { expect, it } from 'vitest';
import { whereInput } from './where.js';

const server = 'http://127.0.0.1:4000';
const known = new Set(['errno', 'process.comm']);

it('tells a saved filter from an expression', async () => {
  expect(await whereInput('errno != null', {}, known)).toEqual({ expr: 'errno != null' });
  expect(await whereInput('comm == "curl"', {}, known)).toEqual({ expr: 'process.comm == "curl"' });
  expect(await whereInput('@on call/failed', { server }, known)).toEqual({ saved: 'on call/failed' });
});

it.each([
  ['@failed', undefined, '--where: which server has the saved filter "failed"? Give --server'],
  ['@', server, '--where: "@": after "@" stands the name of a saved filter and nothing else'],
  ['@failed && errno == "ENOENT"', server, 'after "@" stands the name of a saved filter and nothing else'],
])('refuses %s with the server %s', async (text, url, message) => {
  await expect(whereInput(text, url === undefined ? {} : { server: url }, known)).rejects.toThrow(message);
});
