import { expect, it } from 'vitest';
import { headersOf } from './field.js';

it.each([
  [
    ['time', 'container.name', 'process.pid', 'path'],
    ['time', 'container', 'pid', 'path'],
  ],
  // The tracker has a `comm` of its own, and two columns have a `pid`.
  [
    ['process.comm', 'comm'],
    ['process.comm', 'comm'],
  ],
  [
    ['process.pid', 'container.pid'],
    ['pid', 'container.pid'],
  ],
  [
    ['process.parent.comm', 'container.labels.tier'],
    ['parent.comm', 'labels.tier'],
  ],
])('columns of %j have short headers, which lead to the same fields', (paths, headers) => {
  const known = new Set([
    'time',
    'container.name',
    'container.pid',
    'process.pid',
    'process.comm',
    'process.parent.comm',
  ]);
  expect(headersOf(paths, new Set([...known, 'path', 'comm']))).toEqual(headers);
});
