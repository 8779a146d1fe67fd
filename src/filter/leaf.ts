import type { TraceEvent } from '../event.js';
import type { PushedField } from '../trackers/define.js';
import { compare, or, type Any, type Comparison, type Filter } from './ast.js';
import { compileFilter } from './compile.js';
import {
  bits,
  isSingle,
  MAX,
  MIN,
  noBits,
  numbers,
  others,
  prefixes,
  type Bits,
  type Domain,
  type Numbers,
  type Prefixes,
  type Range,
} from './domain.js';
import type { FilterFields } from './field.js';
import { addressBits } from './pattern.js';

/** What one comparison leaves of a field's values, and a filter that says so. */
export interface Leaf {
  readonly domain: Domain;
  readonly shown: Filter;
}

/** The values with which the comparison, or its negation, can be true; null when the kernel has no means to tell. */
export function leafOf(
  filter: Comparison | Any,
  field: PushedField,
  negated: boolean,
  fields: FilterFields,
  tracker: string,
): Leaf | null {
  const shown: Filter = negated ? { kind: 'not', filter } : filter;
  if (filter.kind === 'any') {
    const domain = field.kind === 'bits' ? bitsOf(filter.filter, field, negated) : null;
    return domain && { domain, shown };
  }
  if (filter.type === 'length') return null;
  switch (field.kind) {
    case 'number':
      return { domain: numbersOf(filter, field.null, negated), shown };
    case 'code':
      return { domain: codesOf(filter, field, negated, fields, tracker), shown };
    case 'text':
      return textOf(filter, field.bytes, negated);
    case 'address': {
      const domain = addressesOf(filter, negated);
      return domain && { domain, shown };
    }
    case 'bits':
      return null;
  }
}

function listOf({ value }: Comparison): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [value];
}

function numbersOf(filter: Comparison, nullCode: number | undefined, negated: boolean): Numbers {
  const none: Range[] = nullCode === undefined ? [] : [[BigInt(nullCode), BigInt(nullCode)]];
  const isNull = filter.op === 'isNull';
  const compared = isNull ? none : numbers(rangesOf(filter)).ranges;
  // A comparison with a null is false, its negation true.
  const refused = isNull ? others(compared) : numbers([...others(compared), ...none]).ranges;
  return numbers((isNull && filter.value === false) !== negated ? refused : others(refused));
}

function rangesOf(filter: Comparison): Range[] {
  const [first = 0n] = listOf(filter).map((value) => BigInt(String(value)));
  switch (filter.op) {
    case 'eq':
      return clamp(first, first);
    case 'in':
      return listOf(filter).flatMap((value) => clamp(BigInt(String(value)), BigInt(String(value))));
    case 'ne':
      return others(clamp(first, first));
    case 'lt':
      return clamp(MIN, first - 1n);
    case 'lte':
      return clamp(MIN, first);
    case 'gt':
      return clamp(first + 1n, MAX);
    case 'gte':
      return clamp(first, MAX);
    default:
      return [[MIN, MAX]];
  }
}

/** A constant beyond the kernel's 63 bits is beyond all values. */
function clamp(from: bigint, to: bigint): Range[] {
  const [low, high] = [from < MIN ? MIN : from, to > MAX ? MAX : to];
  return low <= high ? [[low, high]] : [];
}

/** Names by their codes; else each code is judged as its event would be, so that any operator can be pushed. */
function codesOf(
  filter: Comparison,
  { max, codeOf, read }: Extract<PushedField, { kind: 'code' }>,
  negated: boolean,
  fields: FilterFields,
  tracker: string,
): Numbers {
  if (codeOf && (filter.op === 'eq' || filter.op === 'ne' || filter.op === 'in')) {
    const named = numbers(
      listOf(filter).flatMap((value): Range[] => {
        const code = codeOf(String(value));
        return code === null || read(code) !== value ? [] : [[BigInt(code), BigInt(code)]];
      }),
    );
    return (filter.op === 'ne') === negated ? named : numbers(others(named.ranges));
  }
  const matches = compileFilter(filter, fields, [tracker]);
  const ranges: Range[] = codeOf ? [[BigInt(max) + 1n, MAX]] : [];
  for (let code = 0; code <= max; code++) {
    const event: unknown = { tracker, [filter.path]: read(code) };
    if (matches(event as TraceEvent) !== negated) ranges.push([BigInt(code), BigInt(code)]);
  }
  return numbers(ranges, !codeOf);
}

