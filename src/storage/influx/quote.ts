import { toFluxValue } from '@influxdata/influxdb-client';
import { EunomiaError } from '../../base/errors.js';

/**
 * The only place where a text becomes part of a query. Nothing that a client or a watched process wrote reaches
 * InfluxQL, Flux or SQL in any other way, and no pattern of a client ever does: RE2 and the scanners of the query languages
 * disagree about where a pattern ends (`\Qx\` is a whole pattern to RE2; to InfluxQL its backslash hides the closing
 * slash).
 */

// The scanner of InfluxQL reads "\r" as a line end, which ends a text, and NUL as the end of the query; a half of a
// surrogate pair has no UTF-8. oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const UNSAYABLE = /[\r\0]|\p{Surrogate}/u;

/** A text of InfluxQL; null for one that the language cannot express. */
export function influxqlText(text: string): string | null {
  return UNSAYABLE.test(text) ? null : `'${text.replace(/[\\']/g, '\\$&').replaceAll('\n', '\\n')}'`;
}

/** The name of a column, a measurement or a database of InfluxQL. Throws for a name that the language cannot express. */
export function influxqlName(name: string): string {
  if (UNSAYABLE.test(name))
    throw new EunomiaError(
      'BAD_USER_INPUT',
      `${JSON.stringify(name)} is no name in InfluxQL; it may not hold line ends, NUL or halves of surrogate pairs`,
    );
  return `"${name.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')}"`;
}

/**
 * A regular expression of InfluxQL, between slashes. `pattern` comes from `matchingPattern`, which writes no slash and
 * no backslash that could hide one.
 */
export function influxqlRegex(pattern: Pattern): string {
  return `/${pattern}/`;
}

/** A text of Flux; null for one that has no UTF-8. */
export function fluxText(text: string): string | null {
  // The client's library escapes quotes, backslashes, line ends and `${`.
  return UNSAYABLE.test(text) ? null : toFluxValue(text);
}

/** A text that is ours or the operator's. Throws where `fluxText` returns null. */
export function fluxName(text: string): string {
  const quoted = fluxText(text);
  if (quoted === null)
    throw new EunomiaError(
      'BAD_USER_INPUT',
      `${JSON.stringify(text)} is no text in Flux; it may not hold carriage returns, NUL or halves of surrogate pairs`,
    );
  return quoted;
}

/** A text of the delete API's predicate, which has no escape but this one. Null for a text that it cannot express. */
export function predicateText(text: string): string | null {
  return UNSAYABLE.test(text) || /[\\\n]/.test(text) ? null : `"${text.replaceAll('"', '\\"')}"`;
}

/** The name of a table or a column of SQL. Names are ours, or the database's own. */
export function sqlName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A regular expression of SQL: it has no quote. */
export function sqlRegex(pattern: Pattern): string {
  return `'${pattern}'`;
}

/** The texts of one query of SQL, which are sent beside it. */
export class SqlTexts {
  readonly #values = new Map<string, string>();

  /** What stands for the text in the query; null for a text that has no UTF-8. */
  add(text: string): string | null {
    if (UNSAYABLE.test(text)) return null;
    const name = this.#values.get(text) ?? `t${this.#values.size}`;
    this.#values.set(text, name);
    return `$${name}`;
  }

  /** Those that stand in a query: of a condition that nothing depends on, none is left. */
  of(query: string): Readonly<Record<string, string>> {
    const used = new Set(query.match(/\$t\d+/g));
    return Object.fromEntries(
      [...this.#values].flatMap(([text, name]) => (used.has(`$${name}`) ? [[name, text]] : [])),
    );
  }
}

/** A regular expression that we wrote: letters and digits, and of all other characters only our operators and `\x{…}`. */
export type Pattern = string & { readonly _brand: 'pattern' };

/** Any characters, or any one of them as it is stored (line.ts). */
export const ANY = Symbol('any');
export const ONE = Symbol('one');

export interface Shape {
  /** Whether the text begins with the first part, and ends with the last one. */
  readonly fromStart: boolean;
  readonly toEnd: boolean;
  readonly parts: readonly (string | typeof ANY | typeof ONE)[];
}

/** RE2, as Go has it, for texts of this shape. Null for parts that have no UTF-8. */
export function matchingPattern({ fromStart, toEnd, parts }: Shape): Pattern | null {
  if (parts.some((part) => typeof part === 'string' && UNSAYABLE.test(part))) return null;
  const inner = parts
    .map((part) => (part === ANY ? '.*' : part === ONE ? `(?:\\x{2426}.|[^\\x{2426}])` : escaped(part)))
    .join('');
  return `${fromStart ? '^' : ''}(?s:${inner})${toEnd ? '$' : ''}` as Pattern;
}

function escaped(text: string): string {
  return text.replace(/[^A-Za-z0-9]/gu, (character) => `\\x{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
