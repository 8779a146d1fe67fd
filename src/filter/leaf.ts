import { bytesOfText, textOfBytes } from '../base/bytes.js';
import type { TraceEvent } from '../event/event.js';
import type { PushedField } from '../tracker/define.js';
import { compare, or, type Any, type Comparison, type Filter } from './ast.js';
import { compileFilter } from './compile.js';
import {
  bits,
  both,
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

/** Computes the values of a field for which a comparison can be true, and a filter that matches exactly these. */
export interface Leaf {
  readonly domain: Domain;
  readonly shown: Filter;
}

/** Returns the values for which the comparison, or its negation, can be true; null if the kernel cannot evaluate it. */
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
  if (filter.type === 'length' || filter.type === 'joined' || filter.type === 'age') return null;
  switch (field.kind) {
    case 'number':
      return { domain: numbersOf(filter, field, negated), shown };
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

function numbersOf(
  filter: Comparison,
  { null: nullCode, min }: Extract<PushedField, { kind: 'number' }>,
  negated: boolean,
): Numbers {
  const none: Range[] = nullCode === undefined ? [] : [[BigInt(nullCode), BigInt(nullCode)]];
  const isNull = filter.op === 'isNull';
  const compared = isNull ? none : numbers(rangesOf(filter)).ranges;
  // A comparison with null is false, its negation is true.
  const refused = isNull ? others(compared) : numbers([...others(compared), ...none]).ranges;
  const taken = numbers((isNull && filter.value === false) !== negated ? refused : others(refused));
  if (min === undefined) return taken;
  // Impossible values may be excluded, so that `port < 1024` is a single range although null is below it.
  const possible = both(taken, numbers([[BigInt(min), MAX], ...none]));
  return possible.kind === 'numbers' && possible.ranges.length === 1 ? possible : taken;
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

/** Clamps a constant that exceeds the kernel's 63 bits, and therefore all values. */
function clamp(from: bigint, to: bigint): Range[] {
  const [low, high] = [from < MIN ? MIN : from, to > MAX ? MAX : to];
  return low <= high ? [[low, high]] : [];
}

/**
 * Translates names to codes. For other operators, evaluates the comparison for each code, so that any operator can be
 * pushed down.
 */
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
    if (filter.op !== 'ne') return negated ? numbers(others(named.ranges)) : named;
    // A null is not unequal to a name: the comparison is false for it.
    const nulls = Array.from({ length: max + 1 }, (_, code) => code).filter((code) => read(code) === null);
    const refused = numbers([...named.ranges, ...nulls.map((code): Range => [BigInt(code), BigInt(code)])]);
    return negated ? refused : numbers(others(refused.ranges));
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

/** Returns the bytes that the kernel compares; null for a text that no name can have. */
function bytesOf(text: string): Uint8Array | null {
  return text.includes('\0') ? null : bytesOfText(text);
}

/**
 * Returns the part of a prefix that is also a prefix of the name's bytes: how a backslash is escaped depends on what
 * follows it.
 */
function sureStart(text: string): string {
  const at = text.indexOf('\\');
  return at < 0 ? text : text.slice(0, at);
}

/** Returns the longest prefix of a text that fits into this many bytes. */
function startWithin(text: string, bytes: Uint8Array): string {
  let start = textOfBytes(bytes);
  while (!text.startsWith(start)) start = start.slice(0, -1);
  return sureStart(start);
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
  const start = sureStart(beginning ?? '');
  if (!whole && start === '') return null;
  const texts = whole ? listOf(filter).map(String) : [start];
  const keys: string[] = [];
  let exact = op !== 'glob' && op !== 'regex' && (whole || start === beginning);
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
        : compare(path, type, 'prefix', startWithin(text, key.subarray(0, size))),
    );
  }
  // "ne" is false for null, its negation is true.
  const inverse = (op === 'ne') !== negated;
  if (inverse && !exact) return null;
  const said: Filter = negated ? { kind: 'not', filter } : filter;
  if (negated) shown.push(compare(path, type, 'isNull', true));
  return { domain: { ...prefixes(keys, negated, exact), negated: inverse }, shown: exact ? said : or(shown) };
}

/** Returns the prefix of every text that the glob matches. */
function globStart(glob: string): string {
  return /^[^*?[{\\]*/.exec(glob)?.[0] ?? '';
}

/**
 * Returns the same for a regular expression anchored at the start: its literal characters, except for one that is
 * repeated or optional.
 */
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
  // A short IPv6 prefix includes the mapped addresses, which are IPv4 addresses and do not belong to it.
  const exact = !keys.some((key) => key.length < MAPPED.length && MAPPED.startsWith(key));
  const inverse = (filter.op === 'ne') !== negated;
  if (inverse && !exact) return null;
  return { ...prefixes(keys, negated, exact), negated: inverse };
}
