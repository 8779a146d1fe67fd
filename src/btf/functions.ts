import {
  cString,
  readRelocations,
  readSections,
  readSymbols,
  STT_FUNC,
  STT_SECTION,
  viewOf,
  type ElfSection,
  type ElfSymbol,
} from './elf.js';

/** Bytes of an instruction (struct bpf_insn of include/uapi/linux/bpf.h). */
export const INSTRUCTION_BYTES = 8;
const CALL = 0x85; // BPF_JMP | BPF_CALL
export const LOAD_IMMEDIATE = 0x18; // BPF_LD | BPF_IMM | BPF_DW: two instructions long
const PSEUDO_CALL = 1;
const PSEUDO_FUNC = 4;

/** A function of a linked program: where it begins, in instructions, and its type in the object's BTF (struct bpf_func_info). */
export interface LinkedFunction {
  readonly at: number;
  readonly type: number;
}

/** Where a function is in the object file. */
interface Place {
  readonly section: number;
  /** In bytes from the section's start. */
  readonly offset: number;
}

/**
 * Tells the functions of an object's programs as libbpf has linked them: behind a program's own instructions it puts those of each function
 * that it calls. Both are walked side by side, call by call, since the linked one no longer says which function is which. The kernel
 * needs their types to verify global functions by themselves, and callbacks at all.
 */
export class ObjectFunctions {
  readonly #file: DataView;
  readonly #sections: readonly ElfSection[];
  readonly #symbols: readonly ElfSymbol[];
  readonly #types: ReadonlyMap<string, number>;
  /** By section, the symbols that its instructions name, by their offset. */
  readonly #relocated = new Map<number, ReadonlyMap<number, ElfSymbol>>();

  constructor(private readonly object: Uint8Array) {
    this.#file = viewOf(object);
    this.#sections = readSections(object);
    this.#symbols = readSymbols(object, this.#sections);
    this.#types = functionTypes(object, this.#sections);
  }

  /** Of a linked program, the first of which is the program itself. Null where the file does not tell all of them. */
  of(program: string, linked: Uint8Array): readonly LinkedFunction[] | null {
    const own = this.#symbols.find(({ name, kind }) => name === program && kind === STT_FUNC);
    if (!own) return null;
    const code = viewOf(linked);
    const starts = [0, ...callees(code)].sort((a, b) => a - b);
    const places = new Map<number, Place>([[0, own]]);
    const waiting = [0];
    for (let start = waiting.pop(); start !== undefined; start = waiting.pop()) {
      const place = places.get(start);
      if (!place) return null;
      const end = starts.find((one) => one > start) ?? linked.length / INSTRUCTION_BYTES;
      for (const { at, target, isCall } of references(code, start, end)) {
        if (places.has(target)) continue;
        const offset = place.offset + (at - start) * INSTRUCTION_BYTES;
        const callee = this.#leadsTo({ section: place.section, offset }, isCall);
        if (!callee) return null;
        places.set(target, callee);
        waiting.push(target);
      }
    }
    const functions = [...places].map(([at, { section, offset }]) => ({
      at,
      type: this.#types.get(`${this.#sections[section]?.name} ${offset}`) ?? 0,
    }));
    return functions.some(({ type }) => type === 0) ? null : functions.sort((a, b) => a.at - b.at);
  }

  /** The function that a call, or a load of a function's address, of the file leads to. */
  #leadsTo(place: Place, isCall: boolean): Place | null {
    const at = (this.#sections[place.section]?.offset ?? 0) + place.offset;
    const immediate = this.#file.getInt32(at + 4, true);
    const symbol = this.#symbolAt(place);
    // Within a section the compiler has resolved calls of static functions itself.
    if (!symbol) return isCall ? { ...place, offset: place.offset + (immediate + 1) * INSTRUCTION_BYTES } : null;
    const from = symbol.kind === STT_SECTION ? 0 : symbol.offset;
    return { section: symbol.section, offset: from + (isCall ? (immediate + 1) * INSTRUCTION_BYTES : immediate) };
  }

  #symbolAt({ section, offset }: Place): ElfSymbol | undefined {
    let known = this.#relocated.get(section);
    if (!known) {
      const entries = readRelocations(this.object, this.#sections, section).flatMap(({ offset: at, symbol }) => {
        const found = this.#symbols[symbol];
        return found ? [[at, found] as const] : [];
      });
      this.#relocated.set(section, (known = new Map(entries)));
    }
    return known.get(offset);
  }
}

interface Reference {
  readonly at: number;
  readonly target: number;
  readonly isCall: boolean;
}

/** Calls of functions and loads of their addresses, in instructions. */
function* references(code: DataView, from: number, to: number): Generator<Reference> {
  for (let at = from; at < to; at++) {
    const operation = code.getUint8(at * INSTRUCTION_BYTES);
    const source = code.getUint8(at * INSTRUCTION_BYTES + 1) >> 4;
    const isCall = operation === CALL && source === PSEUDO_CALL;
    if (isCall || (operation === LOAD_IMMEDIATE && source === PSEUDO_FUNC))
      yield { at, target: at + 1 + code.getInt32(at * INSTRUCTION_BYTES + 4, true), isCall };
    if (operation === LOAD_IMMEDIATE) at++;
  }
}

function callees(code: DataView): ReadonlySet<number> {
  const found = new Set<number>();
  for (const { target } of references(code, 0, code.byteLength / INSTRUCTION_BYTES)) found.add(target);
  return found;
}

/** Types of the functions in .BTF.ext, by section and offset. Format: Documentation/bpf/btf.rst, "func_info". */
function functionTypes(object: Uint8Array, sections: readonly ElfSection[]): ReadonlyMap<string, number> {
  const types = new Map<string, number>();
  const extension = sections.find(({ name }) => name === '.BTF.ext');
  const btf = sections.find(({ name }) => name === '.BTF');
  if (!extension || !btf) return types;
  const view = viewOf(object);
  const strings = btf.offset + view.getUint32(btf.offset + 4, true) + view.getUint32(btf.offset + 16, true);
  const header = view.getUint32(extension.offset + 4, true);
  let at = extension.offset + header + view.getUint32(extension.offset + 8, true);
  const end = at + view.getUint32(extension.offset + 12, true);
  const recordBytes = view.getUint32(at, true);
  for (at += 4; at < end;) {
    const name = cString(object, strings + view.getUint32(at, true));
    const count = view.getUint32(at + 4, true);
    at += 8;
    for (let i = 0; i < count; i++, at += recordBytes)
      types.set(`${name} ${view.getUint32(at, true)}`, view.getUint32(at + 4, true));
  }
  return types;
}
