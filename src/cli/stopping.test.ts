import { expect, it } from 'vitest';
import { stopping } from './stopping.js';

it.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
])('a first signal asks, its echo says nothing more, and a later %s ends with %i', (name, code) => {
  let now = 5;
  const codes: number[] = [];
  const { signal, receive } = stopping(
    (one) => codes.push(one),
    () => now,
  );
  expect(signal.aborted).toBe(false);
  receive('SIGINT');
  expect(signal.aborted).toBe(true);
  now += 1000;
  receive('SIGINT');
  receive('SIGTERM');
  expect(codes).toEqual([]);
  now += 1;
  receive(name);
  expect(codes).toEqual([code]);
});
