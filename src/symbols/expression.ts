import type { Reader } from './reader.js';

/** Operations that one expression may have: compilers write some ten, and one may jump back. */
const MAX_OPERATIONS = 512;
const MAX_DEPTH = 64;

/** What an expression of DWARF (version 4, section 2.5) reads of a frame. NaN where it is not known. */
export interface FrameValues {
  register(number: number): number;
  /** A word, or less, of memory. */
  memory(address: number, bytes: number): number;
}

/** Evaluates an expression. `first` is pushed before it, if given. NaN: not known. Throws RangeError for what is no expression. */
export function evaluate(code: Reader, frame: FrameValues, first: number | null): number {
  const stack: (bigint | null)[] = first === null ? [] : [wide(first)];
  const pop = (): bigint | null => {
    const value = stack.pop();
    if (value === undefined) throw new RangeError('an expression takes what it does not have');
    return value;
  };
  const push = (value: bigint | null): void => {
    if (stack.length >= MAX_DEPTH) throw new RangeError('an expression is too deep');
    stack.push(value === null ? null : BigInt.asUintN(64, value));
  };
  const peek = (index: number): bigint | null => {
    const value = stack.at(-1 - index);
    if (value === undefined) throw new RangeError('an expression takes what it does not have');
    return value;
  };
  for (let count = 0; code.left > 0; count++) {
    if (count >= MAX_OPERATIONS) throw new RangeError('an expression does not end');
    const operation = code.u8();
    if (operation >= 0x30 && operation <= 0x4f)
      push(BigInt(operation - 0x30)); // DW_OP_lit0 …
    else if (operation >= 0x50 && operation <= 0x6f)
      push(wide(frame.register(operation - 0x50))); // DW_OP_reg0 …
    else if (operation >= 0x70 && operation <= 0x8f)
      push(wide(frame.register(operation - 0x70) + code.sleb())); // DW_OP_breg0 …
    else if (operation in constants) push(wide(constants[operation]?.(code) ?? Number.NaN));
    else if (operation in binary) {
      const [right, left] = [pop(), pop()];
      push(left === null || right === null ? null : (binary[operation]?.(left, right) ?? null));
    } else other(operation);
  }
  return narrow(pop());

  function other(operation: number): void {
    switch (operation) {
      case 0x06: // DW_OP_deref
        return push(wide(frame.memory(narrow(pop()), 8)));
      case 0x94: // DW_OP_deref_size
        return push(wide(frame.memory(narrow(pop()), code.u8())));
      case 0x12: // DW_OP_dup
        return push(peek(0));
      case 0x13: // DW_OP_drop
        return void pop();
      case 0x14: // DW_OP_over
        return push(peek(1));
      case 0x15: // DW_OP_pick
        return push(peek(code.u8()));
      case 0x16: {
        const [top, second] = [pop(), pop()];
        push(top);
        return push(second);
      }
      case 0x1f: // DW_OP_neg
        return push(negated(pop()));
      case 0x20: // DW_OP_not
        return push(inverted(pop()));
      case 0x23: // DW_OP_plus_uconst
        return push(plus(pop(), code.uleb()));
      case 0x92: {
        const register = code.uleb();
        return push(wide(frame.register(register) + code.sleb())); // DW_OP_bregx
      }
      case 0x28: {
        const by = code.s16(); // DW_OP_bra
        const value = pop();
        return value === 0n ? undefined : jump(by);
      }
      case 0x2f: // DW_OP_skip
        return jump(code.s16());
      case 0x96: // DW_OP_nop
        return;
      default:
        throw new RangeError('an expression has an operation that is not known');
    }
  }

  function jump(by: number): void {
    const to = code.at + by;
    if (to < 0 || by > code.left) throw new RangeError('an expression jumps out of itself');
    code.at = to;
  }
}

const constants: Readonly<Record<number, (code: Reader) => number>> = {
  0x03: (code) => code.u64(),
  0x08: (code) => code.u8(),
  0x09: (code) => code.s8(),
  0x0a: (code) => code.u16(),
  0x0b: (code) => code.s16(),
  0x0c: (code) => code.u32(),
  0x0d: (code) => code.s32(),
  0x0e: (code) => code.u64(),
  0x0f: (code) => code.s64(),
  0x10: (code) => code.uleb(),
  0x11: (code) => code.sleb(),
};

const truth = (holds: boolean): bigint => (holds ? 1n : 0n);
const signed = (value: bigint): bigint => BigInt.asIntN(64, value);
const shift = (by: bigint): bigint => (by < 64n ? by : 64n);

const binary: Readonly<Record<number, (left: bigint, right: bigint) => bigint | null>> = {
  0x1a: (left, right) => left & right,
  0x1b: (left, right) => (right === 0n ? null : signed(left) / signed(right)),
  0x1c: (left, right) => left - right,
  0x1d: (left, right) => (right === 0n ? null : left % right),
  0x1e: (left, right) => left * right,
  0x21: (left, right) => left | right,
  0x22: (left, right) => left + right,
  0x24: (left, right) => left << shift(right),
  0x25: (left, right) => left >> shift(right),
  0x26: (left, right) => signed(left) >> shift(right),
  0x27: (left, right) => left ^ right,
  0x29: (left, right) => truth(left === right),
  0x2a: (left, right) => truth(signed(left) >= signed(right)),
  0x2b: (left, right) => truth(signed(left) > signed(right)),
  0x2c: (left, right) => truth(signed(left) <= signed(right)),
  0x2d: (left, right) => truth(signed(left) < signed(right)),
  0x2e: (left, right) => truth(left !== right),
};

const negated = (value: bigint | null): bigint | null => (value === null ? null : -value);
const inverted = (value: bigint | null): bigint | null => (value === null ? null : ~value);
const plus = (value: bigint | null, by: number): bigint | null => (value === null ? null : value + BigInt(by));

function wide(value: number): bigint | null {
  return Number.isInteger(value) ? BigInt.asUintN(64, BigInt(value)) : null;
}

function narrow(value: bigint | null): number {
  return value === null ? Number.NaN : Number(value);
}
