import { readFileSync } from 'node:fs';
import { isNode, LineCounter, parseDocument, type Document } from 'yaml';
import { EunomiaError, messageOf, suggest } from '../../errors.js';

export type Path = readonly (string | number)[];
type Fields = Readonly<Record<string, unknown>>;

const MAX_BYTES = 1 << 20;

/** A configuration file in YAML (and so in JSON, too) that knows on which line each of its values is. */
export class ConfigFile {
  readonly value: unknown;
  readonly #name: string;
  readonly #document: Document;
  readonly #lines = new LineCounter();

  /** `name` is what messages call the file. Throws BAD_METRICS_CONFIG for text that is no YAML. */
  constructor(name: string, text: string) {
    this.#name = name;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, uniqueKeys: true });
    const [error] = this.#document.errors;
    if (error) throw this.#error(error.pos[0], error.message.replace(/\s+$/, ''));
    try {
      this.value = this.#document.toJS({ maxAliasCount: 100 });
    } catch (failure) {
      throw this.#error(0, messageOf(failure));
    }
  }

  static read(path: string): ConfigFile {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      throw new EunomiaError('BAD_METRICS_CONFIG', `--metrics-config ${path}: cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
    if (text.length > MAX_BYTES)
      throw new EunomiaError('BAD_METRICS_CONFIG', `--metrics-config ${path}: is larger than 1 MiB`);
    return new ConfigFile(path, text);
  }

  /** An error at a value, or where it would be: "FILE:LINE:COLUMN: metrics[0].type: message". */
  fail(path: Path, message: string): EunomiaError {
    for (let length = path.length; length >= 0; length--) {
      const node: unknown = length ? this.#document.getIn(path.slice(0, length), true) : this.#document.contents;
      if (isNode(node) && node.range)
        return this.#error(node.range[0], `${textOf(path)}${path.length ? ': ' : ''}${message}`);
    }
    return this.#error(0, `${textOf(path)}: ${message}`);
  }

  /** Runs a check that throws errors of ours, and gives them the place of the file. `within` cuts the argument's path out of the message. */
  at<Value>(path: Path, check: () => Value): Value {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof EunomiaError) || error.code === 'BAD_METRICS_CONFIG') throw error;
      throw this.fail(path, error.message);
    }
  }

  /** The fields of an object, none of them unknown. */
  fields(value: unknown, path: Path, known: readonly string[]): Fields {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw this.fail(path, `is to be a mapping with ${known.join(', ')}`);
    for (const name of Object.keys(value)) {
      if (!known.includes(name))
        throw this.fail(
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

  #error(offset: number, message: string): EunomiaError {
    const { line, col } = this.#lines.linePos(offset);
    return new EunomiaError(
      'BAD_METRICS_CONFIG',
      `${this.#name}:${Math.max(1, line)}:${Math.max(1, col)}: ${message}`,
      { details: { file: this.#name, line, column: col } },
    );
  }
}

function textOf(path: Path): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i ? `.${part}` : part)).join('');
}
