import { hash53 } from './hash.js';
import { mismatch, resultOf, wholeOf, type Result, type State } from './state.js';
import type { Cell } from '../value.js';

/** Up to so many values the count is exact. */
export const EXACT = 1000;

// HyperLogLog (Flajolet and others, 2007) with Ertl's estimator (arXiv:1702.01284), which needs no tables against bias.
const INDEX_BITS = 14;
const REGISTERS = 2 ** INDEX_BITS;
/** Bits of the hash that the index leaves. */
const REST_BITS = 53 - INDEX_BITS;
const REST = 2 ** REST_BITS;
/** One standard deviation, relative: two of three results are that near, 997 of 1000 within three times that. */
export const STANDARD_ERROR = 1.04 / Math.sqrt(REGISTERS);

/**
 * How many different values there are. Holds the values' hashes while they are few, 16 KiB at most, and then as
 * many bytes of registers.
 */
export class Distinct implements State {
  /** Open addressing; 0 is free. Null once there are registers. */
  #hashes: Float64Array | null = new Float64Array(8);
  #registers: Uint8Array | null = null;
  #size = 0;

  get bytes(): number {
    return 160 + (this.#hashes?.byteLength ?? 0) + (this.#registers?.byteLength ?? 0);
  }

  add({ value }: Cell): void {
    if (value !== null) this.#addHash(hash53(value));
  }

  merge(other: State): void {
    if (!(other instanceof Distinct)) throw mismatch();
    if (other.#hashes) {
      for (const hash of other.#hashes) if (hash) this.#addHash(hash);
      return;
    }
    const theirs = other.#registers;
    if (!theirs) return;
    const registers = this.#approximate();
    for (let i = 0; i < REGISTERS; i++) {
      const rank = theirs[i] ?? 0;
      if (rank > (registers[i] ?? 0)) registers[i] = rank;
    }
  }

  result(): Result {
    if (!this.#registers) return wholeOf(this.#size);
    const estimate = Math.round(estimateOf(this.#registers));
    return resultOf({ number: estimate, text: String(estimate), error: STANDARD_ERROR });
  }

  #addHash(hash: number): void {
    if (this.#registers) return note(this.#registers, hash);
    const hashes = this.#hashes ?? new Float64Array(8);
    if (!insert(hashes, hash)) return;
    this.#size++;
    if (this.#size > EXACT) this.#approximate();
    else if (this.#size * 2 > hashes.length) {
      const grown = new Float64Array(hashes.length * 2);
      for (const known of hashes) if (known) insert(grown, known);
      this.#hashes = grown;
    }
  }

  #approximate(): Uint8Array {
    if (this.#registers) return this.#registers;
    const registers = new Uint8Array(REGISTERS);
    for (const hash of this.#hashes ?? []) if (hash) note(registers, hash);
    this.#hashes = null;
    this.#registers = registers;
    return registers;
  }
}

/** False when it is there already. */
function insert(hashes: Float64Array, hash: number): boolean {
  const mask = hashes.length - 1;
  // The low bits; the high ones are HyperLogLog's index.
  for (let at = hash & mask; ; at = (at + 1) & mask) {
    const known = hashes[at];
    if (known === hash) return false;
    if (known === 0) {
      hashes[at] = hash;
      return true;
    }
  }
}

function note(registers: Uint8Array, hash: number): void {
  const index = Math.floor(hash / REST);
  const rest = hash % REST;
  // The number of leading zeros among the rest's bits, and one.
  const high = Math.floor(rest / 4294967296);
  const rank = 1 + (high ? Math.clz32(high) - (64 - REST_BITS) : REST_BITS - 32 + Math.clz32(rest >>> 0));
  if (rank > (registers[index] ?? 0)) registers[index] = rank;
}

function estimateOf(registers: Uint8Array): number {
  const counts = new Float64Array(REST_BITS + 2);
  for (const rank of registers) counts[rank] = (counts[rank] ?? 0) + 1;
  let z = REGISTERS * tau(1 - (counts[REST_BITS + 1] ?? 0) / REGISTERS);
  for (let rank = REST_BITS; rank >= 1; rank--) z = 0.5 * (z + (counts[rank] ?? 0));
  z += REGISTERS * sigma((counts[0] ?? 0) / REGISTERS);
  return REGISTERS ** 2 / (2 * Math.LN2 * z);
}

function sigma(x: number): number {
  if (x === 1) return Number.POSITIVE_INFINITY;
  let sum = x;
  for (let power = x * x, weight = 1, before = Number.NaN; sum !== before; power *= power, weight *= 2) {
    before = sum;
    sum += power * weight;
  }
  return sum;
}

function tau(x: number): number {
  if (x === 0 || x === 1) return 0;
  let sum = 1 - x;
  for (
    let root = Math.sqrt(x), weight = 0.5, before = Number.NaN;
    sum !== before;
    root = Math.sqrt(root), weight /= 2
  ) {
    before = sum;
    sum -= (1 - root) ** 2 * weight;
  }
  return sum / 3;
}
