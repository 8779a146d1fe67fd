import type { ElfImage } from './image.js';
import { Reader } from './reader.js';

/** How the caller's value of a register is found (DWARF 4, section 6.4.1). `OFFSET` and `VALUE` count from the canonical frame address. */
export type Rule =
  | { readonly is: 'SAME' | 'UNDEFINED' }
  | { readonly is: 'OFFSET' | 'VALUE'; readonly by: number }
  | { readonly is: 'REGISTER'; readonly register: number }
  /** `MEMORY`: the expression's value is the address where it is. */
  | { readonly is: 'MEMORY' | 'EXPRESSION'; readonly code: Uint8Array };

export type FrameAddress =
  | { readonly is: 'REGISTER'; readonly register: number; readonly by: number }
  | { readonly is: 'EXPRESSION'; readonly code: Uint8Array };

/** How the frame of a function is left at one place of its code. */
export interface FrameRow {
  readonly address: FrameAddress;
  readonly rules: ReadonlyMap<number, Rule>;
  /** The register that the return address is in, by the rules. */
  readonly returnRegister: number;
  /** It is no call's frame, but a signal's: its code was interrupted, and the address is no return address. */
  readonly isSignal: boolean;
}

interface Common {
  readonly codeUnit: number;
  readonly dataUnit: number;
  readonly returnRegister: number;
  readonly pointers: number;
  readonly augmented: boolean;
  readonly isSignal: boolean;
  readonly instructions: Uint8Array;
}

const TABLE_OF_OFFSETS = 0x3b; // DW_EH_PE_datarel | DW_EH_PE_sdata4: what every linker writes
const INDEX_ENTRY = 8;
/** Of one function, or of what functions have in common. */
const MAX_ENTRY = 65_536;
const FIRST_READ = 512;
const MAX_AUGMENTATION = 16;
const MAX_REMEMBERED = 32;
const MAX_REGISTER = 128;
const MAX_COMMON = 256;

/** What a static program has in place of an index; of one that has more, the rest is not looked at. */
const MAX_SCANNED_BYTES = 4 << 20;
const MAX_SCANNED = 100_000;

/** Finds the entry of the last function that does not begin behind an address. */
type FindEntry = (address: number) => number | null;

/**
 * The frames of an image's functions, by .eh_frame_hdr and .eh_frame. An address that is in none has no row: that is null. What is damaged
 * throws RangeError.
 */
export class FrameTable {
  readonly #image: ElfImage;
  readonly #find: FindEntry;
  readonly #common = new Map<number, Common>();
  /** Of what it keeps besides parts of the file. */
  byteLength = 0;

  constructor(image: ElfImage) {
    this.#image = image;
    this.#find = image.frameIndex ? indexed(image, image.frameIndex) : this.#scanned();
  }

  /** The row of the function that has the address. */
  rowAt(address: number): FrameRow | null {
    const entry = this.#find(address);
    return entry === null ? null : this.#read(entry, address);
  }

