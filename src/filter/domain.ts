/**
 * A set of values that a field can have, in the forms that the kernel evaluates. Every operation returns a superset of
 * the exact result; `exact` is true if it is the exact result. Null instead of a domain stands for all values.
 */
export type Domain = Numbers | Prefixes | Bits;

/** Ranges with inclusive ends, sorted and not adjacent. The BPF object chooses a number that represents null. */
export interface Numbers {
  readonly kind: 'numbers';
  readonly ranges: readonly Range[];
  readonly exact: boolean;
}
export type Range = readonly [from: bigint, to: bigint];

/**
 * Values that begin with one of the keys, which are strings of "0" and "1"; if `negated`, values that begin with none
 * of them.
 */
export interface Prefixes {
  readonly kind: 'prefixes';
  readonly keys: readonly string[];
  readonly negated: boolean;
  /** Whether the set includes null. */
  readonly null: boolean;
  readonly exact: boolean;
}

/** Values whose bits in `mask` equal `value` and that, unless `any` is 0, have at least one bit of `any`. */
export interface Bits {
  readonly kind: 'bits';
  readonly mask: number;
  readonly value: number;
  readonly any: number;
  /** The empty set. */
  readonly none: boolean;
  readonly exact: boolean;
}

export const MIN = -(2n ** 63n);
export const MAX = 2n ** 63n - 1n;
/** Maximum number of pairs of keys to compare; beyond it, a superset is returned. */
const MAX_PAIRS = 100_000;

export function isEmpty(domain: Domain): boolean {
  if (domain.kind === 'numbers') return domain.ranges.length === 0;
  if (domain.kind === 'prefixes') return domain.keys.length === 0 && !domain.negated && !domain.null;
  return domain.none;
}

export function both(a: Domain, b: Domain): Domain {
  if (a.kind === 'numbers' && b.kind === 'numbers')
    return { kind: 'numbers', ranges: intersection(a.ranges, b.ranges), exact: a.exact && b.exact };
  if (a.kind === 'prefixes' && b.kind === 'prefixes') return bothPrefixes(a, b);
  if (a.kind === 'bits' && b.kind === 'bits') return bothBits(a, b);
  return { ...a, exact: false };
}

export function either(a: Domain, b: Domain): Domain | null {
  if (a.kind === 'numbers' && b.kind === 'numbers')
    return { kind: 'numbers', ranges: union([...a.ranges, ...b.ranges]), exact: a.exact && b.exact };
  if (a.kind === 'prefixes' && b.kind === 'prefixes') return eitherPrefixes(a, b);
  if (a.kind === 'bits' && b.kind === 'bits') return eitherBits(a, b);
  return null;
}

// Numbers

export function numbers(ranges: readonly Range[], exact = true): Numbers {
  return { kind: 'numbers', ranges: union(ranges.filter(([from, to]) => from <= to)), exact };
}

function union(ranges: readonly Range[]): Range[] {
  const joined: [bigint, bigint][] = [];
  for (const [from, to] of [...ranges].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0))) {
    const last = joined.at(-1);
    if (last && from <= last[1] + 1n) last[1] = to > last[1] ? to : last[1];
    else joined.push([from, to]);
  }
  return joined;
}

function intersection(a: readonly Range[], b: readonly Range[]): Range[] {
  const common: Range[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [x, y] = [a[i], b[j]];
    if (!x || !y) break;
    const from = x[0] > y[0] ? x[0] : y[0];
    const to = x[1] < y[1] ? x[1] : y[1];
    if (from <= to) common.push([from, to]);
    if (x[1] < y[1]) i++;
    else j++;
  }
  return common;
}

export function others(ranges: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let next = MIN;
  for (const [from, to] of ranges) {
    if (from > next) rest.push([next, from - 1n]);
    next = to + 1n;
  }
  if (next <= MAX) rest.push([next, MAX]);
  return rest;
}

// Prefixes

export function prefixes(keys: readonly string[], isNull: boolean, exact = true): Prefixes {
  return { kind: 'prefixes', keys: shortest(keys), negated: false, null: isNull, exact };
}

