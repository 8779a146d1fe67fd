import { expect, it } from 'vitest';
import { EunomiaError } from '../base/errors.js';
import { inFlag } from './usage.js';

it.each([
  ['input.target.containers: no container has the name "wep"', '--container: no container has the name "wep"'],
  ['input.target.containers: no container has the image "nginx"', '--image: no container has the image "nginx"'],
  ['input.target.containers: no container has the label "a=b"', '--label: no container has the label "a=b"'],
  [
    'Variable "$input" got invalid value "1" at "input.for"; Duration cannot be "1"; write it',
    '--for: Duration cannot be "1"; write it',
  ],
  [
    'Variable "$input" got invalid value "A; at" at "input.trackers[0].tcp.operations[0]"; Value "A" does not exist',
    'tcp.operations[0]: Value "A" does not exist',
  ],
  ['where.until: is not later than where.since; nothing', '--until: is not later than --since; nothing'],
  ['input.reason: is empty', '--reason: is empty'],
  [
    'there is no session "a": it never was, or it was removed; the query `sessions` lists those there are',
    'there is no session "a": it never was, or it was removed; `eunomia sessions` lists those there are',
  ],
  ['the server is full', 'the server is full'],
])('%s: is told to who typed a command in his words', (message, told) => {
  expect(inFlag(new EunomiaError('BAD_USER_INPUT', message))).toHaveProperty('message', told);
});
