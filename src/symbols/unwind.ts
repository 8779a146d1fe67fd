import { evaluate, type FrameValues } from './expression.js';
import type { FrameRow, Rule } from './frame-table.js';
import type { ElfMachine } from './image.js';
import { Reader } from './reader.js';

/** The file that an overlay shows. */
export interface RealFile {
  /** From the root of its file system, which may be mounted anywhere. */
  readonly path: string;
  readonly inode: number;
  /** "MAJOR:MINOR" of the file system. */
  readonly device: string;
}

/** An executable part of a process's memory. */
export interface ProcessMapping {
  readonly start: number;
  readonly end: number;
  /** Where in the file it begins. */
  readonly offset: number;
  /** As the process's mount namespace has it; null for memory that is of no file. */
  readonly path: string | null;
  readonly inode: number;
  readonly real?: RealFile | null;
}

/** What a thread was doing when it called the kernel. */
export interface CapturedStack {
  readonly machine: ElfMachine;
  readonly address: number;
  /** By DWARF's numbers; NaN for those that were not captured. */
  readonly registers: Float64Array;
  /** A copy of the stack, from where its pointer points on. */
  readonly memory: Uint8Array;
  readonly mappings: readonly ProcessMapping[];
}

export interface Frame {
  readonly address: number;
  /** False for an address that a call returns to, which may be behind its function's end. */
  readonly isExact: boolean;
  /** Found by a frame pointer: code that keeps none there may have left anything in its place. */
  readonly isGuessed: boolean;
  readonly mapping: ProcessMapping | null;
}

/** Why a stack does not go on. */
export type Cut =
  | { readonly is: 'MEMORY' } // the copy of the stack ends
  | { readonly is: 'DEPTH' } // there are more frames than are shown
  | { readonly is: 'UNKNOWN'; readonly mapping: ProcessMapping | null } // nothing tells how this frame is left
  | { readonly is: 'DAMAGED' }; // what the frame says cannot be

export interface Unwound {
  readonly frames: readonly Frame[];
  /** Null for a stack that is whole. */
  readonly cut: Cut | null;
}

/** How a frame is left whose code is at an offset of a mapping's file; null where nobody tells. May throw RangeError. */
export type RowOf = (mapping: ProcessMapping, offset: number) => FrameRow | null;

export const MAX_FRAMES = 128;

interface Numbers {
  readonly stackPointer: number;
  readonly framePointer: number;
}
export const registers: Readonly<Record<ElfMachine, Numbers & { readonly count: number }>> = {
  X86_64: { stackPointer: 7, framePointer: 6, count: 17 },
  AARCH64: { stackPointer: 31, framePointer: 29, count: 32 },
};
/** Bits of an address on arm64; above them a return address may be signed (FEAT_PAuth). */
const ADDRESS_BITS = 2 ** 48;

/**
 * Finds the callers of a captured stack, the innermost first: by the rules that compilers write for exceptions, and where there are none,
 * by frame pointers. Never throws, and always ends: after MAX_FRAMES at the latest.
 */
export function unwind(captured: CapturedStack, rowOf: RowOf): Unwound {
  const frames: Frame[] = [];
  const walk = new Walk(captured);
  for (;;) {
    const mapping = mappingOf(captured.mappings, walk.address, walk.isExact);
    frames.push({ address: walk.address, isExact: walk.isExact, isGuessed: walk.isGuessed, mapping });
    if (frames.length >= MAX_FRAMES) return { frames, cut: { is: 'DEPTH' } };
    const done = step(walk, mapping, rowOf);
    if (done) return { frames, cut: done === 'END' ? null : done };
  }
}

