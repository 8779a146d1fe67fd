import { fieldType, isEnumType, unitOf } from './scalar.js';

/**
 * A template for the one line that tells an event to a person, as `Tracker.details` has it:
 *
 * - `{path}` is the field's value. `{resolved|path}` is the first of these that has one.
 * - `{remoteAddress@remotePort}` is an address and its port, without the port where it is null.
 * - `{granted:granted:denied}` is one text if the field is true, and the other one if it is not; that may be left out.
 * - `{errors>0}` is the value if it is more than zero.
 * - `[…]` is left out where something between the brackets has no value: null, false, an empty text or list.
 *
 * A null outside of brackets is "?".
 */
export class DetailsTemplate {
  /** The fields that it reads, each once. */
  readonly fields: readonly string[];
  readonly #parts: readonly Part[];

  /** Throws a RangeError for a text that is none. */
  constructor(text: string) {
    this.#parts = parse(text);
    const read = this.#parts.flatMap((part) => (part.kind === 'OPTIONAL' ? part.parts : [part]));
    this.fields = [...new Set(read.flatMap((part) => (part.kind === 'FIELDS' ? part.fields : [])))];
  }

  /** `valueOf`: the value of a field as JSON has it, and its type as the schema prints it. */
  render(valueOf: (field: string) => { readonly value: unknown; readonly type: string }): string {
    const written = (parts: readonly Part[], otherwise: string | null): string | null => {
      let text = '';
      for (const part of parts) {
        const piece =
          part.kind === 'TEXT'
            ? part.text
            : part.kind === 'OPTIONAL'
              ? (written(part.parts, null) ?? '')
              : (textOf(part, valueOf) ?? otherwise);
        if (piece === null) return null;
        text += piece;
      }
      return text;
    };
    return (written(this.#parts, '?') ?? '')
      .replaceAll(/ {2,}/g, ' ')
      .replaceAll(/ (?=,)/g, '')
      .trim();
  }
}

type Placeholder = {
  readonly kind: 'FIELDS';
  /** The first one that has a value counts; of an address and its port both do. */
  readonly fields: readonly string[];
  readonly form:
    | { readonly as: 'VALUE' | 'ADDRESS' | 'POSITIVE' }
    | { readonly as: 'FLAG'; readonly yes: string; readonly no: string | null };
};
type Part =
  | { readonly kind: 'TEXT'; readonly text: string }
  | Placeholder
  | { readonly kind: 'OPTIONAL'; readonly parts: readonly Exclude<Part, { kind: 'OPTIONAL' }>[] };

function parse(text: string): readonly Part[] {
  const parts: Part[] = [];
  const wrong = (at: number): RangeError =>
    new RangeError(`${JSON.stringify(text)} is no template from character ${at + 1} on`);
  for (let at = 0; at < text.length;) {
    if (text[at] === '[') {
      const end = text.indexOf(']', at);
      const inner = end < 0 ? [] : parse(text.slice(at + 1, end));
      const flat = inner.flatMap((part) => (part.kind === 'OPTIONAL' ? [] : [part]));
      if (end < 0 || flat.length < inner.length) throw wrong(at);
      parts.push({ kind: 'OPTIONAL', parts: flat });
      at = end + 1;
      continue;
    }
    const [whole = '', plain, inside] = /^(?:([^[\]{}]+)|\{([^[\]{}]+)\})/.exec(text.slice(at)) ?? [];
    if (whole === '') throw wrong(at);
    const part = plain === undefined ? placeholder(inside ?? '') : ({ kind: 'TEXT', text: plain } as const);
    if (!part) throw wrong(at);
    parts.push(part);
    at += whole.length;
  }
  return parts;
}

function placeholder(text: string): Placeholder | null {
  const [, names = '', positive, yes, no] = /^([\w.|@]+)(>0)?(?::([^:]+)(?::([^:]+))?)?$/.exec(text) ?? [];
  const fields = names.split(names.includes('@') ? '@' : '|');
  if (names === '' || fields.includes('')) return null;
  const one = { kind: 'FIELDS', fields } as const;
  if (yes !== undefined) return { ...one, form: { as: 'FLAG', yes, no: no ?? null } };
  if (names.includes('@')) return fields.length === 2 ? { ...one, form: { as: 'ADDRESS' } } : null;
  return { ...one, form: { as: positive ? 'POSITIVE' : 'VALUE' } };
}

function textOf(
  { fields, form }: Placeholder,
  valueOf: (field: string) => { readonly value: unknown; readonly type: string },
): string | null {
  const values = fields.map((field) => ({ field, ...valueOf(field) }));
  const [first, second] = values;
  switch (form.as) {
    case 'FLAG':
      return first?.value === true ? form.yes : form.no;
    case 'ADDRESS':
      return addressText(first?.value, second?.value);
    case 'POSITIVE':
      return Number(first?.value ?? 0) > 0 && first ? valueText(first.field, first) : null;
    case 'VALUE': {
      const found = values.find(({ value }) => hasValue(value));
      return found ? valueText(found.field, found) : null;
    }
  }
}

function hasValue(value: unknown): boolean {
  return (
    value !== null && value !== undefined && value !== false && value !== '' && !(Array.isArray(value) && !value.length)
  );
}

function addressText(address: unknown, port: unknown): string | null {
  if (typeof address !== 'string') return null;
  if (typeof port !== 'number') return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** In the unit that a person reads; names of enumerations in lower case. */
function valueText(path: string, { value, type }: { readonly value: unknown; readonly type: string }): string {
  const unit = unitOf(path);
  const { list, column } = fieldType(type);
  if (Array.isArray(value))
    return value.map((item) => (isEnumType(type) ? nameText(String(item)) : shellWord(String(item)))).join(' ');
  if (!list && unit === 'NANOSECONDS' && column !== 'text') return durationText(BigInt(value as string));
  if (!list && unit === 'BYTES') return bytesText(Number(value));
  return isEnumType(type) ? nameText(String(value)) : String(value);
}

function nameText(name: string): string {
  return name.toLowerCase().replaceAll('_', ' ');
}

/** As one would type it in a shell, so that ["a b"] and ["a", "b"] look different. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const DURATIONS: readonly (readonly [unit: string, ns: number])[] = [
  ['d', 86_400e9],
  ['h', 3_600e9],
  ['min', 60e9],
  ['s', 1e9],
  ['ms', 1e6],
  ['µs', 1e3],
  ['ns', 1],
];
const SIZES: readonly (readonly [unit: string, bytes: number])[] = [
  ['TiB', 2 ** 40],
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
  ['B', 1],
];

/** "12 ms", "1.5 s": three digits at most, and never a unit of which it has less than one. */
export function durationText(ns: bigint): string {
  return scaled(Number(ns), DURATIONS);
}

export function bytesText(bytes: number): string {
  return scaled(bytes, SIZES);
}

function scaled(value: number, units: readonly (readonly [string, number])[]): string {
  const fits = units.findIndex(([, each]) => Math.abs(value) >= each);
  const at = fits < 0 ? units.length - 1 : fits;
  const [unit, size] = units[at] ?? ['', 1];
  const count = rounded(value / size, size === 1);
  const [larger, largerSize] = units[at - 1] ?? [unit, Number.POSITIVE_INFINITY];
  // 999.9 ms are rounded to 1 s, not to 1000 ms.
  return Math.abs(count) * size >= largerSize ? `${Math.sign(count)} ${larger}` : `${count} ${unit}`;
}

function rounded(count: number, whole: boolean): number {
  if (whole || Math.abs(count) >= 100) return Math.round(count);
  return Number(count.toPrecision(Math.abs(count) >= 10 ? 3 : 2));
}
