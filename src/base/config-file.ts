import type { ErrorCode } from './error-code.js';
import { formatDuration, parseDuration } from './duration.js';
import { EunomiaError, messageOf, suggest } from './errors.js';
import { readTrusted, type FileKind } from './file.js';
import { finish, type Work } from './turn.js';
import { parsingYaml, type ParsedYaml, type YamlPlace } from './yaml.js';

export type Path = readonly (string | number)[];
type Fields = Readonly<Record<string, unknown>>;
/** Errors of one file that are told. */
const MOST_ERRORS = 50;
/** Errors of one list, behind which it is not looked at: each takes microseconds, and a list may have 100,000 items. */
const MOST_OF_LIST = 1000;

/** What a file configures: the code of its errors, and the setting that names it. */
export interface ConfigFileKind {
  readonly code: ErrorCode;
  readonly setting: string;
}

/** A configuration file in YAML (and so in JSON, too) that knows on which line each of its values is. */
export class ConfigFile {
  readonly value: unknown;
  readonly name: string;
  readonly #code: ErrorCode;
  readonly #text: string;
  readonly #place: YamlPlace | null;
  /** Where its lines begin, once an error is told. */
  #lines: readonly number[] | null = null;

  /** `name` is what messages call the file. Throws an error of the code for text that is not YAML, or has a tag of its own. */
  constructor(name: string, text: string, code: ErrorCode, { value, place, errors }: ParsedYaml) {
    this.name = name;
    this.#text = text;
    this.#code = code;
    this.#place = place;
    throwAll(errors.map(({ at, message }) => this.#error(at, message)));
    this.value = value;
  }

  /** As the constructor, of text that is not parsed yet. */
  static *of(name: string, text: string, code: ErrorCode): Work<ConfigFile> {
    return new ConfigFile(name, text, code, yield* parsingYaml(text));
  }

  /** Reads a file that others can neither write nor replace; of SECRET, nor read. Throws an error of the code. */
  static read(path: string, { code, setting }: ConfigFileKind, trust: FileKind = 'CONFIG'): ConfigFile {
    let text: string;
    try {
      text = readTrusted(path, trust).toString();
    } catch (error) {
      throw new EunomiaError(
        code,
        error instanceof EunomiaError
          ? `${setting} ${error.message}`
          : `${setting} ${path}: cannot be read: ${messageOf(error)}`,
        { cause: error },
      );
    }
    return finish(ConfigFile.of(path, text, code));
  }

  /** An error at a value, or where it would be: "FILE:LINE:COLUMN: metrics[0].type: message". */
  fail(path: Path, message: string): EunomiaError {
    const text = `${textOf(path)}${path.length ? ': ' : ''}${message}`;
    return this.#error(this.#nearest(path)?.at ?? 0, text);
  }

  /** As `fail`, at a key instead of its value. */
  failKey(path: Path, message: string): EunomiaError {
    const { keys = {} } = this.#nearest(path.slice(0, -1)) ?? {};
    const name = String(path.at(-1));
    const at = Object.hasOwn(keys, name) ? keys[name] : undefined;
    return at === undefined ? this.fail(path, message) : this.#error(at, `${textOf(path)}: ${message}`);
  }

  /**
   * Runs a check that throws errors of ours, and gives them the place of the file. `within` cuts the argument's path
   * out of the message.
   */
  at<Value>(path: Path, check: () => Value): Value {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof EunomiaError) || error.code === this.#code) throw error;
      throw this.fail(path, error.message);
    }
  }

