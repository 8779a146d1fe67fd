import { expect, it } from 'vitest';
import { flagNames, type Flags } from './flag.js';

const known: Flags = [
  [6, 'BOTH'],
  [2, 'LOWER'],
  [4, 'UPPER'],
  [0x80000000 | 0, 'LAST'],
];

it.each([
  [0, []],
  [2, ['LOWER']],
  [6, ['BOTH']],
  [0x80000004, ['UPPER', 'LAST']],
  [0x40000001, ['0x40000001']],
  [0xffffffff, ['BOTH', 'LAST', '0x7ffffff9']],
])('%i is %j', (value, names) => expect(flagNames(value, known)).toEqual(names));
