import { nativeAbi, nativeCalls } from './syscalls.js';

/** An argument of a system call: a number, or a text, whose address is passed. */
export type CallArgument = number | string;

const BASE = 0x400000n;
const HEADERS = 64 + 56;

/**
 * A static program (ELF) that makes one system call and exits with its error number: 0 if the call succeeded. It reads no file, needs no
 * library and makes no other call than `exit_group`. Null for a call that this architecture does not have.
 */
export function tinyProgram(call: string, args: readonly CallArgument[]): Buffer | null {
  const [nr] = nativeCalls(call);
  const [exit] = nativeCalls('exit_group');
  if (nr === undefined || exit === undefined) return null;
  const { machine, code } = nativeAbi === 'ARM64' ? arm64 : x64;
  const length = code(nr, exit, args.map(Number)).length;
  const texts: Buffer[] = [];
  let end = Number(BASE) + HEADERS + length;
  const values = args.map((arg) => {
    if (typeof arg === 'number') return arg;
    const text = Buffer.from(`${arg}\0`);
    texts.push(text);
    end += text.length;
    return end - text.length;
  });
  return elf(machine, Buffer.concat([code(nr, exit, values), ...texts]));
}

interface Architecture {
  /** e_machine (elf.h). */
  readonly machine: number;
  /** Instructions; always of the same length for the same number of arguments. */
  code(nr: number, exit: number, args: readonly number[]): Buffer;
}

const x64: Architecture = {
  machine: 62,
  code(nr, exit, args) {
    const load = (opcode: readonly number[], value: number): Buffer => {
      const immediate = Buffer.alloc(4);
      immediate.writeInt32LE(value | 0);
      return Buffer.concat([Buffer.from(opcode), immediate]);
    };
    const [EAX, ARGUMENTS] = [[0xb8], [[0xbf], [0xbe], [0xba], [0x41, 0xba]]]; // edi, esi, edx, r10d
    return Buffer.concat([
      ...args.map((value, index) => load(ARGUMENTS[index] ?? [], value)),
      load(EAX, nr),
      Buffer.from('0f0531fff7d80f49f8', 'hex'), // syscall; xor edi, edi; neg eax; cmovns edi, eax
      load(EAX, exit),
      Buffer.from('0f05', 'hex'),
    ]);
  },
};

const arm64: Architecture = {
  machine: 183,
  code(nr, exit, args) {
    const words = [
      ...args.flatMap((value, register) => [
        0x52800000 | ((value & 0xffff) << 5) | register, // movz
        0x72a00000 | (((value >>> 16) & 0xffff) << 5) | register, // movk, lsl 16
      ]),
      0x52800008 | (nr << 5),
      0xd4000001, // svc 0
      0x6b0003e0, // negs w0, w0
      0x1a9f5000, // csel w0, w0, wzr, pl
      0x52800008 | (exit << 5),
      0xd4000001,
    ];
    const code = Buffer.alloc(words.length * 4);
    words.forEach((word, index) => code.writeUInt32LE(word >>> 0, index * 4));
    return code;
  },
};

/** An executable with one segment, which is loaded whole; its code is behind the headers. */
function elf(machine: number, code: Buffer): Buffer {
  const head = Buffer.alloc(HEADERS);
  const size = BigInt(HEADERS + code.length);
  head.write('7f454c46020101', 'hex');
  head.writeUInt16LE(2, 16); // ET_EXEC
  head.writeUInt16LE(machine, 18);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(BASE + BigInt(HEADERS), 24); // entry
  head.writeBigUInt64LE(64n, 32); // program headers
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  head.writeUInt32LE(1, 64); // PT_LOAD
  head.writeUInt32LE(5, 68); // readable, executable
  head.writeBigUInt64LE(BASE, 80);
  head.writeBigUInt64LE(BASE, 88);
  head.writeBigUInt64LE(size, 96);
  head.writeBigUInt64LE(size, 104);
  head.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([head, code]);
}
