import { expect, it } from 'vitest';
import { whereInput } from './where.js';

const server = 'http://127.0.0.1:4000';

it('tells a saved filter from an expression', () => {
  expect(whereInput('errno != null', {})).toEqual({ expr: 'errno != null' });
  expect(whereInput('@on call/failed', { server })).toEqual({ saved: 'on call/failed' });
});

it.each([
  ['@failed', undefined, '--where: which server has the saved filter "failed"? Give --server'],
  ['@', server, '--where: "@": after "@" stands the name of a saved filter and nothing else'],
  ['@failed && errno == "ENOENT"', server, 'after "@" stands the name of a saved filter and nothing else'],
])('refuses %s with the server %s', (text, url, message) => {
  expect(() => whereInput(text, url === undefined ? {} : { server: url })).toThrow(message);
});