/** Removes keys of which another key is a prefix. */
function shortest(keys: readonly string[]): string[] {
  const kept: string[] = [];
  // Prefixes of a key sort before it, with only keys that share the prefix in between.
  for (const key of [...keys].sort()) {
    const last = kept.at(-1);
    if (last === undefined || !key.startsWith(last)) kept.push(key);
  }
  return kept;
}

function common(a: readonly string[], b: readonly string[]): string[] {
  return shortest(a.flatMap((x) => b.flatMap((y) => (x.startsWith(y) ? [x] : y.startsWith(x) ? [y] : []))));
}

function bothPrefixes(a: Prefixes, b: Prefixes): Prefixes {
  const isNull = a.null && b.null;
  const exact = a.exact && b.exact;
  if (a.negated && b.negated) return { ...a, keys: shortest([...a.keys, ...b.keys]), null: isNull, exact };
  const [positive, other] = a.negated ? [b, a] : [a, b];
  if (positive.keys.length * other.keys.length > MAX_PAIRS) return { ...positive, null: isNull, exact: false };
  if (!other.negated) return { ...positive, keys: common(positive.keys, other.keys), null: isNull, exact };
  const left = positive.keys.filter((key) => !other.keys.some((not) => key.startsWith(not)));
  const cut = left.some((key) => other.keys.some((not) => not.startsWith(key)));
  return { ...positive, keys: left, null: isNull, exact: exact && !cut };
}

function eitherPrefixes(a: Prefixes, b: Prefixes): Prefixes | null {
  const isNull = a.null || b.null;
  const exact = a.exact && b.exact;
  if (!a.negated && !b.negated) return { ...a, keys: shortest([...a.keys, ...b.keys]), null: isNull, exact };
  if (a.keys.length * b.keys.length > MAX_PAIRS) return null;
  if (a.negated && b.negated) return { ...a, keys: common(a.keys, b.keys), null: isNull, exact };
  const [positive, negative] = a.negated ? [b, a] : [a, b];
  const left = negative.keys.filter((not) => !positive.keys.some((key) => key.startsWith(not) || not.startsWith(key)));
  const cut = negative.keys.some((not) => positive.keys.some((key) => key !== not && key.startsWith(not)));
  return { ...negative, keys: left, null: isNull, exact: exact && !cut };
}

// Bits

export function bits(mask: number, value: number, exact: boolean): Bits {
  return { kind: 'bits', mask, value, any: 0, none: false, exact };
}

export const noBits: Bits = { kind: 'bits', mask: 0, value: 0, any: 0, none: true, exact: true };

function bothBits(a: Bits, b: Bits): Bits {
  const none = a.none || b.none || ((a.value ^ b.value) & a.mask & b.mask) !== 0;
  return {
    kind: 'bits',
    mask: a.mask | b.mask,
    value: a.value | b.value,
    any: a.any || b.any,
    none,
    exact: a.exact && b.exact && (a.any === 0 || b.any === 0),
  };
}

function eitherBits(a: Bits, b: Bits): Bits | null {
  if (a.none) return b;
  if (b.none) return a;
  const mask = a.mask & b.mask & ~(a.value ^ b.value);
  const any = anyOf(a) && anyOf(b) && anyOf(a) | anyOf(b);
  if (mask === 0 && any === 0) return null;
  const plain = [a, b].every(
    (one) => one.mask === one.value && (one.any === 0) !== (one.mask === 0) && (one.any !== 0 || isSingle(one.mask)),
  );
  return {
    kind: 'bits',
    mask,
    value: a.value & mask,
    any,
    none: false,
    exact: a.exact && b.exact && plain && mask === 0,
  };
}

/** Returns bits of which each of these values has at least one; 0 if unknown. */
function anyOf({ mask, value, any }: Bits): number {
  return any || mask & value;
}

export function isSingle(mask: number): boolean {
  return mask !== 0 && (mask & (mask - 1)) === 0;
}
