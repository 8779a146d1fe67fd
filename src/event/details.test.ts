import { describe, expect, it } from 'vitest';
import { bytesText, DetailsTemplate, durationText } from './details.js';

const types: Readonly<Record<string, string>> = {
  args: '[String!]',
  flags: '[String!]',
  path: 'String',
  errno: 'Errno',
  fd: 'Int',
  address: 'String',
  port: 'Int',
  operation: 'TcpOperation!',
  access: '[DeviceAccess!]',
  granted: 'Boolean!',
  errors: 'UInt64!',
  sentBytes: 'UInt64',
  latencyNs: 'UInt64',
  netNs: 'UInt64',
};

function render(template: string, event: Readonly<Record<string, unknown>>): string {
  return new DetailsTemplate(template).render((field) => ({ value: event[field], type: types[field] ?? 'String' }));
}

describe('a line of an event', () => {
  it.each([
    ['{path} [{flags}] [= {fd}] [= {errno}]', { path: '/x', flags: ['O_RDONLY'], fd: 0 }, '/x O_RDONLY = 0'],
    ['{path} [{flags}] [= {fd}] [= {errno}]', { path: '/x', flags: [], errno: 'ENOENT' }, '/x = ENOENT'],
    ['{path} at {fd}', { path: null }, '? at ?'],
    ['{resolved|path}', { resolved: '', path: '/x' }, '/x'],
    ['{args}', { args: ['sh', '-c', 'echo "a"'] }, `sh -c 'echo "a"'`],
    [
      '{operation} {address@port}',
      { operation: 'CONNECT_FAILED', address: '::1', port: 80 },
      'connect failed [::1]:80',
    ],
    ['{operation} {address@port}', { operation: 'CONNECT', address: '10.0.0.5', port: null }, 'connect 10.0.0.5'],
    ['[to {address@port}] {operation}', { operation: 'CLOSE', port: 80 }, 'close'],
    ['{access}', { access: ['READ', 'MAKE'] }, 'read make'],
    ['{granted:granted:denied} {granted:yes}', { granted: false }, 'denied ?'],
    ['{granted:granted:denied}[, {granted:yes}]', { granted: true }, 'granted, yes'],
    ['{path}[, {errors>0} errors]', { path: 'a', errors: '0' }, 'a'],
    ['{path}[, {errors>0} errors]', { path: 'a', errors: '3' }, 'a, 3 errors'],
    [
      '{sentBytes} in {latencyNs} of {netNs}',
      { sentBytes: '1536', latencyNs: '1722149', netNs: '4026531840' },
      '1.5 KiB in 1.7 ms of 4026531840',
    ],
  ])('%s of %j', (template, event, line) => expect(render(template, event)).toBe(line));

  it('names the fields that it reads', () => {
    expect(new DetailsTemplate('{a|b} [{c@d} {e:yes}] {f>0} {a}').fields).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
  });

  it.each(['{', '}', '{}', '[', ']', '[{a} [{b}]]', '{a@b@c}', '{a|}', '{a b}', '{a:}'])('%s is no template', (text) =>
    expect(() => new DetailsTemplate(text)).toThrow(RangeError),
  );
});

it.each([
  [0n, '0 ns'],
  [999n, '999 ns'],
  [1_000n, '1 µs'],
  [12_345n, '12.3 µs'],
  [999_999n, '1 ms'],
  [999_400n, '999 µs'],
  [59_990_000_000n, '1 min'],
  [431_418_787n, '431 ms'],
  [59_900_000_000n, '59.9 s'],
  [90_000_000_000n, '1.5 min'],
  [18446744073709551615n, '213504 d'],
])('%d ns are %s', (ns, text) => expect(durationText(ns)).toBe(text));

it.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [1_048_575, '1 MiB'],
  [819_200, '800 KiB'],
  [2 ** 50, '1024 TiB'],
])('%d bytes are %s', (bytes, text) => expect(bytesText(bytes)).toBe(text));
