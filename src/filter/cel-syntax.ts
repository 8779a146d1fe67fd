import { Environment, ParseError, type ASTNode } from '@marcbachmann/cel-js';
import { invalid, messageOf } from '../base/errors.js';
import { errorAt } from './position.js';

export const MAX_EXPRESSION = 10_000;

// Only the parser is used. cel.ts defines the meaning of an expression; cel-js never evaluates any.
const environment = new Environment({ limits: { maxAstNodes: 10_000, maxDepth: 100, maxListElements: 1001 } });

const TOKENS: Readonly<Record<string, string>> = {
  RPAREN: '")"',
  LPAREN: '"("',
  RBRACKET: '"]"',
  RBRACE: '"}"',
  COLON: '":"',
  IDENTIFIER: 'a name',
  EOF: 'the end',
};

/** Parses a CEL expression. Throws BAD_USER_INPUT with the position of the error. */
export function parseSyntax(text: string, path: string): ASTNode {
  if (text.trim() === '')
    throw invalid(path, 'is empty; leave it out, or write a CEL expression, for example process.comm == "nginx"');
  if (text.length > MAX_EXPRESSION)
    throw invalid(path, `has ${text.length} characters; at most ${MAX_EXPRESSION} are allowed`);
  try {
    return environment.parse(text).ast;
  } catch (error) {
    if (error instanceof RangeError) throw invalid(path, 'is nested too deeply');
    if (!(error instanceof ParseError)) throw invalid(path, messageOf(error));
    const range = error.range ?? { start: 0, end: 0 };
    throw errorAt(
      path,
      text,
      range,
      messageFor(error, text.slice(range.start, range.end), text.slice(0, range.start), text.charAt(range.end)),
    );
  }
}

/** What other languages write otherwise. */
const WRITTEN: ReadonlyMap<string, string> = new Map([
  ['=', '"==" compares'],
  ['=~', 'write .matches("…")'],
  ['&', 'write "&&"'],
  ['|', 'write "||"'],
  ['and', 'write "&&"'],
  ['or', 'write "||"'],
  ['like', 'write .glob("…") or .contains("…")'],
]);

function rightFor(found: string, before: string, next: string): string {
  if (/\bnot\s*$/i.test(before)) return 'write "!" for "not"';
  return WRITTEN.get(found + next) ?? WRITTEN.get(found.toLowerCase()) ?? 'join conditions with && or ||';
}

function messageFor({ code, summary }: ParseError, found: string, before: string, next: string): string {
  const instead = found === '' ? 'but the expression ends' : `not ${JSON.stringify(found)}`;
  switch (code) {
    case 'unexpected_token':
      return `a field or a value is expected here, ${instead}`;
    case 'expected_token':
      return `${TOKENS[/^Expected (\w+)/.exec(summary)?.[1] ?? ''] ?? 'something else'} is expected here, ${instead}`;
    case 'unexpected_character':
      return `${JSON.stringify(found)} is not expected here; ${rightFor(found, before, next)}`;
    case 'limit_exceeded':
      return `this is too much: ${summary.replace(
        /^Exceeded (\w+) \((\d+)\)$/,
        (_, limit: string, count: string) =>
          `${limit
            .replace('max', '')
            .replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
            .trim()} over ${count}`,
      )}`;
    default:
      return `${summary.charAt(0).toLowerCase()}${summary.slice(1)}`;
  }
}
