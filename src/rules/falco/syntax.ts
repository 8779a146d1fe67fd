import { errorAt, type TextRange } from '../../filter/position.js';

/** A field of Falco: "proc.aname[2]" is the name "proc.aname" with the argument "2". */
export interface FalcoField {
  readonly name: string;
  readonly argument: string | null;
  /** Functions that its value passes through, the outermost first: "tolower", "basename". */
  readonly transformers: readonly string[];
}

/** A constant, or the name of a list, as a list of values may have both. */
export interface FalcoValue {
  readonly text: string;
  /** A text in quotes is never the name of a list. */
  readonly quoted: boolean;
}

/** A comparison. */
export interface FalcoCheck extends TextRange {
  readonly kind: 'check';
  readonly field: FalcoField;
  readonly op: Op;
  readonly values: readonly FalcoValue[];
  /** The field on the right side; null where constants are there. */
  readonly other: FalcoField | null;
}

/** A condition as it is written. Macros are names still. */
export type Written =
  | { readonly kind: 'and' | 'or'; readonly of: readonly Written[] }
  | { readonly kind: 'not'; readonly of: Written }
  | ({ readonly kind: 'macro'; readonly name: string } & TextRange)
  | FalcoCheck;

// Longer ones first: "=" begins "==".
const SYMBOLS = ['==', '!=', '<=', '>=', '=', '<', '>'] as const;
const WORDS = [
  'contains',
  'icontains',
  'bcontains',
  'startswith',
  'bstartswith',
  'endswith',
  'glob',
  'iglob',
  'regex',
  'in',
  'intersects',
  'pmatch',
  'exists',
] as const;
const LISTS: ReadonlySet<string> = new Set(['in', 'intersects', 'pmatch']);
export type Op = (typeof SYMBOLS)[number] | (typeof WORDS)[number];

/** How deep parentheses and "not" may be nested. */
const MAX_DEPTH = 100;
const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/**
 * Parses a condition of Falco's filter language. Throws BAD_USER_INPUT with the position of the error. `where` is what the message calls
 * the condition.
 */
export function parseCondition(text: string, where: string): Written {
  return new Parser(text, where).whole();
}

