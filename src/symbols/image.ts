import { Reader, wordAt } from './reader.js';

/** A file's bytes. `read` throws RangeError where the file does not have all of them. */
export interface FileBytes {
  readonly size: number;
  read(at: number, length: number): Uint8Array;
}

interface Segment {
  readonly offset: number;
  readonly address: number;
  readonly size: number;
  readonly executable: boolean;
}

interface SymbolSection {
  readonly offset: number;
  readonly size: number;
  readonly names: { readonly offset: number; readonly size: number };
}

// elf.h
const EM_X86_64 = 62;
const EM_AARCH64 = 183;
const PT_LOAD = 1;
const PT_GNU_EH_FRAME = 0x6474e550;
const PF_X = 1;
const SHT_SYMTAB = 2;
const SHT_DYNSYM = 11;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
export const SYMBOL_BYTES = 24;
const MAX_PROGRAM_HEADERS = 256;
const MAX_SECTIONS = 4096;

export type ElfMachine = 'X86_64' | 'AARCH64';
const machines: ReadonlyMap<number, ElfMachine> = new Map([
  [EM_X86_64, 'X86_64'],
  [EM_AARCH64, 'AARCH64'],
]);

/**
 * The parts of an ELF-64 file that say where its code is, how its frames are unwound and what its functions are called. Anybody may have
 * written the file: every count is bounded, and every offset is checked where it is read. What is not there throws RangeError.
 */
export class ElfImage {
  readonly file: FileBytes;
  readonly machine: ElfMachine;
  /** .eh_frame_hdr. */
  readonly frameIndex: { readonly address: number; readonly size: number } | null;
  readonly #segments: readonly Segment[];
  readonly #sections: { readonly at: number; readonly count: number; readonly names: number };

  constructor(file: FileBytes) {
    this.file = file;
    const header = file.read(0, 64);
    const view = viewOf(header);
    const machine = machines.get(view.getUint16(18, true));
    if (view.getUint32(0, false) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1 || !machine)
      throw new RangeError('it is no ELF file of a machine that is known');
    this.machine = machine;
    const headers = this.#programHeaders(view);
    this.#segments = headers.filter(({ type }) => type === PT_LOAD);
    this.frameIndex = headers.find(({ type }) => type === PT_GNU_EH_FRAME) ?? null;
    const isTable = view.getUint16(0x3a, true) === SECTION_HEADER_BYTES;
    this.#sections = {
      at: wordAt(view, 0x28),
      count: isTable ? Math.min(view.getUint16(0x3c, true), MAX_SECTIONS) : 0,
      names: view.getUint16(0x3e, true),
    };
  }

  /** The address that the byte at an offset of the file is linked to; null where it is in no code. */
  addressOf(offset: number): number | null {
    const segment = this.#segments.find(
      (one) => one.executable && offset >= one.offset && offset < one.offset + one.size,
    );
    return segment ? segment.address + offset - segment.offset : null;
  }

  /** As many bytes from an address on as are there, up to `most`. Throws RangeError where there are none. */
  atAddress(address: number, most: number): Uint8Array {
    const segment = this.#segments.find((one) => address >= one.address && address < one.address + one.size);
    if (!segment) throw new RangeError('the file has nothing at that address');
    const from = address - segment.address;
    const offset = segment.offset + from;
    return this.file.read(offset, Math.min(most, segment.size - from, this.file.size - offset));
  }

  readerAt(address: number, most: number): Reader {
    return new Reader(this.atAddress(address, most), address);
  }

  /** The tables of symbols, the most complete first. */
  symbolSections(): SymbolSection[] {
    const sections = this.#readSections();
    return [SHT_SYMTAB, SHT_DYNSYM].flatMap((type) => {
      const table = sections.find((one) => one.type === type && one.entry === SYMBOL_BYTES);
      const names = table && sections[table.link];
      return table && names ? [{ offset: table.offset, size: table.size, names }] : [];
    });
  }

  /** The section of a name that is part of the program's memory. */
  section(name: string): { readonly address: number; readonly size: number } | null {
    const sections = this.#readSections();
    const names = sections[this.#sections.names];
    const wanted = Buffer.from(`${name}\0`);
    const isIt = ({ nameAt }: { readonly nameAt: number }): boolean =>
      names !== undefined &&
      nameAt + wanted.length <= names.size &&
      wanted.equals(this.file.read(names.offset + nameAt, wanted.length));
    return sections.find((one) => one.address !== 0 && isIt(one)) ?? null;
  }

  #readSections() {
    const { at, count } = this.#sections;
    if (count === 0) return [];
    const view = viewOf(this.file.read(at, count * SECTION_HEADER_BYTES));
    return Array.from({ length: count }, (_, i) => {
      const from = i * SECTION_HEADER_BYTES;
      return {
        nameAt: view.getUint32(from, true),
        type: view.getUint32(from + 4, true),
        address: wordAt(view, from + 0x10),
        offset: wordAt(view, from + 0x18),
        size: wordAt(view, from + 0x20),
        link: view.getUint32(from + 0x28, true),
        entry: wordAt(view, from + 0x38),
      };
    });
  }

  #programHeaders(view: DataView): (Segment & { readonly type: number })[] {
    const count = Math.min(view.getUint16(0x38, true), MAX_PROGRAM_HEADERS);
    if (count === 0 || view.getUint16(0x36, true) !== PROGRAM_HEADER_BYTES)
      throw new RangeError('it has no program headers');
    const headers = viewOf(this.file.read(wordAt(view, 0x20), count * PROGRAM_HEADER_BYTES));
    return Array.from({ length: count }, (_, i) => {
      const from = i * PROGRAM_HEADER_BYTES;
      return {
        type: headers.getUint32(from, true),
        executable: (headers.getUint32(from + 4, true) & PF_X) !== 0,
        offset: wordAt(headers, from + 8),
        address: wordAt(headers, from + 0x10),
        size: wordAt(headers, from + 0x20),
      };
    });
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
