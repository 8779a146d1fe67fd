import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../src/base/paths.js';

/** A block of code of README.md or of a page in docs/. */
export interface Block {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** The comment right before it, which GitHub does not show: "not run: REASON" or "run by FILE". */
  readonly mark: string | null;
  /** The block before it in the same section, with prose between them at most. */
  readonly previous: Block | null;
}

function* blocksOf(page: string): Generator<Block> {
  let previous: Block | null = null;
  const lines = readFileSync(join(root, page), 'utf8').split('\n');
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] ?? '';
    if (line.startsWith('#')) previous = null;
    const [, language] = /^\s*(?:```|~~~)(.*)$/.exec(line) ?? [];
    if (language === undefined) continue;
    const [, mark = null] = /^<!-- (.*) -->$/.exec(lines[i - 1] ?? '') ?? [];
    const first = i + 1;
    while (++i < lines.length && !/^\s*(?:```|~~~)$/.test(lines[i] ?? ''));
    const text = lines.slice(first, i).join('\n') + '\n';
    previous = { page, line: first, language, text, mark, previous };
    yield previous;
  }
}

export const pages: readonly string[] = ['README.md'].concat(
  readdirSync(join(root, 'docs')).flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : [])),
);

export const allBlocks: readonly Block[] = pages.flatMap((page) => [...blocksOf(page)]);

/** The blocks of a language that no mark gives to somebody else, with a title for a test. */
export function blocksIn(language: string): readonly (Block & { readonly title: string })[] {
  return allBlocks
    .filter((block) => block.language === language && block.mark === null)
    .map((block) => ({ ...block, title: `${block.page}:${block.line}` }));
}

/** The blocks that a mark gives to a test. Throws where there are not as many as the test runs: one more would be run by nobody. */
export function blocksRunBy(file: string, count: number): readonly Block[] {
  const blocks = allBlocks.filter(({ mark }) => mark === `run by ${file}`);
  const places = blocks.map(({ page, line }) => `${page}:${line}`);
  if (blocks.length !== count)
    throw new Error(`${file} runs ${count} blocks, and there are ${places.join(', ') || 'none'}`);
  return blocks;
}
