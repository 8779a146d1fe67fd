import { existsSync, readFileSync } from 'node:fs';
import { parse, visit, type DocumentNode } from 'graphql';
import { codeFolder, packageFile } from '../../base/paths.js';

/**
 * The contract as graphql-js has it when it is parsed. In dist/ it lies ready as JSON, which the set-up has written: to parse 330 KB of
 * GraphQL takes a start six times as long as to read that.
 */
export function readContract(): DocumentNode {
  const ready = codeFolder('schema.json');
  if (existsSync(ready)) return JSON.parse(readFileSync(ready, 'utf8')) as DocumentNode; // of this very version: both are made together
  return parseContract(readFileSync(packageFile('schema.graphql'), 'utf8'));
}

export function parseContract(text: string): DocumentNode {
  return visit(parse(text, { noLocation: true }), {
    StringValue: (node, key) => (key === 'description' ? { ...node, value: inParagraphs(node.value) } : undefined),
  });
}

/** The file's lines are as long as an editor is wide; whoever shows a description breaks its lines anew. */
function inParagraphs(description: string): string {
  return description.replace(/([^\n])\n(?!\n)/g, '$1 ');
}
