import { expect, it } from 'vitest';
import { operationMask, pushedOperation } from './operation.js';

const names = ['MAKE', 'CHANGE', 'REMOVE'];

it.each([
  [undefined, 0],
  [null, 0],
  [['MAKE'], 0b10],
  [['REMOVE', 'CHANGE', 'REMOVE'], 0b1100],
])('the option %j is the mask %i', (option, mask) => expect(operationMask(names, option)).toBe(mask));

it('the codes of operations count from 1', () => {
  const pushed = pushedOperation(names);
  expect(pushed.kind === 'code' && [0, 1, 3, 4].map(pushed.read)).toEqual([null, 'MAKE', 'REMOVE', null]);
});
