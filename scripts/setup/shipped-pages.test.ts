import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../../src/base/paths.js';

const { shippedText } = (await import(join(root, 'scripts/setup/shipped-pages.mjs'))) as {
  shippedText: (page: string, text: string, files: readonly string[]) => string;
};
const files = ['README.md', 'docs/api.md', 'rules/shell.yaml'];

it.each([
  ['README.md', 'see [the API](docs/api.md#versions) and [rules](rules/)'],
  ['docs/api.md', '[above](#versions), [readme](../README.md), [a site](https://example.com/x)'],
])('a page of the package keeps links to what the package has: %s', (page, text) => {
  expect(shippedText(page, text, files)).toBe(text);
});

it.each([
  ['README.md', 'so it is ([decision 034](docs/decisions/034-who.md)).', 'so it is (decision 034).'],
  ['docs/api.md', 'how: [`trackers`\n](benchmarks.md#trackers)', 'how: `trackers`\n'],
  ['docs/api.md', 'of [readme](README.md)', 'of readme'],
  ['docs/api.md', 'of [ap](ap)', 'of ap'],
])('a page of the package has the words alone of other links: %s: %s', (page, text, expected) => {
  expect(shippedText(page, text, files)).toBe(expected);
});

it('an entry of a list of links goes with its link', () => {
  const list =
    '[API](docs/api.md) · [Architecture](docs/architecture.md) · [Rules](rules/) · [Decisions](docs/decisions/)\n';
  expect(shippedText('README.md', list, files)).toBe('[API](docs/api.md) · [Rules](rules/)\n');
});

it('a block of code stays as it is', () => {
  const text = 'so:\n\n```md\n[none](none.md)\n```\n\n[none](none.md)';
  expect(shippedText('README.md', text, files)).toBe('so:\n\n```md\n[none](none.md)\n```\n\nnone');
});