  /** What is made of each item. Throws what is wrong with any of them at once. */
  each<Item, Made>(items: readonly Item[], make: (item: Item, index: number) => Made): Made[] {
    const errors: EunomiaError[] = [];
    const made = items.flatMap((item, i): Made[] => {
      if (errors.length >= MOST_OF_LIST) return [];
      try {
        return [make(item, i)];
      } catch (error) {
        if (!(error instanceof EunomiaError) || error.code !== this.#code) throw error;
        errors.push(error);
        return [];
      }
    });
    throwAll(errors);
    return made;
  }

  /** The fields of an object, none of them unknown. */
  fields(value: unknown, path: Path, known: readonly string[]): Fields {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw this.fail(path, `is to be a mapping with ${known.join(', ')}`);
    for (const name of Object.keys(value)) {
      if (!known.includes(name))
        throw this.failKey(
          [...path, name],
          `there is no such setting${suggest(name, known)}; there are ${known.join(', ')}`,
        );
    }
    return value as Fields;
  }

  list(value: unknown, path: Path): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw this.fail(path, 'is to be a list');
    return value;
  }

  text(value: unknown, path: Path, example: string): string {
    if (typeof value === 'string' && value !== '') return value;
    throw this.fail(path, `${value === undefined ? 'is missing' : 'is to be a text'}, for example ${example}`);
  }

  /** One of these words. */
  oneOf<Word extends string>(value: unknown, path: Path, words: readonly Word[]): Word {
    const word = words.find((one) => one === value);
    if (word !== undefined) return word;
    const near = typeof value === 'string' ? suggest(value, words) : '';
    throw this.fail(path, `${value === undefined ? 'is missing; give' : 'is to be'} ${words.join(', ')}${near}`);
  }

  /** A whole number in a range. */
  whole(value: unknown, path: Path, min: number, max: number): number {
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.fail(path, `is to be a whole number from ${min} to ${max}`);
  }

  /** A duration in a range, in whole milliseconds. */
  duration(value: unknown, path: Path, minMs: number, maxMs: number): number {
    const ms = typeof value === 'string' ? parseDuration(value) : null;
    if (ms !== null && Number.isInteger(ms) && ms >= minMs && ms <= maxMs) return ms;
    const [from, to] = [formatDuration(minMs), formatDuration(maxMs)];
    throw this.fail(path, `is to be a duration from "${from}" to "${to}", for example "60s"`);
  }

  /** Of the value at a path, or of what is to have it. */
  #nearest(path: Path): YamlPlace | null {
    let place = this.#place;
    for (const part of path) {
      const { of = {} } = place ?? {};
      const next = Object.hasOwn(of, part) ? (Reflect.get(of, part) as YamlPlace) : null;
      if (!next) break;
      place = next;
    }
    return place;
  }

  #error(offset: number, message: string): EunomiaError {
    this.#lines ??= linesOf(this.#text);
    let line = 0;
    for (let end = this.#lines.length; line < end;) {
      const middle = (line + end) >> 1;
      if ((this.#lines[middle] ?? 0) <= offset) line = middle + 1;
      else end = middle;
    }
    const column = offset - (this.#lines[line - 1] ?? 0) + 1;
    const at = { file: this.name, line, column };
    return new EunomiaError(this.#code, `${at.file}:${at.line}:${at.column}: ${message}`, { details: at });
  }
}

/**
 * Throws these errors of one file as one, a line each in the order of their places; nothing where there are none. Its details are the
 * first's.
 */
export function throwAll(errors: readonly EunomiaError[]): void {
  const place = ({ details }: EunomiaError): number => Number(details['line']) * 1e6 + Number(details['column']);
  const sorted = [...errors].sort((a, b) => place(a) - place(b));
  const [first] = sorted;
  if (!first) return;
  if (sorted.length === 1) throw first;
  const texts = [...new Set(sorted.map(({ message }) => message))];
  const more = texts.length - MOST_ERRORS;
  const rest = sorted.length < MOST_OF_LIST ? `and ${more} more errors` : 'and many more errors';
  const shown = more > 0 ? [...texts.slice(0, MOST_ERRORS), rest] : texts;
  throw new EunomiaError(first.code, shown.join('\n'), { details: first.details });
}

/** Where each line begins. */
function linesOf(text: string): readonly number[] {
  const starts = [0];
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) starts.push(end + 1);
  return starts;
}

function textOf(path: Path): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i ? `.${part}` : part)).join('');
}
