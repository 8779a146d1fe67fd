import type { Pushdown } from '../../src/filter/index.js';

/** A value as the object has it when it calls `eu_passes…`, by the field's stem. Bytes are a text's, with its NUL behind, or an address. */
export type KernelRecord = Readonly<Record<string, bigint | Uint8Array | null>>;

const TEXT_BYTES: Readonly<Record<string, number>> = { comm: 16, path: 64, resolved: 64, filename: 64, executable: 64 };

/** What bpf/include/where.bpf.h does, in JavaScript: whether a record passes the rules. */
export function kernelTakes({ constants, numbers, prefixes }: Pushdown, record: KernelRecord): boolean {
  if (constants['eu_where_none']) return false;
  const constant = (name: string): bigint => {
    const value = constants[name] ?? 0;
    if (value instanceof Uint16Array) throw new Error(`${name} is no scalar`);
    return BigInt(value);
  };
  return Object.entries(record).every(([stem, value]) => {
    const rule = Number(constants[`eu_where_${stem}`] ?? 0);
    const [how, set] = [rule & 0x7f, rule >>> 8];
    const [min, max, any] = [constant(`eu_min_${stem}`), constant(`eu_max_${stem}`), constant(`eu_any_${stem}`)];
    if (rule === 0) return true;
    if (value === null) return (rule & 0x80) !== 0;
    if (typeof value === 'bigint') {
      if (how === 1) return value >= min && value <= max;
      if (how === 2) return value < min || value > max;
      if (how === 5) return (value & max) === min && (any === 0n || (value & any) !== 0n);
      return numbers.some(([of, one]) => of === set && one === value) === (how === 3);
    }
    const key = new Uint8Array(TEXT_BYTES[stem] ?? 16);
    key.set(value.subarray(0, key.length));
    const found = prefixes.some(
      (prefix) => prefix.set === set && prefix.bits <= key.length * 8 && begins(key, prefix.bytes, prefix.bits),
    );
    return found === (how === 3);
  });
}

function begins(key: Uint8Array, bytes: Uint8Array, bits: number): boolean {
  for (let bit = 0; bit < bits; bit++) {
    const mask = 0x80 >> (bit & 7);
    if (((key[bit >> 3] ?? 0) & mask) !== ((bytes[bit >> 3] ?? 0) & mask)) return false;
  }
  return true;
}
