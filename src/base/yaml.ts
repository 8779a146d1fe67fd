import { Composer, Document, isScalar, Lexer, LineCounter, Parser, visit, YAMLParseError } from 'yaml';
import type { Work } from './turn.js';

/** Lexemes of a piece: a word, a space, or a mark each. */
const PIECE = 256;
/** The library composes what is nested by calling itself, and takes seconds to find that it has no room for more. */
const MAX_DEPTH = 200;

export interface ParsedYaml {
  readonly document: Document;
  readonly lines: LineCounter;
  readonly errors: readonly Pick<YAMLParseError, 'pos' | 'message'>[];
}

/**
 * Parses a YAML document, as `parseDocument` of the library does: its errors are returned. That takes seconds for a mebibyte, most of it to
 * find the tokens, which is done in pieces. Keys are compared by a look-up: the library compares each one with all before it, which
 * takes 6 s for 20,000 keys.
 */
export function* parsingYaml(text: string): Work<ParsedYaml> {
  const lines = new LineCounter();
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({ lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  const documents: Document.Parsed[] = [];
  // As `Parser.parse`. It takes a text in parts, too, but makes something else of one that is cut in a plain text or a comment.
  lines.addNewLine(0);
  let lexemes = 0;
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) documents.push(...composer.next(token));
    if (parser.stack.length > MAX_DEPTH) {
      const at = parser.offset;
      const tooDeep = new YAMLParseError([at, at], 'IMPOSSIBLE', `is nested in more than ${MAX_DEPTH} levels`);
      return { document: new Document(null), lines, errors: [tooDeep] };
    }
    if (++lexemes % PIECE === 0) yield;
  }
  for (const token of parser.end()) documents.push(...composer.next(token));
  documents.push(...composer.end(true, text.length));
  const [document, second] = documents;
  if (!document) throw new RangeError('a document was asked for, and there is none');
  const errors = [...document.errors, ...document.warnings, ...repeatedKeys(document)];
  if (second) {
    const [start = 0, end = start] = second.range;
    errors.push(
      new YAMLParseError([start, end], 'MULTIPLE_DOCS', 'has a second document; give each a file of its own'),
    );
  }
  return { document, lines, errors };
}

function repeatedKeys(document: Document.Parsed): YAMLParseError[] {
  const errors: YAMLParseError[] = [];
  visit(document, {
    Map: (_key, { items }) => {
      const known = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        const [start = 0, end = start] = key.range ?? [];
        if (known.has(key.value))
          errors.push(new YAMLParseError([start, end], 'DUPLICATE_KEY', 'Map keys must be unique'));
        known.add(key.value);
      }
    },
  });
  return errors;
}