  /** A program that is linked without an index: its entries are all looked at, once. */
  #scanned(): FindEntry {
    const frames = this.#image.section('.eh_frame');
    if (!frames) throw new RangeError('it has no frames');
    const end = frames.address + Math.min(frames.size, MAX_SCANNED_BYTES);
    const found: { readonly begin: number; readonly at: number }[] = [];
    try {
      for (let at = frames.address; at < end && found.length < MAX_SCANNED;) {
        if (this.#image.readerAt(at, 4).u32() === 0) break;
        const { body, place, id, next } = this.#entry(at);
        if (id !== 0) found.push({ begin: body.pointer(this.#commonOf(place - id).pointers) ?? Number.NaN, at });
        at = next;
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error; // what is before the damage counts
    }
    found.sort((a, b) => a.begin - b.begin);
    const begins = Float64Array.from(found, ({ begin }) => begin);
    const entries = Float64Array.from(found, ({ at }) => at);
    this.byteLength = begins.byteLength + entries.byteLength;
    return (address) => {
      const index = lastNotAbove(begins.length, (i) => begins[i] ?? 0, address);
      return index < 0 ? null : (entries[index] ?? null);
    };
  }

  #read(at: number, address: number): FrameRow | null {
    const { body, place, id } = this.#entry(at);
    if (id === 0) throw new RangeError('an entry is of no function');
    const common = this.#commonOf(place - id);
    const begin = body.pointer(common.pointers) ?? Number.NaN;
    const length = body.pointer(common.pointers & 0x0f) ?? Number.NaN;
    if (!(address >= begin && address < begin + length)) return null;
    if (common.augmented) body.skip(body.uleb());
    const run = new Run(common, begin, address);
    run.execute(new Reader(common.instructions), true);
    run.execute(new Reader(body.block(body.left)), false);
    return run.row;
  }

  #commonOf(at: number): Common {
    const known = this.#common.get(at);
    if (known) return known;
    const { body, id } = this.#entry(at);
    if (id !== 0) throw new RangeError('an entry refers to one of a function');
    const version = body.u8();
    const augmentation = body.text(MAX_AUGMENTATION);
    const codeUnit = body.uleb();
    const dataUnit = body.sleb();
    const returnRegister = version === 1 ? body.u8() : body.uleb();
    let pointers = 0;
    if (augmentation.startsWith('z')) {
      const end = body.uleb() + body.at;
      for (const letter of augmentation.slice(1)) {
        if (letter === 'R') pointers = body.u8();
        else if (letter === 'L') body.u8();
        else if (letter === 'P') {
          const encoding = body.u8();
          body.pointer(encoding & 0x0f); // where the function is that handles exceptions; its indirection does not matter here
        } else if (letter !== 'S' && letter !== 'B') break;
      }
      body.skip(end - body.at);
    } else if (augmentation !== '') throw new RangeError('an entry is augmented in a way that is not known');
    if (returnRegister >= MAX_REGISTER) throw new RangeError('a register has no such number');
    const common: Common = {
      codeUnit,
      dataUnit,
      returnRegister,
      pointers,
      augmented: augmentation.startsWith('z'),
      isSignal: augmentation.includes('S'),
      instructions: body.block(body.left).slice(),
    };
    if (this.#common.size >= MAX_COMMON) this.#common.clear();
    this.#common.set(at, common);
    return common;
  }

  /** What is behind the length and the id of an entry; `place`: where the id is, from which it counts back. */
  #entry(at: number): { readonly body: Reader; readonly place: number; readonly id: number; readonly next: number } {
    let bytes = this.#image.atAddress(at, FIRST_READ);
    let reader = new Reader(bytes, at);
    const first = reader.u32();
    const isLong = first === 0xffffffff;
    const length = isLong ? reader.u64() : first;
    const head = reader.at;
    if (length < 4 || length > MAX_ENTRY) throw new RangeError('an entry has no such length');
    if (head + length > bytes.length) bytes = this.#image.atAddress(at, head + length);
    reader = new Reader(bytes.subarray(0, head + length), at);
    if (reader.left < head + length) throw new RangeError('an entry is cut short');
    reader.skip(head);
    const place = reader.address;
    const id = isLong ? reader.u64() : reader.u32();
    return { body: reader, place, id, next: at + head + length };
  }
}

/** By the table of .eh_frame_hdr, which is sorted. */
function indexed(image: ElfImage, { address: base, size }: NonNullable<ElfImage['frameIndex']>): FindEntry {
  const reader = image.readerAt(base, 64);
  const [version, frames, counts, table] = [reader.u8(), reader.u8(), reader.u8(), reader.u8()];
  if (version !== 1 || table !== TABLE_OF_OFFSETS) throw new RangeError('its index of frames has no table');
  reader.pointer(frames, base);
  const count = Math.max(0, Math.min(reader.pointer(counts, base) ?? 0, Math.floor((size - reader.at) / INDEX_ENTRY)));
  const at = reader.address;
  const entryAt = (index: number): Reader => image.readerAt(at + index * INDEX_ENTRY, INDEX_ENTRY);
  return (address) => {
    const index = lastNotAbove(count, (i) => base + entryAt(i).s32(), address);
    if (index < 0) return null;
    const entry = entryAt(index);
    entry.s32();
    return base + entry.s32();
  };
}

/** The index of the last of `count` values, in their order, that is not above `value`; -1 for none. */
function lastNotAbove(count: number, valueAt: (index: number) => number, value: number): number {
  let low = 0;
  for (let high = count; low < high;) {
    const middle = Math.floor((low + high) / 2);
    if (valueAt(middle) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Executes the instructions of an entry up to the row of an address (DWARF 4, section 6.4.2). */
class Run {
  readonly #common: Common;
  readonly #address: number;
  #location: number;
  #frame: FrameAddress = { is: 'REGISTER', register: 0, by: Number.NaN };
  #rules = new Map<number, Rule>();
  #initial: ReadonlyMap<number, Rule> = new Map();
  readonly #remembered: { readonly frame: FrameAddress; readonly rules: Map<number, Rule> }[] = [];

  constructor(common: Common, begin: number, address: number) {
    this.#common = common;
    this.#location = begin;
    this.#address = address;
  }

  get row(): FrameRow {
    const { returnRegister, isSignal } = this.#common;
    return { address: this.#frame, rules: this.#rules, returnRegister, isSignal };
  }

  /** `isInitial`: they are of all functions, and what they say is restored to. */
  execute(code: Reader, isInitial: boolean): void {
    while (code.left > 0 && this.#location <= this.#address) {
      const byte = code.u8();
      const low = byte & 0x3f;
      if (byte >> 6 === 1) this.#advance(low);
      else if (byte >> 6 === 2) this.#set(low, { is: 'OFFSET', by: code.uleb() * this.#common.dataUnit });
      else if (byte >> 6 === 3) this.#restore(low);
      else this.#other(low, code);
    }
    if (isInitial) this.#initial = new Map(this.#rules);
  }

  #other(operation: number, code: Reader): void {
    const { dataUnit, pointers } = this.#common;
    switch (operation) {
      case 0x00: // DW_CFA_nop
      case 0x2d: // DW_CFA_GNU_window_save; on arm64 DW_CFA_AARCH64_negate_ra_state: the signature is removed in any case
        return;
      case 0x01: // DW_CFA_set_loc
        this.#location = code.pointer(pointers) ?? Number.NaN;
        return;
      case 0x02:
        return this.#advance(code.u8());
      case 0x03:
        return this.#advance(code.u16());
      case 0x04:
        return this.#advance(code.u32());
      case 0x05: // DW_CFA_offset_extended
        return this.#set(code.uleb(), { is: 'OFFSET', by: code.uleb() * dataUnit });
      case 0x06:
        return this.#restore(code.uleb());
      case 0x07:
        return this.#set(code.uleb(), { is: 'UNDEFINED' });
      case 0x08:
        return this.#set(code.uleb(), { is: 'SAME' });
      case 0x09:
        return this.#set(code.uleb(), { is: 'REGISTER', register: code.uleb() });
      case 0x0a: // DW_CFA_remember_state
        if (this.#remembered.length >= MAX_REMEMBERED) throw new RangeError('too much is remembered');
        this.#remembered.push({ frame: this.#frame, rules: new Map(this.#rules) });
        return;
      case 0x0b: {
        const state = this.#remembered.pop();
        if (!state) throw new RangeError('nothing is remembered');
        this.#frame = state.frame;
        this.#rules = state.rules;
        return;
      }
      case 0x0c: // DW_CFA_def_cfa
        this.#frame = { is: 'REGISTER', register: code.uleb(), by: code.uleb() };
        return;
      case 0x0d:
        this.#frame = { is: 'REGISTER', register: code.uleb(), by: this.#by };
        return;
      case 0x0e:
        this.#frame = { is: 'REGISTER', register: this.#register, by: code.uleb() };
        return;
      case 0x0f:
        this.#frame = { is: 'EXPRESSION', code: code.block(code.uleb()).slice() };
        return;
      case 0x10:
        return this.#set(code.uleb(), { is: 'MEMORY', code: code.block(code.uleb()).slice() });
      case 0x11: // DW_CFA_offset_extended_sf
        return this.#set(code.uleb(), { is: 'OFFSET', by: code.sleb() * dataUnit });
      case 0x12:
        this.#frame = { is: 'REGISTER', register: code.uleb(), by: code.sleb() * dataUnit };
        return;
      case 0x13:
        this.#frame = { is: 'REGISTER', register: this.#register, by: code.sleb() * dataUnit };
        return;
      case 0x14:
        return this.#set(code.uleb(), { is: 'VALUE', by: code.uleb() * dataUnit });
      case 0x15:
        return this.#set(code.uleb(), { is: 'VALUE', by: code.sleb() * dataUnit });
      case 0x16:
        return this.#set(code.uleb(), { is: 'EXPRESSION', code: code.block(code.uleb()).slice() });
      case 0x2e: // DW_CFA_GNU_args_size
        code.uleb();
        return;
      case 0x2f: // DW_CFA_GNU_negative_offset_extended
        return this.#set(code.uleb(), { is: 'OFFSET', by: -code.uleb() * dataUnit });
      default:
        throw new RangeError('an instruction is not known');
    }
  }

  get #register(): number {
    return this.#frame.is === 'REGISTER' ? this.#frame.register : 0;
  }

  get #by(): number {
    return this.#frame.is === 'REGISTER' ? this.#frame.by : Number.NaN;
  }

  #advance(units: number): void {
    this.#location += units * this.#common.codeUnit;
  }

  #set(register: number, rule: Rule): void {
    if (register >= MAX_REGISTER) throw new RangeError('a register has no such number');
    this.#rules.set(register, rule);
  }

  #restore(register: number): void {
    const initial = this.#initial.get(register);
    if (initial) this.#rules.set(register, initial);
    else this.#rules.delete(register);
  }
}
