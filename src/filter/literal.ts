import { parseDuration } from '../base/duration.js';
import { suggest } from '../base/errors.js';
import { errnoName } from '../linux/linux.js';
import type { NameSet } from '../tracker/define.js';
import { compare, type Comparison, type Filter, type Operator, type Scalar } from './ast.js';
import type { FilterField } from './field.js';
import {
  compileGlob,
  compileRegex,
  MAX_PATTERN,
  normaliseAddress,
  normaliseCidr,
  shorten,
  type Fail,
} from './pattern.js';

/**
 * Converts a literal that a client wrote in GraphQL or CEL into the constant of a comparison. Both forms are checked
 * here, so that they have the same meaning.
 */

export const MAX_LIST = 1000;

const RANGES = {
  int: [-(2n ** 31n), 2n ** 31n - 1n],
  length: [0n, 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
} as const;
// RFC 3339; up to nine digits of a second, since the kernel's clock has no more.
const TIME = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})$/;

/**
 * Returns the comparison of a field with what the client wrote. Calls `fail`, with a message that says what would be
 * correct, if it is invalid.
 */
export function comparison(field: FilterField, op: Operator, raw: unknown, fail: Fail): Comparison {
  const { path, type } = field;
  if (!field.operators.includes(op))
    return fail(`${field.filterType} has no "${op}"; it has ${field.operators.join(', ')}`);
  if (op === 'isNull') return compare(path, type, op, booleanOf(raw, fail));
  if (op === 'in')
    return compare(
      path,
      type,
      op,
      listOf(raw, fail, (item, failItem) => scalarOf(field, item, failItem)),
    );
  switch (op) {
    case 'glob':
    case 'regex':
      return compare(path, type, op, pattern(op, raw, fail));
    case 'prefix':
    case 'suffix':
    case 'contains':
      return compare(path, type, op, someText(raw, fail));
    case 'cidr':
      return compare(path, type, op, normaliseCidr(someText(raw, fail), fail));
    default:
      return compare(path, type, op, scalarOf(field, raw, fail));
  }
}

/** Requires a non-empty list, because an empty OR would match nothing. Duplicates are removed. */
function listOf(raw: unknown, fail: Fail, check: (item: unknown, fail: Fail) => Scalar): Scalar[] {
  if (!Array.isArray(raw)) return fail(`needs a list; it is ${show(raw)}`);
  if (raw.length === 0) return fail('is empty, which would match nothing; leave it out, or give at least one value');
  if (raw.length > MAX_LIST) return fail(`has ${raw.length} values; at most ${MAX_LIST} are allowed`);
  return [...new Set(raw.map((item, index) => check(item, (message) => fail(message, index))))];
}

function pattern(op: 'glob' | 'regex', raw: unknown, fail: Fail): string {
  const text = someText(raw, fail);
  if (text.length > MAX_PATTERN) return fail(`has ${text.length} characters; at most ${MAX_PATTERN} are allowed`);
  if (op === 'glob') compileGlob(text, fail);
  else compileRegex(text, fail);
  return text;
}

function someText(raw: unknown, fail: Fail): string {
  const text = textOf(raw, fail);
  return text === ''
    ? fail('is empty, which every text matches; give at least one character, or ask for isNull: false')
    : text;
}

function textOf(raw: unknown, fail: Fail): string {
  if (typeof raw !== 'string') return fail(`needs a text; it is ${show(raw)}`);
  return /\p{Surrogate}/u.test(raw) ? fail('has half of a surrogate pair; no text of an event has that') : raw;
}

function nameOf(raw: unknown, names: NameSet, fail: Fail): string {
  const name = textOf(raw, fail);
  return names.has(name) ? name : fail(`"${shorten(name)}" is no ${names.of}${suggest(shorten(name), names.all)}`);
}

function booleanOf(raw: unknown, fail: Fail): boolean {
  return typeof raw === 'boolean' ? raw : fail(`needs true or false; it is ${show(raw)}`);
}

function scalarOf({ type, values, names, path }: FilterField, raw: unknown, fail: Fail): Scalar {
  switch (type) {
    case 'string':
      return names ? nameOf(raw, names, fail) : textOf(raw, fail);
    case 'int':
    case 'uint32':
    case 'length':
      return Number(integerOf(type, raw, fail));
    case 'age':
      return ageOf(raw, fail);
    case 'joined':
      return textOf(raw, fail);
    case 'int64':
    case 'uint64':
      return integerOf(type, raw, fail).toString();
    case 'boolean':
      return booleanOf(raw, fail);
    case 'time':
      return timeOf(raw, fail);
    case 'address':
      return normaliseAddress(textOf(raw, fail), fail);
    case 'errno':
      return errnoOf(raw, fail);
    case 'enum':
      return enumOf(raw, values ?? [], fail);
    case 'strings':
    case 'processes':
    case 'object':
      return fail(`"${path}" cannot be compared with a single value`);
  }
}

