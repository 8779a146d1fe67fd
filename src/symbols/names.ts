import { SYMBOL_BYTES, viewOf, type ElfImage } from './image.js';
import { wordAt } from './reader.js';

export interface NamedAddress {
  readonly name: string;
  /** In bytes from the function's beginning. */
  readonly offset: number;
}

const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
/** Of one file; node has some 200,000 functions. */
const MAX_SYMBOLS = 1_000_000;
const SYMBOLS_AT_ONCE = 16_384;
/** Bits of a symbol's index, and of an address what is left of 64. */
const INDEX_BITS = 20;
const MAX_ADDRESS = 2 ** (64 - INDEX_BITS);
const MAX_NAME = 512;
/** A symbol of no size has what is behind it up to the next one, and no more than this. */
const MAX_UNSIZED = 65_536;

interface Table {
  /** In their order. */
  readonly addresses: Float64Array;
  readonly sizes: Float64Array;
  readonly nameAt: Uint32Array;
  readonly names: { readonly offset: number; readonly size: number };
}

/** The functions of an image by address. Names are read from the file when they are asked for. */
export class FunctionNames {
  readonly #image: ElfImage;
  readonly #tables: readonly Table[];

  constructor(image: ElfImage) {
    this.#image = image;
    this.#tables = image.symbolSections().flatMap(({ offset, size, names }) => {
      const table = readTable(image, offset, size);
      return table ? [{ ...table, names }] : [];
    });
  }

  get byteLength(): number {
    return this.#tables.reduce((sum, { addresses }) => sum + addresses.length * 20, 0);
  }

  /** The function that has the address; null where no symbol says. May throw RangeError, for a file that changed. */
  of(address: number): NamedAddress | null {
    for (const table of this.#tables) {
      const index = lastBelow(table.addresses, address);
      if (index < 0) continue;
      const offset = address - (table.addresses[index] ?? 0);
      const size = table.sizes[index] ?? 0;
      if (size > 0 ? offset >= size : offset >= MAX_UNSIZED) continue;
      const name = this.#nameAt(table, table.nameAt[index] ?? 0);
      if (name !== '') return { name, offset };
    }
    return null;
  }

  #nameAt({ names }: Table, at: number): string {
    const left = Math.min(names.size - at, this.#image.file.size - names.offset - at, MAX_NAME);
    if (!(left > 0)) return '';
    const bytes = this.#image.file.read(names.offset + at, left);
    const end = bytes.indexOf(0);
    return printable(Buffer.from(bytes.subarray(0, end < 0 ? left : end)).toString('utf8'));
  }
}

/** Names go to terminals and pages: what a file has in place of one, with line breaks or controls, does not. */
function printable(name: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return name.replaceAll(/[\u0000-\u0020\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?');
}

function readTable(image: ElfImage, offset: number, size: number): Omit<Table, 'names'> | null {
  const count = Math.min(Math.floor(Math.min(size, image.file.size - offset) / SYMBOL_BYTES), MAX_SYMBOLS);
  if (!(count > 0)) return null;
  // Each function's address and where it stands as one number, of which a typed array sorts a million in a tenth of a second.
  const keys = new Uint32Array(2 * count);
  const sizes = new Float64Array(count);
  const nameAt = new Uint32Array(count);
  let found = 0;
  for (let from = 0; from < count; from += SYMBOLS_AT_ONCE) {
    const many = Math.min(SYMBOLS_AT_ONCE, count - from);
    const view = viewOf(image.file.read(offset + from * SYMBOL_BYTES, many * SYMBOL_BYTES));
    for (let at = 0; at < many * SYMBOL_BYTES; at += SYMBOL_BYTES) {
      const address = functionAt(view, at);
      if (address === null) continue;
      keys[2 * found] = ((address % 4096) << INDEX_BITS) | found;
      keys[2 * found + 1] = Math.floor(address / 4096);
      sizes[found] = wordAt(view, at + 16);
      nameAt[found] = view.getUint32(at, true);
      found++;
    }
  }
  new BigUint64Array(keys.buffer, 0, found).sort();
  const table = {
    addresses: new Float64Array(found),
    sizes: new Float64Array(found),
    nameAt: new Uint32Array(found),
  };
  for (let i = 0; i < found; i++) {
    const low = keys[2 * i] ?? 0;
    const index = low & (2 ** INDEX_BITS - 1);
    table.addresses[i] = (keys[2 * i + 1] ?? 0) * 4096 + (low >>> INDEX_BITS);
    table.sizes[i] = sizes[index] ?? 0;
    table.nameAt[i] = nameAt[index] ?? 0;
  }
  return table;
}

/** The address of a function that a symbol is of; null for others. */
function functionAt(view: DataView, at: number): number | null {
  const kind = view.getUint8(at + 4) & 0xf;
  const address = wordAt(view, at + 8);
  // SHN_UNDEF: it is another file's.
  if ((kind !== STT_FUNC && kind !== STT_GNU_IFUNC) || view.getUint16(at + 6, true) === 0) return null;
  return address > 0 && address < MAX_ADDRESS ? address : null;
}

/** The index of the last of the addresses that is not above this one; -1 for none. */
function lastBelow(addresses: Float64Array, address: number): number {
  let low = 0;
  for (let high = addresses.length; low < high;) {
    const middle = (low + high) >>> 1;
    if ((addresses[middle] ?? 0) <= address) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
