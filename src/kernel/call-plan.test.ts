import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from '../base/paths.js';
import { CHAIN_LENGTH, DISPATCHER, groupsOf, planOf, type CallProgram } from './call-plan.js';

const program = (name: string, ...slots: readonly number[]): CallProgram => ({
  object: 0,
  program: name,
  slots,
  demanded: false,
});
const each = (name: string, demanded = false): CallProgram => ({ object: 0, program: name, slots: null, demanded });
const names = (programs: readonly CallProgram[]) => groupsOf(programs).map((group) => group.map((one) => one.program));
const chain = (...programs: readonly CallProgram[]) =>
  planOf(programs).chain.map((one) => (one === DISPATCHER ? one : one.program));

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

describe('the chain of a hook', () => {
  it('has all programs of each call, and the dispatcher of the others last', () => {
    expect(chain(program('open', 2), each('syscount'), program('exec', 59), each('seccomp'))).toEqual([
      'syscount',
      'seccomp',
      DISPATCHER,
    ]);
    expect(chain(each('syscount'), each('seccomp'))).toEqual(['syscount', 'seccomp']);
  });

  it('ends with a program of some calls that has no dispatcher', () => {
    expect(chain(program('open', 2), each('syscount'))).toEqual(['syscount', 'open']);
    expect(chain(program('tcp', 42), program('unix', 42), each('syscount'))).toEqual(['syscount', 'tcp']);
  });

  it('begins with a program that is always there', () => {
    expect(chain(each('syscall', true), each('seccomp'))).toEqual(['seccomp', 'syscall']);
    expect(chain(each('syscall', true), program('ipc', 29), program('privilege', 105))).toEqual([]);
    expect(chain(each('syscall', true))).toEqual([]);
  });

  it('is none of a program alone, nor of programs of some calls', () => {
    expect(chain()).toEqual([]);
    expect(chain(each('syscount'))).toEqual([]);
    expect(chain(program('open', 2), program('exec', 59))).toEqual([]);
  });

  it('has as many places as the programs go on to', () => {
    const many = ['a', 'b', 'c', 'd', 'e'].map((name) => each(name));
    expect(chain(...many)).toEqual(['a', 'b', 'c', 'd']);
    expect(chain(...many, program('open', 2))).toEqual(['a', 'b', 'c', 'open']);
    const header = readFileSync(join(root, 'bpf/include/each_call.bpf.h'), 'utf8');
    expect(Number(/#define EU_CHAIN (\d+)/.exec(header)?.[1])).toBe(CHAIN_LENGTH);
    expect([...header.matchAll(/bpf_tail_call_static\(.*, (\d+)\)/g)].map(([, at]) => Number(at))).toEqual(
      Array.from({ length: CHAIN_LENGTH - 1 }, (_, i) => i + 1),
    );
  });
});
