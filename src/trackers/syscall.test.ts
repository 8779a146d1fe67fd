import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  isSyscallElsewhere,
  NAMED_CODES,
  syscallCode,
  syscallCodes,
  syscallName,
  syscallNames,
  syscallOfCode,
} from '../linux/syscalls.js';
import tracker from './syscall.js';

const x64 = process.arch === 'x64';
const constants = (options: Record<string, unknown>) => tracker.constants?.(options) ?? {};
const words = (options: Record<string, unknown>) =>
  Array.from({ length: 16 }, (_, i) => constants(options)[`eu_syscalls_${i}`] as bigint);
const numbersIn = (options: Record<string, unknown>) =>
  words(options).flatMap((word, i) =>
    Array.from({ length: 64 }, (_, bit) => ((word >> BigInt(bit)) & 1n ? [i * 64 + bit] : [])).flat(),
  );

describe('the names of system calls', () => {
  it('go with their numbers, there and back', () => {
    for (const name of syscallNames()) expect(syscallOfCode(syscallCode(name) ?? -1)).toBe(name);
    expect(new Set(syscallNames()).size).toBe(syscallNames().length);
    expect(syscallCode('openat')).toBe(x64 ? 257 : 56);
    expect(syscallName(470)).toBe('listns');
    expect(syscallCode('file_setattr')).toBe(469);
  });

  it('are numbers where there is no name', () => {
    expect(syscallName(999)).toBe('syscall_999');
    for (const name of ['syscall_999', 'syscall_2147483647', x64 ? 'i386_syscall_999' : 'arm_syscall_5'])
      expect(syscallOfCode(syscallCode(name) ?? -1)).toBe(name);
    for (const name of [
      'syscall_09',
      'syscall_2147483648',
      'nosuch',
      '',
      'i386_syscall',
      'mips_syscall_1',
      x64 ? 'arm_syscall_5' : 'i386_syscall_5',
    ])
      expect(syscallCode(name)).toBeNull();
    expect(isSyscallElsewhere(x64 ? 'arch_prctl' : 'open')).toBe(true);
  });

  it.runIf(x64)("are another table's in 32-bit calls, so that a number has one meaning only with its ABI", () => {
    expect(syscallName(5)).toBe('fstat');
    expect(syscallName(5, 'I386')).toBe('open');
    expect(syscallName(222, 'I386')).toBe('i386_syscall_222');
    expect(syscallName(257, 'X32')).toBe('openat');
    expect(syscallName(520, 'X32')).toBe('execve');
    expect(syscallName(5, 'ARM')).toBe('arm_syscall_5');
  });

  it.runIf(x64)('have one code in all ABIs, by which the kernel translates', () => {
    expect(syscallCodes[5]).toBe(syscallCode('open'));
    expect(syscallCodes[295]).toBe(syscallCode('openat'));
    expect(syscallCodes[520]).toBe(syscallCode('execve'));
    expect(syscallCodes[222]).toBe(0xffff);
    const socketcall = syscallCode('socketcall') ?? -1;
    expect([syscallCodes[102], syscallOfCode(socketcall)]).toEqual([socketcall, 'socketcall']);
    expect(socketcall).toBeLessThan(NAMED_CODES);
    for (let nr = 0; nr < 512; nr++) {
      const code = syscallCodes[nr];
      if (code !== 0xffff) expect(syscallOfCode(code ?? -1)).toBe(syscallName(nr, 'I386'));
    }
  });

  it.runIf(x64)('are those of the kernel headers', () => {
    const header = read('/usr/include/x86_64-linux-gnu/asm/unistd_64.h');
    const defined = [...header.matchAll(/^#define __NR_(\w+) (\d+)$/gm)];
    for (const [, name, nr] of defined) expect([nr, syscallName(Number(nr))]).toEqual([nr, name]);
    const i386 = read('/usr/include/x86_64-linux-gnu/asm/unistd_32.h');
    for (const [, name, nr] of i386.matchAll(/^#define __NR_(\w+) (\d+)$/gm))
      expect([nr, syscallName(Number(nr), 'I386')]).toEqual([nr, name]);
    const x32 = read('/usr/include/x86_64-linux-gnu/asm/unistd_x32.h');
    for (const [, name, nr] of x32.matchAll(/^#define __NR_(\w+) \(__X32_SYSCALL_BIT \+ (\d+)\)$/gm))
      expect([nr, syscallName(Number(nr), 'X32')]).toEqual([nr, name]);
  });
});

describe('the options of the tracker syscall', () => {
  it('are constants of the program', () => {
    expect(constants({})).toMatchObject({
      eu_by_syscall: false,
      eu_syscalls_rest: true,
      failed_only: false,
      eu_self: process.pid,
    });
    expect(constants({ failedOnly: true, ownCalls: true })).toMatchObject({ failed_only: true, eu_self: 0 });
  });

  it('select a set of numbers', () => {
    const nr = (name: string) => syscallCode(name) ?? -1;
    expect(numbersIn({ only: ['openat', 'read', 'listns', 'openat'] })).toEqual(
      [nr('read'), nr('openat'), 470].sort((a, b) => a - b),
    );
    expect(constants({ only: ['read'] })).toMatchObject({ eu_by_syscall: true, eu_syscalls_rest: false });
    expect(numbersIn({ except: ['read', 'syscall_511'] })).toEqual(
      Array.from({ length: NAMED_CODES }, (_, i) => i).filter((i) => i !== nr('read') && i !== 511),
    );
    expect(constants({ except: ['read', 'exit'] })).toMatchObject({ eu_by_syscall: true, eu_syscalls_rest: true });
    expect(numbersIn({ only: ['read', 'write'], except: ['write'] })).toEqual([nr('read')]);
    expect(constants({ only: null, except: null })).toMatchObject({ eu_by_syscall: false });
  });

  it('are refused where they make no sense, with what would be right', () => {
    const at = 'input.trackers[0].syscall';
    const refusal = (options: Record<string, unknown>) => {
      try {
        tracker.check?.(options, at);
      } catch (error) {
        return (error as Error).message;
      }
      return null;
    };
    expect(refusal({ only: ['read', 'opemat'] })).toMatch(
      /^input\.trackers\[0\]\.syscall\.only\[1\]: there is no system call "opemat"; did you mean "openat"/,
    );
    expect(refusal({ except: ['sys_read'] })).toContain('syscall.except[0]: there is no system call "sys_read"');
    expect(refusal({ only: ['zzzzzzzzzzzz'] })).toContain('write names as in strace');
    expect(refusal({ only: [] })).toContain('syscall.only: is empty');
    expect(refusal({ only: ['exit_group'] })).toContain('"exit_group" has no event');
    expect(refusal({ only: ['rt_sigreturn'] })).toContain('has no event');
    expect(refusal({ except: ['exit_group'] })).toBeNull();
    expect(refusal({ only: ['read'], except: ['read'] })).toContain('nothing is left');
    expect(refusal({ only: ['syscall_576'] })).toContain('up to 575');
    expect(refusal({ only: [x64 ? 'memfd_secretly' : 'open'] })).toContain(
      x64 ? 'did you mean' : 'arm64 has no system call "open"',
    );
    expect(refusal({ only: ['x'.repeat(10_000)] })?.length).toBeLessThan(300);
    expect(refusal({})).toBeNull();
  });
});

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // no compiler's headers on this machine
  }
}
