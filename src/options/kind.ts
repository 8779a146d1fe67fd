import { resolve } from 'node:path';

/** Why a value is refused; the caller knows where it stands. Never holds a secret. */
export class WrongValue extends Error {
  /** The element of a list that is wrong; null when it is the whole value. */
  readonly element: number | null;
  /** Of a list, what is wrong with further elements. */
  readonly more: readonly WrongValue[];

  constructor(message: string, element: number | null = null, more: readonly WrongValue[] = []) {
    super(message);
    this.element = element;
    this.more = more;
  }
}

/** A kind of value: how it is written as a flag or variable, and in a configuration file. Both throw WrongValue. */
export interface SettingKind<T> {
  /** As `--help` shows it; null for a switch, which takes none. */
  readonly placeholder: string | null;
  /** What a value may be, as the documentation says it. */
  readonly right: string;
  /** A flag may be given several times. */
  readonly repeatable?: true;
  /** A flag's texts are separated by commas as well. Those of a variable always are. */
  readonly commas?: true;
  parse(text: string): T;
  /** All texts of a repeatable flag. */
  parseAll?(texts: readonly string[]): T;
  /** A value of a file; relative paths are resolved from `folder`. */
  read(value: unknown, folder: string): T;
}

const UNITS: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const SPANS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Characters of a wrong value that a message repeats. */
const SHOWN = 60;

/** Any text but the empty one, which a check passes on or refuses with a WrongValue. */
export function text(placeholder: string, right: string): SettingKind<string>;
export function text<T>(placeholder: string, right: string, check: (value: string) => T): SettingKind<T>;
export function text(
  placeholder: string,
  right: string,
  check = (value: string): unknown => value,
): SettingKind<unknown> {
  const filled = (value: unknown): string => (typeof value === 'string' && value !== '' ? value : refuse(value, right));
  return { placeholder, right, parse: (value) => check(filled(value)), read: (value) => check(filled(value)) };
}

/** A text that messages never show, because it is a secret or may hold one. A check refuses it with a WrongValue. */
export function secret(placeholder: string): SettingKind<string>;
export function secret<T>(placeholder: string, right: string, check: (value: string) => T): SettingKind<T>;
export function secret(
  placeholder: string,
  right = 'a text that is not empty',
  check = (value: string): unknown => value,
): SettingKind<unknown> {
  const read = (value: unknown): unknown =>
    typeof value === 'string' && value !== '' ? check(value) : fail(`is not ${right}; put a text of digits in quotes`);
  return { placeholder, right, parse: read, read };
}

/** A file or folder; one that a configuration file names is relative to that file. `word`: a text that is not a path. */
export function path(placeholder = '<file>', word: string | null = null): SettingKind<string> {
  const kind = text(placeholder, word === null ? 'a path' : `a path, or "${word}"`);
  return {
    ...kind,
    read(value, folder) {
      const own = kind.read(value, folder);
      return own === word ? own : resolve(folder, own);
    },
  };
}

export function whole(least: number, most: number): SettingKind<number> {
  const right = `a whole number from ${least} to ${most}`;
  const fits = (value: unknown): value is number =>
    Number.isInteger(value) && Number(value) >= least && Number(value) <= most;
  return {
    placeholder: '<number>',
    right,
    parse: (value) => (/^\d{1,15}$/.test(value) && fits(Number(value)) ? Number(value) : refuse(value, right)),
    read: (value) => (fits(value) ? value : refuse(value, right)),
  };
}

/** Bytes: "10GiB". A file may have a number of bytes as well. */
export function size(least: number, most: number | null = null): SettingKind<number> {
  const range = `of at least ${sizeText(least)}${most === null ? '' : ` and at most ${sizeText(most)}`}`;
  const right = `a size ${range}, for example 500MiB or 10GiB`;
  const parse = (value: string): number => {
    const [, number, unit = ''] = /^(\d{1,15}(?:\.\d{1,9})?)(KiB|MiB|GiB|TiB)?$/.exec(value) ?? [];
    const bytes = Math.floor(Number(number) * (unit === '' ? 1 : (UNITS[unit] ?? Number.NaN)));
    return bytes >= least && bytes <= (most ?? Number.MAX_SAFE_INTEGER) ? bytes : refuse(value, right);
  };
  return {
    placeholder: '<size>',
    right,
    parse,
    read: (value) =>
      typeof value === 'number' || typeof value === 'string' ? parse(`${value}`) : refuse(value, right),
  };
}

