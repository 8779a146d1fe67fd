import { expect, it } from 'vitest';
import { listed } from './listed.js';

it.each([
  [[], ''],
  [['tcp'], 'tcp'],
  [['sni', 'tcp'], 'sni and tcp'],
  [['bind', 'sni', 'tcp'], 'bind, sni and tcp'],
])('lists %j as %j', (names, text) => {
  expect(listed(names)).toBe(text);
});