function step(walk: Walk, mapping: ProcessMapping | null, rowOf: RowOf): Cut | 'END' | null {
  let row: FrameRow | null = null;
  try {
    if (mapping?.path != null) row = rowOf(mapping, walk.lookedUp - mapping.start + mapping.offset);
    if (row) return walk.leave(row);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  const left = walk.leaveByPointer();
  return left === 'NOWHERE' ? { is: 'UNKNOWN', mapping } : left;
}

function mappingOf(mappings: readonly ProcessMapping[], address: number, isExact: boolean): ProcessMapping | null {
  const at = isExact ? address : address - 1;
  return mappings.find(({ start, end }) => at >= start && at < end) ?? null;
}

class Walk implements FrameValues {
  readonly #captured: CapturedStack;
  readonly #numbers: Numbers;
  readonly #memory: DataView;
  readonly #from: number;
  #registers: Float64Array;
  address: number;
  isExact = true;
  isGuessed = false;

  constructor(captured: CapturedStack) {
    const { memory } = captured;
    this.#captured = captured;
    this.#numbers = registers[captured.machine];
    this.#memory = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.#registers = captured.registers;
    this.#from = this.register(this.#numbers.stackPointer);
    this.address = captured.address;
  }

  get lookedUp(): number {
    return this.isExact ? this.address : this.address - 1;
  }

  register(number: number): number {
    return this.#registers[number] ?? Number.NaN;
  }

  memory(address: number, bytes: number): number {
    const at = address - this.#from;
    if (!(at >= 0 && at + bytes <= this.#memory.byteLength)) return Number.NaN;
    if (bytes === 8) return this.#memory.getUint32(at + 4, true) * 4294967296 + this.#memory.getUint32(at, true);
    if (bytes === 4) return this.#memory.getUint32(at, true);
    if (bytes === 2) return this.#memory.getUint16(at, true);
    return bytes === 1 ? this.#memory.getUint8(at) : Number.NaN;
  }

  /** Goes to the caller by a row. Why not, where that is not possible. */
  leave({ address, rules, returnRegister, isSignal }: FrameRow): Cut | 'END' | null {
    const { stackPointer } = this.#numbers;
    const frame =
      address.is === 'REGISTER'
        ? this.register(address.register) + address.by
        : evaluate(new Reader(address.code), this, null);
    if (Number.isNaN(frame)) return { is: 'MEMORY' };
    const rule = rules.get(returnRegister);
    // The outermost function has no caller, and says so.
    if (rule?.is === 'UNDEFINED' || (!rule && this.#captured.machine === 'X86_64')) return 'END';
    const before = this.register(stackPointer);
    const next = this.#registers.slice();
    next[stackPointer] = frame;
    for (const [register, one] of rules)
      if (register < next.length) next[register] = this.#valueOf(register, one, frame);
    const to = plainAddress(this.#captured.machine, next[returnRegister] ?? Number.NaN);
    if (Number.isNaN(to)) return { is: 'MEMORY' };
    if (to === 0) return 'END';
    // A function that saves nothing, as the innermost may be on arm64, has no frame.
    const isAbove = frame > before || (frame === before && this.isExact && to !== this.address);
    // A signal may have a stack of its own, which lies anywhere; there can be no more of them than frames are shown.
    return isAbove || isSignal ? this.#go(to, next, { isExact: isSignal }) : { is: 'DAMAGED' };
  }

  /** The same by the frame pointer. */
  leaveByPointer(): 'END' | 'NOWHERE' | null {
    const { stackPointer, framePointer } = this.#numbers;
    const pointer = this.register(framePointer);
    if (pointer === 0) return 'END';
    if (!(pointer >= this.register(stackPointer) && pointer % 8 === 0)) return 'NOWHERE';
    const to = plainAddress(this.#captured.machine, this.memory(pointer + 8, 8));
    if (to === 0) return 'END';
    if (!mappingOf(this.#captured.mappings, to, false)) return 'NOWHERE';
    const next = this.#registers.slice();
    next[framePointer] = this.memory(pointer, 8);
    next[stackPointer] = pointer + 16;
    return this.#go(to, next, { isGuessed: true });
  }

  #go(to: number, next: Float64Array, { isExact = false, isGuessed = false }: Partial<Frame>): null {
    this.#registers = next;
    this.address = to;
    this.isExact = isExact;
    this.isGuessed = isGuessed;
    return null;
  }

  #valueOf(register: number, rule: Rule, frame: number): number {
    switch (rule.is) {
      case 'SAME':
        return this.register(register);
      case 'UNDEFINED':
        return Number.NaN;
      case 'OFFSET':
        return this.memory(frame + rule.by, 8);
      case 'VALUE':
        return frame + rule.by;
      case 'REGISTER':
        return this.register(rule.register);
      case 'MEMORY':
        return this.memory(evaluate(new Reader(rule.code), this, frame), 8);
      case 'EXPRESSION':
        return evaluate(new Reader(rule.code), this, frame);
    }
  }
}

function plainAddress(machine: ElfMachine, address: number): number {
  return machine === 'AARCH64' ? address % ADDRESS_BITS : address;
}
