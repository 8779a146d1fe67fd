import { expect, it } from 'vitest';
import { COMMANDS, otherCommands } from '../tracker/privilege-arguments.js';
import privilege, { changesOf } from './privilege.js';

const members = 25;
const state = (changed: Readonly<Record<number, unknown>>) =>
  Array.from({ length: members }, (_, i) => changed[i] ?? (i >= 8 && i < 13 ? '3' : 0));

it('what a call changed is said by the names of the fields', () => {
  expect(changesOf(state({}), state({}))).toEqual([]);
  expect(changesOf(state({ 1: 1000 }), state({ 8: '5', 22: 16, 23: 2, 24: 1 }))).toEqual([
    'euid 1000 → 0',
    'capEffective +CAP_DAC_READ_SEARCH -CAP_DAC_OVERRIDE',
    'securebits none → SECBIT_KEEP_CAPS',
    'seccompMode DISABLED → FILTER',
    'noNewPrivs false → true',
  ]);
});

it('commands that have no name are reported, but those of prctl, which has many that are not about privileges', () => {
  const uses = (routine: boolean) => {
    const { privilege_commands: table } = privilege.constants?.({ routine }) ?? {};
    return (call: string, number: number) => (table as Uint16Array)[otherCommands(call) - COMMANDS + 1 + number];
  };
  for (const routine of [false, true])
    for (const [call, number] of [
      ['ptrace', 34],
      ['bpf', 60],
      ['keyctl', 60],
      ['seccomp', 9],
    ] as const)
      expect([call, uses(routine)(call, number)]).toEqual([call, 1]);
  expect([uses(false)('prctl', 17), uses(true)('prctl', 17)]).toEqual([0, 1]);
  // PTRACE_PEEKTEXT
  expect([uses(false)('ptrace', 1), uses(true)('ptrace', 1)]).toEqual([0, 1]);
});

it('programs that the options need not are not loaded', () => {
  const unneeded = (options: Readonly<Record<string, unknown>>) => privilege.unneeded?.(options);
  expect(unneeded({})).toEqual([]);
  expect(unneeded({ failedOnly: true })).toEqual(['privilege_enter', 'privilege_fork']);
  expect(unneeded({ before: false })).toEqual(['privilege_enter']);
  expect(unneeded({ operations: ['BPF'] })).toEqual(['privilege_enter', 'privilege_fork']);
  expect(unneeded({ operations: ['CLONE'] })).toEqual(['privilege_enter']);
  expect(unneeded({ operations: ['SET_UID'] })).toEqual(['privilege_fork']);
});