/** The same, and 0 for none at all. */
export function sizeOrNone(least: number): SettingKind<number> {
  const { placeholder, right, parse, read } = size(least);
  const rightOrNone = `${right}, or 0`;
  const or = <From>(from: (value: From) => number, value: From): number => {
    try {
      return `${value}` === '0' ? 0 : from(value);
    } catch {
      return refuse(value, rightOrNone);
    }
  };
  return {
    placeholder,
    right: rightOrNone,
    parse: (value) => or(parse, value),
    read: (value, where) => or((one: unknown) => read(one, where), value),
  };
}

/** Milliseconds: "500ms", "5s", "12h", "30d". */
export function time(least: number, most: number, example: string): SettingKind<number> {
  const right = `a time from ${timeText(least)} to ${timeText(most)}, for example ${example}`;
  const parse = (value: unknown): number => {
    const [, number, unit = ''] = (typeof value === 'string' && /^(\d{1,9})(ms|s|m|h|d)$/.exec(value)) || [];
    const ms = Number(number) * (SPANS[unit] ?? Number.NaN);
    return ms >= least && ms <= most ? ms : refuse(value, right);
  };
  return { placeholder: '<time>', right, parse, read: parse };
}

/** One of some words. A file may have a number where a word consists of digits. */
export function choice<const T extends string>(values: readonly T[], placeholder: string): SettingKind<T> {
  const right = `one of ${values.join(', ')}`;
  const check = (value: unknown): T => values.find((each) => each === value) ?? refuse(value, right);
  return { placeholder, right, parse: check, read: (value) => check(typeof value === 'number' ? `${value}` : value) };
}

/** On or off. As a variable: true or false, 1 or 0. */
export function onOff(): SettingKind<boolean> {
  const right = 'true or false';
  return {
    placeholder: null,
    right,
    parse(value) {
      const word = value.trim().toLowerCase();
      return word === 'true' || word === '1' || (word === 'false' || word === '0' ? false : refuse(value, right));
    },
    read: (value) => (typeof value === 'boolean' ? value : refuse(value, right)),
  };
}

/** Several: a repeatable flag, commas in a variable, a list in a file. */
export function list<T>(element: SettingKind<T>, options: { readonly commas?: true } = {}): SettingKind<readonly T[]> {
  const right = `a list, each ${element.right}`;
  const parseAll = (texts: readonly string[]): readonly T[] => texts.map((each) => element.parse(each));
  return {
    ...options,
    placeholder: element.placeholder,
    right,
    repeatable: true,
    parseAll,
    parse: (value) => parseAll(splitList(value)),
    read(value, folder) {
      if (!Array.isArray(value)) return fail(`is not ${right}`);
      const wrong: WrongValue[] = [];
      const values = value.flatMap((each: unknown, i): T[] => {
        try {
          return [element.read(each, folder)];
        } catch (error) {
          if (!(error instanceof WrongValue)) throw error;
          wrong.push(new WrongValue(error.message, i));
          return [];
        }
      });
      const [first, ...more] = wrong;
      if (first) throw new WrongValue(first.message, first.element, more);
      return values;
    },
  };
}

/** The parts of a text that are separated by commas. */
export function splitList(value: string): readonly string[] {
  return value
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
}

export function fail(message: string): never {
  throw new WrongValue(message);
}

/** A size as a setting is written: "16MiB". */
export function sizeText(bytes: number): string {
  const [unit, factor] = Object.entries(UNITS).findLast(([, each]) => bytes >= each && bytes % each === 0) ?? ['', 1];
  return `${bytes / factor}${unit}`;
}

/** A time as a setting is written: "5s". */
export function timeText(ms: number): string {
  const [unit, factor] = Object.entries(SPANS).findLast(([, each]) => ms >= each && ms % each === 0) ?? ['ms', 1];
  return `${ms / factor}${unit}`;
}

function refuse(value: unknown, right: string): never {
  const shown = value === undefined ? 'nothing' : (JSON.stringify(value) ?? String(value));
  return fail(`${shown.length > SHOWN ? `${shown.slice(0, SHOWN)}…` : shown} is not ${right}`);
}