function bitsOf(
  filter: Filter,
  { bitsOf: find }: Extract<PushedField, { kind: 'bits' }>,
  negated: boolean,
): Bits | null {
  if (filter.kind !== 'comparison' || filter.op !== 'eq') return null;
  const found = find(String(filter.value));
  if (!found) return null;
  const { mask, value, exact } = found;
  if (!negated) return bits(mask, value, exact);
  if (!exact) return null;
  return mask === 0 ? noBits : isSingle(mask) ? bits(mask, value ^ mask, true) : null;
}

// Texts

const encoder = new TextEncoder();

/** As bytes that the kernel can compare; null for what decoding may have made of other bytes, or that no text has. */
function bytesOf(text: string): Uint8Array | null {
  return text.includes('\uFFFD') || text.includes('\0') ? null : encoder.encode(text);
}

function textOf(filter: Comparison, size: number, negated: boolean): Leaf | null {
  const { path, type, op } = filter;
  if (op === 'isNull') return null;
  const beginning =
    op === 'prefix'
      ? String(filter.value)
      : op === 'glob'
        ? globStart(String(filter.value))
        : op === 'regex'
          ? regexStart(String(filter.value))
          : null;
  const whole = op === 'eq' || op === 'in' || op === 'ne';
  if (!whole && !beginning) return null;
  const texts = whole ? listOf(filter).map(String) : [beginning ?? ''];
  const keys: string[] = [];
  let exact = op !== 'glob' && op !== 'regex';
  const shown: Filter[] = [];
  for (const text of texts) {
    const bytes = bytesOf(text);
    if (!bytes) return null;
    const key = whole ? Uint8Array.of(...bytes, 0) : bytes;
    const fits = key.length <= size;
    exact &&= fits;
    keys.push(binary(key.subarray(0, size)));
    shown.push(
      fits
        ? compare(path, type, whole ? 'eq' : 'prefix', text)
        : compare(path, type, 'prefix', new TextDecoder().decode(key.subarray(0, size)).replace(/\uFFFD$/, '')),
    );
  }
  // "ne" is false for a null, and its negation true.
  const inverse = (op === 'ne') !== negated;
  if (inverse && !exact) return null;
  const said: Filter = negated ? { kind: 'not', filter } : filter;
  return { domain: { ...prefixes(keys, negated, exact), negated: inverse }, shown: exact ? said : or(shown) };
}

/** What every text begins with that the glob matches. */
function globStart(glob: string): string {
  return /^[^*?[{\\]*/.exec(glob)?.[0] ?? '';
}

/** The same of a regular expression that is bound to the start: its literal characters, less one that is repeated or optional. */
function regexStart(source: string): string {
  if (!source.startsWith('^') || source.includes('|')) return '';
  const literal = [...(/^\^([^\\.+*?()[\]{}^$]*)/u.exec(source)?.[1] ?? '')];
  const next = source.charAt(1 + literal.join('').length);
  return (next !== '' && '*?{+'.includes(next) ? literal.slice(0, -1) : literal).join('');
}

function binary(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
}

// Addresses

const MAPPED = `${'0'.repeat(80)}${'1'.repeat(16)}`;

function addressesOf(filter: Comparison, negated: boolean): Prefixes | null {
  if (filter.op === 'isNull') {
    const isNull = (filter.value === true) !== negated;
    return isNull ? prefixes([], true) : { ...prefixes([], false), negated: true };
  }
  if (!['eq', 'ne', 'in', 'cidr'].includes(filter.op)) return null;
  const keys = listOf(filter).map((value) => addressBits(String(value)));
  // A short network of IPv6 holds the mapped addresses, which are IPv4's and not its.
  const exact = !keys.some((key) => key.length < MAPPED.length && MAPPED.startsWith(key));
  const inverse = (filter.op === 'ne') !== negated;
  if (inverse && !exact) return null;
  return { ...prefixes(keys, negated, exact), negated: inverse };
}
