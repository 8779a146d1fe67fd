import type { Constant } from '../tracker/define.js';
import { MAX, MIN, others, type Domain, type Numbers, type Prefixes, type Range } from './domain.js';

/**
 * How the kernel evaluates one field: constants of the object, and the map entries that they refer to. See
 * bpf/include/where.bpf.h.
 */
export interface Rules {
  readonly constants: Readonly<Record<string, Constant>>;
  readonly numbers: readonly (readonly [set: number, value: bigint])[];
  readonly prefixes: readonly Prefix[];
  /** True if exactly the values of the domain pass. */
  readonly exact: boolean;
}

export interface Prefix {
  readonly set: number;
  /** The number of significant bits. */
  readonly bits: number;
  readonly bytes: Uint8Array;
}

// enum eu_rule and EU_RULE_NULL of where.bpf.h
const INSIDE = 1;
const OUTSIDE = 2;
const IN = 3;
const NOT_IN = 4;
const BITS = 5;
const NULL = 0x80;
/** A larger set of numbers is evaluated by its minimum and maximum only. */
const MAX_SET = 4096;

/** Returns the rules for a field; null if all values may pass. The domain must not be empty. */
export function encode(stem: string, domain: Domain, nextSet: () => number): Rules | null {
  switch (domain.kind) {
    case 'numbers':
      return encodeNumbers(stem, domain, nextSet);
    case 'prefixes':
      return encodePrefixes(stem, domain, nextSet);
    case 'bits':
      return {
        constants: {
          [`eu_where_${stem}`]: BITS,
          [`eu_min_${stem}`]: BigInt(domain.value),
          [`eu_max_${stem}`]: BigInt(domain.mask),
          [`eu_any_${stem}`]: BigInt(domain.any),
        },
        numbers: [],
        prefixes: [],
        exact: domain.exact,
      };
  }
}

function encodeNumbers(stem: string, { ranges, exact }: Numbers, nextSet: () => number): Rules | null {
  const refused = others(ranges);
  const [only, ...more] = ranges;
  const [gap, ...gaps] = refused;
  if (!only || !gap) return null;
  if (more.length === 0) return range(stem, INSIDE, only, exact);
  if (gaps.length === 0) return range(stem, OUTSIDE, gap, exact);
  const [how, values] = sizeOf(ranges) <= sizeOf(refused) ? [IN, ranges] : [NOT_IN, refused];
  if (sizeOf(values) > MAX_SET) {
    const hull: Range = [only[0], more.at(-1)?.[1] ?? only[1]];
    return hull[0] === MIN && hull[1] === MAX ? null : range(stem, INSIDE, hull, false);
  }
  const set = nextSet();
  const numbers = values.flatMap(([from, to]) =>
    Array.from({ length: Number(to - from) + 1 }, (_, index): [number, bigint] => [set, from + BigInt(index)]),
  );
  return { constants: { [`eu_where_${stem}`]: how | (set << 8) }, numbers, prefixes: [], exact };
}

function sizeOf(ranges: readonly Range[]): bigint {
  return ranges.reduce((sum, [from, to]) => sum + to - from + 1n, 0n);
}

function range(stem: string, how: number, [from, to]: Range, exact: boolean): Rules {
  return {
    constants: { [`eu_where_${stem}`]: how, [`eu_min_${stem}`]: from, [`eu_max_${stem}`]: to },
    numbers: [],
    prefixes: [],
    exact,
  };
}

function encodePrefixes(
  stem: string,
  { keys, negated, null: isNull, exact }: Prefixes,
  nextSet: () => number,
): Rules | null {
  if (keys.length === 0 && negated && isNull) return null;
  const set = nextSet();
  return {
    constants: { [`eu_where_${stem}`]: (negated ? NOT_IN : IN) | (isNull ? NULL : 0) | (set << 8) },
    numbers: [],
    prefixes: keys.map((key) => ({ set, bits: key.length, bytes: bytesOf(key) })),
    exact,
  };
}

function bytesOf(key: string): Uint8Array {
  return Uint8Array.from({ length: Math.ceil(key.length / 8) }, (_, index) =>
    Number.parseInt(key.slice(8 * index, 8 * index + 8).padEnd(8, '0'), 2),
  );
}
