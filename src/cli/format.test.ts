import { expect, it } from 'vitest';
import { Table } from './format.js';

it('cuts what is widest in a narrow terminal, but no id: other commands take them', () => {
  const table = new Table(['id', 'name', 'reason'], 40);
  expect(table.render([['silence:bc7fbea0cbd6fec4', 'a-long-name-of-it', 'a long reason']])).toBe(
    'id                        name      reason\nsilence:bc7fbea0cbd6fec4  a-long-…  a long …\n',
  );
});
