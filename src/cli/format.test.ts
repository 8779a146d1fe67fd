import { expect, it } from 'vitest';
import { Table } from './format.js';

it('cuts what is widest in a narrow terminal, but no id: other commands take them', () => {
  const table = new Table(['id', 'name', 'reason'], 40);
  expect(table.render([['silence:bc7fbea0cbd6fec4', 'a-long-name-of-it', 'a long reason']])).toBe(
    'id                        name      rea…\nsilence:bc7fbea0cbd6fec4  a-long-…  a l…\n',
  );
});

it('cuts off the last columns where narrow ones do not fit: nothing wraps, and the time stays whole', () => {
  const table = new Table(['time', 'container', 'path', 'flags'], 30);
  expect(table.render([['08:15:30.123Z', 'a-long-name', '/a/long/path', 'O_RDONLY O_CLOEXEC']])).toBe(
    'time           contain…  path…\n08:15:30.123Z  a-long-…  /a/l…\n',
  );
});
