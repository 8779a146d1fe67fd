import {
  Composer,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  visit,
  type Document,
  type YAMLParseError,
} from 'yaml';
import { messageOf } from './errors.js';
import type { Work } from './turn.js';

/** Lexemes of a piece: a word, a space, or a mark each. */
const PIECE = 256;
/** The library composes what is nested by calling itself, and takes seconds to find that it has no room for more. */
const MAX_DEPTH = 200;

/** As `toJS` of the library: how many times what has an anchor may be written out. */
const MAX_ALIASES = 100;
/** Characters and values that aliases may add to a text. */
const MAX_ADDED = 1 << 20;
/** Tags of what JSON has: others make dates, sets and the like, also without one where a document says that it is YAML 1.1. */
const COLLECTIONS: readonly (string | undefined)[] = [undefined, 'tag:yaml.org,2002:map', 'tag:yaml.org,2002:seq'];

/** Where a value is in the text. Of a mapping, `keys` has the places of its keys; `of` those of its values, or of the items of a list. */
export interface YamlPlace {
  readonly at: number;
  readonly keys?: Readonly<Record<string, number>>;
  readonly of?: readonly YamlPlace[] | Readonly<Record<string, YamlPlace>>;
}

export interface YamlError {
  readonly at: number;
  readonly message: string;
}

/** Plain data, so that a thread can make it for another one. */
export interface ParsedYaml {
  /** Null where there are errors. */
  readonly value: unknown;
  /** Null for an empty document. */
  readonly place: YamlPlace | null;
  readonly errors: readonly YamlError[];
}

/** What a text has, before it is looked at. `tooDeep`: where it is nested in more than 200 levels, and not read on. */
interface Composed {
  readonly documents: readonly Document.Parsed[];
  readonly tooDeep: YamlError | null;
}

/**
 * Finds the documents of a text, as the library does. To find the tokens takes seconds for a mebibyte, and is done in pieces; each document
 * is composed in one. `lines` is told where each line begins.
 */
export function* composingYaml(text: string, lines = new LineCounter()): Work<Composed> {
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({ prettyErrors: false, uniqueKeys: false });
  const documents: Document.Parsed[] = [];
  lines.addNewLine(0);
  // As `Parser.parse`. It takes a text in parts, too, but makes something else of one that is cut in a plain text or a comment.
  let lexemes = 0;
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) documents.push(...composer.next(token));
    if (parser.stack.length > MAX_DEPTH)
      return { documents, tooDeep: { at: parser.offset, message: `is nested in more than ${MAX_DEPTH} levels` } };
    if (++lexemes % PIECE === 0) yield;
  }
  for (const token of parser.end()) documents.push(...composer.next(token));
  documents.push(...composer.end(true, text.length));
  return { documents, tooDeep: null };
}

/**
 * Parses a YAML document, as `parseDocument` of the library does: its errors are returned. Keys are compared by a look-up: the library
 * compares each one with all before it, which takes 6 s for 20,000 keys.
 */
export function* parsingYaml(text: string): Work<ParsedYaml> {
  const { documents, tooDeep } = yield* composingYaml(text);
  if (tooDeep) return failed([tooDeep]);
  const [document, second] = documents;
  if (!document) throw new RangeError('a document was asked for, and there is none');
  const errors = [...[...document.errors, ...document.warnings].map(errorOf), ...ownErrors(document)];
  if (second) errors.push({ at: second.range[0], message: 'has a second document; give each a file of its own' });
  if (errors.length > 0) return failed(errors);
  try {
    const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
    checkSize(value, text.length + MAX_ADDED);
    return { value, place: placeOf(document.contents), errors };
  } catch (error) {
    return failed([{ at: 0, message: messageOf(error) }]);
  }
}

function failed(errors: readonly YamlError[]): ParsedYaml {
  return { value: null, place: null, errors };
}

function errorOf({ pos: [at], message }: Pick<YAMLParseError, 'pos' | 'message'>): YamlError {
  return { at, message: message.trimEnd() };
}

function placeOf(node: unknown): YamlPlace | null {
  if (!isNode(node) || !node.range) return null;
  const [at] = node.range;
  if (isSeq(node)) return { at, of: node.items.map((item) => placeOf(item) ?? { at }) };
  if (!isMap(node)) return { at };
  const keys: [string, number][] = [];
  const values: [string, YamlPlace][] = [];
  for (const { key, value } of node.items) {
    if (!isScalar(key)) continue;
    const name = String(key.value);
    const keyAt = key.range?.[0] ?? at;
    keys.push([name, keyAt]);
    values.push([name, placeOf(value) ?? { at: keyAt }]);
  }
  // Not by assignment: "__proto__" may be among them.
  return { at, keys: Object.fromEntries(keys), of: Object.fromEntries(values) };
}

/** What the library lets pass: keys that are there twice, and what JSON, in which threads tell each other, does not have. */
function ownErrors(document: Document.Parsed): YamlError[] {
  const errors: YamlError[] = [];
  const add = (range: readonly number[] | null | undefined, message: string): void =>
    void errors.push({ at: range?.[0] ?? 0, message });
  visit(document, {
    Scalar: (_key, { value, range }) => {
      if (typeof value === 'number' && !Number.isFinite(value)) add(range, 'is no finite number');
      else if (value !== null && !['string', 'number', 'boolean'].includes(typeof value))
        add(range, 'is no text, number, true, false or null');
    },
    Collection: (_key, { tag, range }) => {
      if (!COLLECTIONS.includes(tag)) add(range, 'is no list or mapping');
    },
    Map: (_key, { items, tag, range }) => {
      if (!COLLECTIONS.includes(tag)) add(range, 'is no list or mapping');
      const known = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        if (known.has(key.value)) add(key.range, 'Map keys must be unique');
        known.add(key.value);
      }
    },
  });
  return errors;
}

/** Throws for a value that is within itself, or that is larger than this as JSON, about: aliases are written out in it. */
function checkSize(value: unknown, most: number): void {
  const sizes = new Map<object, number>();
  const sizeOf = (one: unknown): number => {
    if (typeof one === 'string') return one.length + 1;
    if (typeof one !== 'object' || one === null) return 1;
    const known = sizes.get(one);
    if (known === Number.POSITIVE_INFINITY) throw new RangeError('has an alias within what it stands for');
    if (known !== undefined) return known;
    sizes.set(one, Number.POSITIVE_INFINITY);
    let size = 1;
    if (Array.isArray(one)) for (const item of one as readonly unknown[]) size += sizeOf(item);
    else for (const [name, member] of Object.entries(one)) size += name.length + sizeOf(member);
    sizes.set(one, size);
    return size;
  };
  if (sizeOf(value) > most) throw new RangeError(`its aliases make it larger by more than ${MAX_ADDED >> 20} MiB`);
}