function integerOf(type: keyof typeof RANGES, raw: unknown, fail: Fail): bigint {
  const [min, max] = RANGES[type];
  const value = bigintOf(raw, type === 'int64' || type === 'uint64');
  return value !== null && value >= min && value <= max
    ? value
    : fail(`needs a whole number from ${min} to ${max}; it is ${show(raw)}`);
}

/** Accepts 64-bit integers as texts, because JSON loses precision above 2^53. */
function bigintOf(raw: unknown, mayBeText: boolean): bigint | null {
  if (typeof raw === 'bigint') return raw;
  if (typeof raw === 'number') return Number.isSafeInteger(raw) ? BigInt(raw) : null;
  return mayBeText && typeof raw === 'string' && /^-?\d{1,20}$/.test(raw) ? BigInt(raw) : null;
}

/** In ns, as a decimal text. */
function ageOf(raw: unknown, fail: Fail): string {
  const ms = typeof raw === 'string' ? parseDuration(raw) : null;
  return ms === null
    ? fail(`needs a duration, for example duration("5s"); it is ${show(raw)}`)
    : String(Math.round(ms * 1e6));
}

function timeOf(raw: unknown, fail: Fail): string {
  return (
    (typeof raw === 'string' ? parseTime(raw) : null) ??
    fail(`needs a time, for example "2026-01-31T08:15:30.123456789Z"; it is ${show(raw)}`)
  );
}

/** Returns a time in the format of events: RFC 3339 in UTC with nanoseconds; null if it is not a time. */
export function parseTime(text: string): string | null {
  const [, date, time, fraction = '', zone = ''] = TIME.exec(text) ?? [];
  if (date === undefined || time === undefined) return null;
  const at = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  const day = Date.parse(`${date}T00:00:00Z`);
  // Date.parse accepts February 31st as March 3rd.
  if (Number.isNaN(at) || Number.isNaN(day) || new Date(day).toISOString().slice(0, 10) !== date) return null;
  return `${new Date(at).toISOString().slice(0, 19)}.${fraction.padEnd(9, '0')}Z`;
}

const ERRNOS: ReadonlySet<string> = new Set(
  Array.from({ length: 200 }, (_, code) => errnoName(code)).filter(
    (name) => name !== null && name.startsWith('E'),
  ) as string[],
);
// include/uapi/asm-generic/errno.h and glibc: other names of the same numbers.
const ERRNO_ALIASES: Readonly<Record<string, string>> = {
  EWOULDBLOCK: 'EAGAIN',
  EDEADLOCK: 'EDEADLK',
  ENOTSUP: 'EOPNOTSUPP',
};

function errnoOf(raw: unknown, fail: Fail): string {
  const number =
    typeof raw === 'string' && /^\d{1,5}$/.test(raw) ? Number(raw) : Number(typeof raw === 'string' ? Number.NaN : raw);
  if (Number.isInteger(number))
    return (
      (number > 0 && number <= 4095 ? errnoName(number) : null) ??
      fail(`needs an error code from 1 to 4095; it is ${show(raw)}. Success is null`)
    );
  if (typeof raw !== 'string') return fail(`needs the symbol of an error, for example "ENOENT"; it is ${show(raw)}`);
  const name = ERRNO_ALIASES[raw] ?? raw;
  return ERRNOS.has(name) ? name : fail(`"${shorten(raw)}" is no error code of Linux${suggest(raw, ERRNOS)}`);
}

function enumOf(raw: unknown, values: readonly string[], fail: Fail): string {
  if (typeof raw === 'string' && values.includes(raw)) return raw;
  return fail(
    `needs one of ${values.join(', ')}; it is ${show(raw)}${typeof raw === 'string' ? suggest(raw, values) : ''}`,
  );
}

export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shorten(value));
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

// Ranges

const BOUNDS: ReadonlySet<Operator> = new Set(['lt', 'lte', 'gt', 'gte']);

/** Returns why an AND can match nothing: no value is between two bounds of the same field. Null if it can match. */
export function emptyRange(filter: Filter): string | null {
  if (filter.kind !== 'and') return null;
  const bounds = filter.filters.filter((part): part is Comparison => part.kind === 'comparison' && BOUNDS.has(part.op));
  for (const low of bounds.filter(({ op }) => op.startsWith('g'))) {
    const high = bounds.find(
      (other) => other.op.startsWith('l') && other.path === low.path && other.type === low.type && isEmpty(low, other),
    );
    if (high)
      return (
        `no value is in the range: ${low.op === 'gt' ? 'more than' : 'at least'} ${String(low.value)} and ` +
        `${high.op === 'lt' ? 'less than' : 'at most'} ${String(high.value)}`
      );
  }
  return null;
}

function isEmpty(low: Comparison, high: Comparison): boolean {
  if (low.type === 'time')
    return low.value > high.value || (low.value === high.value && (low.op === 'gt' || high.op === 'lt'));
  const from = BigInt(String(low.value)) + (low.op === 'gt' ? 1n : 0n);
  const to = BigInt(String(high.value)) - (high.op === 'lt' ? 1n : 0n);
  return from > to;
}
