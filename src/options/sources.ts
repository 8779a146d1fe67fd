import { dirname } from 'node:path';
import { ConfigFile, throwAll, type Path } from '../base/config-file.js';
import { messageOf, suggest, type EunomiaError } from '../base/errors.js';
import { readTrusted } from '../base/file.js';
import { linesOf, type FileLine } from '../base/headers.js';
import { UsageError } from '../base/usage.js';
import { splitList, WrongValue } from './kind.js';
import { variableOf, type AnySetting, type Setting } from './setting.js';

/** What flags gave, by their names without dashes: texts, or true and false of a switch. */
export type FlagValues = ReadonlyMap<string, string | readonly string[] | boolean>;
export type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

type Origin =
  | { readonly from: 'flag' | 'variable'; readonly texts: string | readonly string[] | boolean }
  | { readonly from: 'file'; readonly value: unknown; readonly file: ConfigFile }
  | null;

/**
 * The values of settings: that of the flag, otherwise that of a variable that is not empty, otherwise that of the
 * configuration file, otherwise the default. One source gives the whole value: lists are not merged.
 */
export class SettingSources {
  readonly #flags: FlagValues;
  readonly #variables: EnvironmentVariables;
  readonly #file: ConfigFile | null;

  /** `file`: a configuration file that `openConfig` has read. */
  constructor(flags: FlagValues, variables: EnvironmentVariables, file: ConfigFile | null = null) {
    this.#flags = flags;
    this.#variables = variables;
    this.#file = file;
  }

  /** Throws a UsageError, or BAD_CONFIG with file, line and column, for a wrong value. */
  value<T, D>(setting: Setting<T, D>): T | D {
    const { kind } = setting;
    const origin = this.#origin(setting);
    if (origin === null) return setting.default;
    if (origin.from === 'file') return readKey(origin.file, setting, origin.value);
    const { texts } = origin;
    try {
      if (typeof texts === 'boolean') return kind.parse(String(texts));
      if (typeof texts === 'string') return kind.parse(texts);
      return kind.parseAll
        ? kind.parseAll(kind.commas ? texts.flatMap(splitList) : texts)
        : kind.parse(texts.at(-1) ?? '');
    } catch (error) {
      throw error instanceof WrongValue ? this.error(setting, error.message) : error;
    }
  }

  /** Where a value was set; null for a default. */
  from(setting: AnySetting): 'flag' | 'variable' | 'file' | null {
    return this.#origin(setting)?.from ?? null;
  }

  /** An error that tells where a value was set: the flag, the variable, or file, line and column. */
  error(setting: AnySetting, message: string): Error {
    const origin = this.#origin(setting);
    if (origin?.from === 'file') return origin.file.fail(pathOf(setting), message);
    if (origin?.from === 'variable') return new UsageError(`${variableOf(setting)}: ${message}`);
    const no = origin?.from === 'flag' && origin.texts === false ? 'no-' : '';
    return new UsageError(`--${no}${setting.flag}: ${message}`);
  }

  /** The lines of a file that only its owner and group may read, without comments and empty ones. */
  secretLines(setting: AnySetting, file: string): readonly FileLine[] {
    let text: string;
    try {
      text = readTrusted(file, 'SECRET').toString();
    } catch (error) {
      throw this.error(setting, messageOf(error));
    }
    return linesOf(text, file);
  }

  #origin(setting: AnySetting): Origin {
    const texts = this.#flags.get(setting.flag);
    if (texts !== undefined) return { from: 'flag', texts };
    const variable = this.#variables[variableOf(setting)];
    if (variable !== undefined && variable.trim() !== '') return { from: 'variable', texts: variable };
    if (!this.#file || setting.key === null) return null;
    const value = valueAt(this.#file.value, pathOf(setting));
    return value === undefined ? null : { from: 'file', value, file: this.#file };
  }
}

/**
 * Reads a configuration file: YAML, or JSON, with keys of the settings and no others. Each value is checked, also one that a flag or a
 * variable replaces. A file that holds a secret must be one that others cannot read. `given` names the setting that names the file. Throws
 * BAD_CONFIG with all that is wrong, each with line and column.
 */
export function openConfig(name: string, given: string, settings: readonly AnySetting[]): ConfigFile {
  const read = (trust: 'SETTINGS' | 'SECRET'): [ConfigFile, readonly AnySetting[]] => {
    const file = ConfigFile.read(name, { code: 'BAD_CONFIG', setting: given }, trust);
    // A key without a value is an error of its own.
    return [file, settings.filter((each) => valueAt(file.value, pathOf(each)) != null)];
  };
  const [, found] = read('SETTINGS');
  const [file, present] = read(found.some((each) => each.secret) ? 'SECRET' : 'SETTINGS');
  throwAll([
    ...wrongKeys(file, settings, file.value, []),
    ...present.flatMap((each) => wrongValues(file, each, valueAt(file.value, pathOf(each)))),
  ]);
  return file;
}

/** A value of a file that `openConfig` has checked. */
function readKey<T, D>(file: ConfigFile, setting: Setting<T, D>, value: unknown): T {
  return setting.kind.read(value, dirname(file.name));
}

function wrongValues(file: ConfigFile, setting: AnySetting, value: unknown): EunomiaError[] {
  try {
    readKey(file, setting, value);
    return [];
  } catch (error) {
    if (!(error instanceof WrongValue)) throw error;
    return [error, ...error.more].map(({ element, message }) =>
      file.fail([...pathOf(setting), ...(element === null ? [] : [element])], message),
    );
  }
}

function wrongKeys(file: ConfigFile, settings: readonly AnySetting[], value: unknown, path: Path): EunomiaError[] {
  if (value === null && path.length === 0) return []; // an empty file, or one of comments
  const prefix = path.map((part) => `${part}.`).join('');
  const below = settings.flatMap(({ key }) => (key?.startsWith(prefix) ? [key.slice(prefix.length)] : []));
  const known = [...new Set(below.map((key) => key.split('.')[0] ?? ''))];
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return [file.fail(path, `is not a mapping with ${known.join(', ')}`)];
  return Object.entries(value).flatMap(([name, inner]) => {
    const at = [...path, name];
    if (!known.includes(name))
      return [file.failKey(at, `there is no such setting${suggestion(name, known, settings)}`)];
    if (!below.includes(name)) return wrongKeys(file, settings, inner, at);
    return inner === null ? [file.failKey(at, 'has no value; give one, or leave the key out')] : [];
  });
}

/** The key of the flag with that name, a near name, or all that there are. */
function suggestion(name: string, known: readonly string[], settings: readonly AnySetting[]): string {
  const plain = (text: string): string => text.replace(/[-_]/g, '').toLowerCase();
  const flag = settings.find((each) => plain(each.flag) === plain(name) && each.key !== null);
  if (flag) return `; did you mean "${flag.key}"?`;
  const keys = settings.flatMap(({ key }) => key ?? []);
  return suggest(name, known) || suggest(name, keys) || `; there are ${known.join(', ')}`;
}

function pathOf({ key }: Pick<AnySetting, 'key'>): readonly string[] {
  return key?.split('.') ?? [];
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  let at = value;
  if (path.length === 0) return undefined;
  for (const part of path)
    at = typeof at === 'object' && at !== null && Object.hasOwn(at, part) ? Reflect.get(at, part) : undefined;
  return at;
}
