import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { packageFile } from '../../base/paths.js';
import { parseContract } from './contract.js';

it('the contract that lies ready in dist/ is the one of schema.graphql', () => {
  const ready: unknown = JSON.parse(readFileSync(packageFile('dist', 'schema.json'), 'utf8'));
  const parsed = parseContract(readFileSync(packageFile('schema.graphql'), 'utf8'));
  expect(ready).toEqual(JSON.parse(JSON.stringify(parsed)));
});
