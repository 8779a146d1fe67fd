import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { objectPath } from '../../test/support/record.js';
import { parseBpfFile } from './btf.js';
import { readSections, readSymbols } from './elf.js';
import { ObjectFunctions } from './functions.js';

const bytes = readFileSync(objectPath('open'));
const { types } = parseBpfFile(bytes, 'open.bpf.o');

/** A program's own instructions, as they are in the file. */
function codeOf(program: string): Uint8Array {
  const sections = readSections(bytes);
  const symbol = readSymbols(bytes, sections).find(({ name }) => name === program);
  if (!symbol) throw new Error(`no ${program}`);
  const at = (sections[symbol.section]?.offset ?? 0) + symbol.offset;
  return Uint8Array.from(bytes.subarray(at, at + symbol.size));
}

const names = (functions: ReturnType<ObjectFunctions['of']>) =>
  functions?.map(({ at, type }) => [at, types[type]?.name] as const) ?? null;

/** As libbpf links it: the callee behind the caller, and the call to it. */
function linked(caller: string, callee: string): Uint8Array {
  const [first, second] = [codeOf(caller), codeOf(callee)];
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

it('tells the function of a program that calls none', () => {
  expect(names(new ObjectFunctions(bytes).of('follow_exit', codeOf('follow_exit')))).toEqual([[0, 'follow_exit']]);
});

it('follows a call into another section by its relocation, and calls from there', () => {
  const whole = linked('open_overflow', 'report_request');
  const code = new DataView(whole.buffer);
  const behind = codeOf('open_overflow').length / 8;
  // libbpf puts the distance to the callee into each call; here all lead to the one that is there.
  for (let i = 0; i < whole.length / 8; i++)
    if (code.getUint8(8 * i) === 0x85 && code.getUint8(8 * i + 1) >> 4 === 1)
      code.setInt32(8 * i + 4, behind - i - 1, true);
  const found = names(new ObjectFunctions(bytes).of('open_overflow', whole));
  expect(found?.[0]).toEqual([0, 'open_overflow']);
});

it('returns null for a program that is not in the file', () => {
  expect(new ObjectFunctions(bytes).of('nothing', codeOf('follow_exit'))).toBeNull();
});
