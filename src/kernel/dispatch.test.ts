import { describe, expect, it } from 'vitest';
import { groupsOf, type CallProgram } from './dispatch.js';

const program = (name: string, ...slots: readonly number[]): CallProgram => ({ object: 0, program: name, slots });
const names = (programs: readonly CallProgram[]) => groupsOf(programs).map((group) => group.map((one) => one.program));

describe('groupsOf', () => {
  it('puts programs of different calls together', () => {
    expect(names([program('open', 2, 257), program('exec', 59), program('bind', 49, 50)])).toEqual([
      ['open', 'exec', 'bind'],
    ]);
  });

  it('has no two programs of one call in a group', () => {
    expect(names([program('tcp', 42, 43), program('unix', 42), program('open', 2), program('bind', 42, 49)])).toEqual([
      ['tcp', 'open'],
    ]);
    expect(names([program('a', 1), program('b', 1), program('c', 2), program('d', 2)])).toEqual([
      ['a', 'c'],
      ['b', 'd'],
    ]);
  });

  it('leaves a program that would be alone to itself', () => {
    expect(names([])).toEqual([]);
    expect(names([program('open', 2)])).toEqual([]);
    expect(names([program('tcp', 42), program('unix', 42)])).toEqual([]);
  });

  it('takes a program that looks at no call', () => {
    expect(names([program('none'), program('open', 2)])).toEqual([['none', 'open']]);
  });
});
