import { expect, it } from 'vitest';
import { counted, listed } from './listed.js';

it.each([
  [[], ''],
  [['tcp'], 'tcp'],
  [['sni', 'tcp'], 'sni and tcp'],
  [['bind', 'sni', 'tcp'], 'bind, sni and tcp'],
])('lists %j as %j', (names, text) => {
  expect(listed(names)).toBe(text);
});

it.each([0, 1, 2, '1', 1n, 21n])('counts %s events', (number) => {
  expect(counted(number, 'event')).toBe(String(number) === '1' ? '1 event' : `${number} events`);
});
