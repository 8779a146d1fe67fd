/** Reads the parts of an ELF-64 little-endian file that a BPF object has. Throws RangeError where it is cut short. */
export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  /** Of relocations: the section that they are for. */
  readonly info: number;
}

export interface ElfSymbol {
  readonly name: string;
  readonly kind: number;
  /** The section's number. */
  readonly section: number;
  readonly offset: number;
  readonly size: number;
}

export interface Relocation {
  /** In bytes from the start of the section that it is for. */
  readonly offset: number;
  readonly symbol: number;
}

export const SHT_PROGBITS = 1;
export const SHT_SYMTAB = 2;
export const SHT_NOBITS = 8;
export const SHT_REL = 9;
export const SHF_EXECINSTR = 4;
export const STT_OBJECT = 1;
export const STT_FUNC = 2;
export const STT_SECTION = 3;
const SYMBOL_BYTES = 24;
const RELOCATION_BYTES = 16;

export function isElf(bytes: Uint8Array): boolean {
  if (bytes.length < 64) return false;
  const view = viewOf(bytes);
  return view.getUint32(0, false) === 0x7f454c46 && view.getUint8(4) === 2 && view.getUint8(5) === 1;
}

export function readSections(bytes: Uint8Array): ElfSection[] {
  const view = viewOf(bytes);
  const tableAt = Number(view.getBigUint64(0x28, true));
  const entrySize = view.getUint16(0x3a, true);
  const count = view.getUint16(0x3c, true);
  const namesIndex = view.getUint16(0x3e, true);
  const raw = Array.from({ length: count }, (_, i) => {
    const at = tableAt + i * entrySize;
    return {
      nameAt: view.getUint32(at, true),
      type: view.getUint32(at + 4, true),
      flags: Number(view.getBigUint64(at + 8, true)),
      offset: Number(view.getBigUint64(at + 0x18, true)),
      size: Number(view.getBigUint64(at + 0x20, true)),
      link: view.getUint32(at + 0x28, true),
      info: view.getUint32(at + 0x2c, true),
    };
  });
  const names = raw[namesIndex];
  return raw.map((s) => ({ ...s, name: names ? cString(bytes, names.offset + s.nameAt) : '' }));
}

/** All symbols, in their order: relocations name them by their number. */
export function readSymbols(bytes: Uint8Array, sections: readonly ElfSection[]): ElfSymbol[] {
  const table = sections.find((s) => s.type === SHT_SYMTAB);
  const strings = table && sections[table.link];
  if (!table || !strings) return [];
  const view = viewOf(bytes);
  return Array.from({ length: table.size / SYMBOL_BYTES }, (_, i) => {
    const at = table.offset + i * SYMBOL_BYTES;
    return {
      name: cString(bytes, strings.offset + view.getUint32(at, true)),
      kind: view.getUint8(at + 4) & 0xf,
      section: view.getUint16(at + 6, true),
      offset: Number(view.getBigUint64(at + 8, true)),
      size: Number(view.getBigUint64(at + 16, true)),
    };
  });
}

/** Those of a section, by its number. */
export function readRelocations(bytes: Uint8Array, sections: readonly ElfSection[], of: number): Relocation[] {
  const view = viewOf(bytes);
  return sections
    .filter(({ type, info }) => type === SHT_REL && info === of)
    .flatMap(({ offset, size }) =>
      Array.from({ length: size / RELOCATION_BYTES }, (_, i) => ({
        offset: Number(view.getBigUint64(offset + i * RELOCATION_BYTES, true)),
        symbol: view.getUint32(offset + i * RELOCATION_BYTES + 12, true),
      })),
    );
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function cString(bytes: Uint8Array, at: number): string {
  const end = bytes.indexOf(0, at);
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, (end < 0 ? bytes.length : end) - at).toString('utf8');
}