/** An item of a list, as the language would read it in a condition: in quotes or without. */
export function valueOf(item: string): FalcoValue {
  const quote = /^(["'])(.*)\1$/s.exec(item);
  return quote ? { text: unescaped(quote[2] ?? ''), quoted: true } : { text: item, quoted: false };
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/gs, (whole, character: string) =>
    /["'\\]/.test(character) ? character : (ESCAPES[character] ?? whole),
  );
}

class Parser {
  readonly #text: string;
  readonly #where: string;
  #at = 0;

  constructor(text: string, where: string) {
    this.#text = text;
    this.#where = where;
  }

  whole(): Written {
    const found = this.#junction('or', 0);
    this.#blank();
    return this.#at < this.#text.length
      ? this.#fail(`"and", "or" or the end is expected here, not ${this.#next()}`)
      : found;
  }

  #junction(op: 'or' | 'and', depth: number): Written {
    const operand = (): Written => (op === 'or' ? this.#junction('and', depth) : this.#negation(depth));
    const of = [operand()];
    while (this.#word(op)) of.push(operand());
    const [only] = of;
    return of.length === 1 && only ? only : { kind: op, of };
  }

  #negation(depth: number): Written {
    let negated = false;
    while (this.#word('not')) negated = !negated;
    const of = this.#operand(depth);
    return negated ? { kind: 'not', of } : of;
  }

  #operand(depth: number): Written {
    if (depth > MAX_DEPTH) this.#fail(`is nested more than ${MAX_DEPTH} deep`);
    if (this.#symbol('(')) {
      const inner = this.#junction('or', depth + 1);
      this.#close();
      return inner;
    }
    this.#blank();
    const start = this.#at;
    const field = this.#field();
    if (field) return this.#check(field, start);
    const name = this.#take(/[a-zA-Z]\w*/y);
    if (name === null || name === 'and' || name === 'or') {
      this.#at = start;
      this.#fail(
        `a field, a macro, "not" or "(" is expected here, ${this.#next() === '' ? 'but the condition ends' : `not ${this.#next()}`}`,
      );
    }
    return { kind: 'macro', name, start, end: this.#at };
  }

  /** A field, and the functions around it; null where there is none. */
  #field(): FalcoField | null {
    this.#blank();
    const transformer = this.#take(/[a-z]\w*(?=\()/y, (name) => name !== 'not');
    if (transformer !== null) {
      this.#symbol('(');
      const inner = this.#field() ?? this.#fail('a field is expected here');
      this.#close();
      return { ...inner, transformers: [transformer, ...inner.transformers] };
    }
    const name = this.#take(/[a-zA-Z]\w*(?:\.[a-zA-Z]\w*)+/y);
    if (name === null) return null;
    let argument: string | null = null;
    if (this.#text[this.#at] === '[') {
      this.#at++;
      argument =
        this.#quoted() ?? this.#take(/[^\s[\]"']+/y) ?? this.#fail('the argument of the field is expected here');
      if (!this.#symbol(']')) this.#fail(`"]" is expected here, not ${this.#next()}`);
    }
    return { name, argument, transformers: [] };
  }

  #check(field: FalcoField, start: number): FalcoCheck {
    this.#blank();
    const op =
      SYMBOLS.find((symbol) => this.#text.startsWith(symbol, this.#at)) ??
      WORDS.find((word) => new RegExp(`${word}(?![\\w.])`, 'y').test(this.#text.slice(this.#at)));
    if (!op) return this.#fail(`an operator is expected here, one of ${[...SYMBOLS, ...WORDS].join(' ')}`);
    this.#at += op.length;
    const made = (values: readonly FalcoValue[], other: FalcoField | null = null): FalcoCheck => ({
      kind: 'check',
      field,
      op,
      values,
      other,
      start,
      end: this.#at,
    });
    if (op === 'exists') return made([]);
    this.#blank();
    // A field on the right is in a function: val(proc.name), tolower(proc.name).
    const other = /[a-z]\w*\(/y.test(this.#text.slice(this.#at)) ? this.#field() : null;
    if (other) return made([], other);
    return made(LISTS.has(op) && this.#symbol('(') ? this.#items() : [this.#value()]);
  }

  #items(): FalcoValue[] {
    const items: FalcoValue[] = [];
    while (!this.#symbol(')')) {
      if (items.length > 0 && !this.#symbol(',')) this.#fail(`"," or ")" is expected here, not ${this.#next()}`);
      items.push(this.#value());
    }
    return items;
  }

  #value(): FalcoValue {
    this.#blank();
    const quoted = this.#quoted();
    if (quoted !== null) return { text: quoted, quoted: true };
    const bare = this.#take(/[^\s(),="']+/y);
    return bare === null ? this.#fail(`a value is expected here, not ${this.#next()}`) : { text: bare, quoted: false };
  }

  #quoted(): string | null {
    const found = this.#take(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'/sy);
    if (found === null && /["']/.test(this.#text[this.#at] ?? '')) this.#fail('the quote is not closed');
    return found === null ? null : unescaped(found.slice(1, -1));
  }

  #word(word: string): boolean {
    this.#blank();
    return this.#take(new RegExp(`${word}(?![\\w.\\[])`, 'y')) !== null;
  }

  #symbol(symbol: string): boolean {
    this.#blank();
    if (!this.#text.startsWith(symbol, this.#at)) return false;
    this.#at += symbol.length;
    return true;
  }

  #close(): void {
    if (!this.#symbol(')'))
      this.#fail(`")" is expected here, ${this.#next() === '' ? 'but the condition ends' : `not ${this.#next()}`}`);
  }

  #take(pattern: RegExp, accepts: (found: string) => boolean = () => true): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined || !accepts(found)) return null;
    this.#at += found.length;
    return found;
  }

  #blank(): void {
    this.#take(/\s*/y);
  }

  #next(): string {
    const rest = /^\s*(\S{1,20})/.exec(this.#text.slice(this.#at))?.[1];
    return rest === undefined ? '' : JSON.stringify(rest);
  }

  #fail(message: string): never {
    this.#blank();
    const word = /^\S{1,20}/.exec(this.#text.slice(this.#at))?.[0] ?? '';
    throw errorAt(this.#where, this.#text, { start: this.#at, end: this.#at + word.length }, message);
  }
}
