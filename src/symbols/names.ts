import type { ElfImage } from './image.js';
import { viewOf } from './image.js';

export interface NamedAddress {
  readonly name: string;
  /** In bytes from the function's beginning. */
  readonly offset: number;
}

const SYMBOL_BYTES = 24;
const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
/** Of one file; node has some 200,000 functions. */
const MAX_SYMBOLS = 1_000_000;
const SYMBOLS_AT_ONCE = 16_384;
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
  // eslint-disable-next-line no-control-regex
  return name.replaceAll(/[\u0000-\u0020\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?');
}

function readTable(image: ElfImage, offset: number, size: number): Omit<Table, 'names'> | null {
  const count = Math.min(Math.floor(Math.min(size, image.file.size - offset) / SYMBOL_BYTES), MAX_SYMBOLS);
  if (!(count > 0)) return null;
  const found: { readonly addresses: number[]; readonly sizes: number[]; readonly names: number[] } = {
    addresses: [],
    sizes: [],
    names: [],
  };
  for (let from = 0; from < count; from += SYMBOLS_AT_ONCE) {
    const many = Math.min(SYMBOLS_AT_ONCE, count - from);
    const view = viewOf(image.file.read(offset + from * SYMBOL_BYTES, many * SYMBOL_BYTES));
    for (let i = 0; i < many; i++) addFunction(view, i * SYMBOL_BYTES, found);
  }
  const order = Uint32Array.from(found.addresses.keys()).sort(
    (a, b) => (found.addresses[a] ?? 0) - (found.addresses[b] ?? 0),
  );
  return {
    addresses: Float64Array.from(order, (i) => found.addresses[i] ?? 0),
    sizes: Float64Array.from(order, (i) => found.sizes[i] ?? 0),
    nameAt: Uint32Array.from(order, (i) => found.names[i] ?? 0),
  };
}

function addFunction(
  view: DataView,
  at: number,
  to: { readonly addresses: number[]; readonly sizes: number[]; readonly names: number[] },
): void {
  const kind = view.getUint8(at + 4) & 0xf;
  const address = view.getUint32(at + 12, true) * 4294967296 + view.getUint32(at + 8, true);
  // SHN_UNDEF: it is another file's.
  if ((kind !== STT_FUNC && kind !== STT_GNU_IFUNC) || view.getUint16(at + 6, true) === 0 || address === 0) return;
  to.addresses.push(address);
  to.sizes.push(view.getUint32(at + 20, true) * 4294967296 + view.getUint32(at + 16, true));
  to.names.push(view.getUint32(at, true));
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
