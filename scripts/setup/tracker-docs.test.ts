import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSchema, parse, validate } from 'graphql';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

const { trackerDocs } = (await import(join(root, 'scripts/setup/tracker-docs.mjs'))) as {
  trackerDocs: () => Promise<string>;
};
const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'));

it('docs/trackers.md is what the contract, the definitions and the objects give: run `npm run build` and commit it', async () => {
  expect(readFileSync(join(root, 'docs/trackers.md'), 'utf8')).toBe(await trackerDocs());
});

it('has for each tracker an example that is valid', async () => {
  const examples = [...(await trackerDocs()).matchAll(/```graphql\n(.*?)```/gs)].map(([, example = '']) => example);
  const names = schema.getType('TrackerInput');
  expect(examples.length).toBe(names && 'getFields' in names ? Object.keys(names.getFields()).length : NaN);
  for (const example of examples) expect(validate(schema, parse(example))).toEqual([]);
});
