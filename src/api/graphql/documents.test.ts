import { expect, it } from 'vitest';
import { Documents } from './documents.js';

it('documents are kept by their length: those that were used last', () => {
  const documents = new Documents<object>();
  const make = () => ({});
  const text = (i: number): string => `${i}`.padEnd(8_000);
  const first = documents.of(text(0), make);
  expect(documents.of(text(0), make)).toBe(first);
  const second = documents.of(text(1), make);
  for (let i = 2; i < 32; i++) documents.of(text(i), make);
  expect(documents.of(text(0), make)).toBe(first);
  documents.of(text(32), make); // 33 of them are more than 256 KiB
  expect(documents.of(text(0), make)).toBe(first);
  expect(documents.of(text(1), make)).not.toBe(second);
});

it('no more than 512 documents are kept, however short they are', () => {
  const documents = new Documents<object>();
  const first = documents.of('0', () => ({}));
  for (let i = 1; i < 512; i++) documents.of(`${i}`, () => ({}));
  expect(documents.of('0', () => ({}))).toBe(first);
  for (let i = 512; i < 1024; i++) documents.of(`${i}`, () => ({}));
  expect(documents.of('0', () => ({}))).not.toBe(first);
});

it('a document that is too long, or could not be made, is not kept', () => {
  const documents = new Documents<object>();
  const long = ' '.repeat(20_000);
  expect(documents.of(long, () => ({}))).not.toBe(documents.of(long, () => ({})));
  expect(() =>
    documents.of('{', () => {
      throw new Error('bad');
    }),
  ).toThrow('bad');
  expect(documents.of('{', () => ({ made: 1 }))).toEqual({ made: 1 });
});
