/** The values that random filters name and random events have: so few that they meet. */

const MAX64 = '18446744073709551615';
export const texts = [
  '',
  'a',
  'nginx',
  'nginx-1',
  '/etc',
  '/etc/passwd',
  '/etc/ssl/a.pem',
  '/usr/lib/libc.so.6',
  'CAP',
  'ä/ö',
  '😀',
  'a"b\\c\nd',
  '[x]',
  'x*y',
  'O_CREAT',
  'open',
  'exec',
];
export const parts = texts.filter((text) => text !== '');
export const numbers = [-1, 0, 1, 2, 7, 80, 443, 1000, 2 ** 31 - 1, -(2 ** 31)];
export const bigs = [
  '0',
  '1',
  '9',
  '10',
  '99',
  '100',
  '4026531841',
  '9007199254740991',
  '9007199254740992',
  '9007199254740993',
  '9223372036854775808',
  '18446744073709551614',
  MAX64,
];
export const signed = ['-9223372036854775808', '-10', '-9', '-2', '-1', '0', '1', '9', '10', '9223372036854775807'];
export const unsigned = [0, 1, 1000, 65534, 2 ** 32 - 1];
export const times = [
  '2026-01-31T08:15:30.000000000Z',
  '2026-01-31T08:15:30.000000001Z',
  '2026-01-31T08:15:30.123456789Z',
  '2026-01-31T09:00:00.000000000Z',
  '1999-12-31T23:59:59.999999999Z',
];
export const addresses = [
  '10.0.0.1',
  '10.1.2.3',
  '127.0.0.1',
  '192.168.1.255',
  '0.0.0.0',
  '255.255.255.255',
  '::',
  '::1',
  '2001:db8::1',
  '2001:db8:0:1::ffff',
  'fe80::1',
];
export const networks = [
  '10.0.0.0/8',
  '10.0.0.0/15',
  '10.1.2.3/32',
  '0.0.0.0/0',
  '192.168.1.128/25',
  '::/0',
  '2001:db8::/32',
  '2001:db8::/63',
  '::1/128',
  'fe80::/10',
  '::ffff:10.0.0.0/104',
];
export const errnos = ['EPERM', 'ENOENT', 'EACCES', '524'];
// The same in RE2 and in JavaScript.
export const regexes = [
  '^/etc/',
  'ng+inx',
  '\\.so\\.[0-9]+$',
  '(?:a|b)+c?',
  '^$',
  '^nginx$',
  'passwd|shadow',
  '[^/]+/[^/]+$',
  '^/etc/passwd$',
  '\\[x\\]',
  'a.b',
  '\\/etc',
  '.*',
  '^(?:a+)+$',
  '\\d',
];
export const globs = [
  '*',
  '/etc/*',
  '*.pem',
  '*etc*',
  'nginx',
  'ngin?',
  'nginx-[0-9]',
  'nginx-[!0-9]',
  '{/etc,/usr}/*',
  '*{a,b}*',
  '\\[x\\]',
  'x\\*y',
  '**/a.pem',
  '?',
  '/etc/*/*',
  '[]x[]*',
  'O_*',
];
