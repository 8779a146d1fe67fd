import { expect, it } from 'vitest';
import {
  commandCode,
  commandName,
  commandNames,
  commandPlace,
  COMMANDS,
  otherCommands,
  passedArguments,
  passedFlags,
  type Passed,
} from './privilege-arguments.js';

const passed = (call: string, args: readonly (number | bigint)[], more: Partial<Passed> = {}): Passed => ({
  call,
  args: Array.from({ length: 5 }, (_, i) => BigInt.asUintN(64, BigInt(args[i] ?? 0))),
  details: null,
  path: null,
  objectName: null,
  objectType: null,
  second: null,
  ...more,
});

it('a command has one code, by which its name is found', () => {
  for (const name of commandNames) expect(commandName(commandCode(name) ?? 0)).toBe(name);
  expect(commandCode('PTRACE_ATTACH')).toBe(2 ** 32 + 16);
  expect(commandName(0)).toBeNull();
  expect(commandName(4 * 2 ** 32 + 999)).toBe('PR_999');
  expect(commandCode('PR_999')).toBe(4 * 2 ** 32 + 999);
  expect(commandCode('PTRACE_NOTHING')).toBeNull();
});

it('each command has a place of its own in the table of the object', () => {
  const places = commandNames.map(commandPlace);
  expect(new Set(places).size).toBe(places.length);
  const others = ['ptrace', 'bpf', 'keyctl', 'prctl', 'seccomp'].map(otherCommands);
  expect(others).toEqual([2, 3, 4, 5, 6].map((set) => set * COMMANDS - 1));
  expect(places.filter((place) => others.includes(place))).toEqual([]);
});

it.each<[Passed, string | null, readonly string[]]>([
  [passed('setresuid', [0xffffffff, 0, -1]), null, ['ruid=-1', 'euid=0', 'suid=-1']],
  [passed('setuid', [4294967294]), null, ['uid=4294967294']],
  [passed('clone', [0x10000000 | 17]), null, ['flags=CLONE_NEWUSER']],
  [passed('clone3', [], { details: [0x200000080n] }), null, ['flags=CLONE_NEWTIME|CLONE_INTO_CGROUP']],
  [passed('clone3', []), null, ['flags=?']],
  [passed('prctl', [24, 63]), 'PR_CAPBSET_DROP', ['cap=CAP_63']],
  [passed('prctl', [0x59616d61, -1]), 'PR_SET_PTRACER', ['pid=PR_SET_PTRACER_ANY']],
  [passed('prctl', [0x59616d61, 0xffffffff]), 'PR_SET_PTRACER', ['pid=PR_SET_PTRACER_ANY']],
  [passed('prctl', [99, 1, 2]), 'PR_99', ['arg2=0x1', 'arg3=0x2', 'arg4=0x0', 'arg5=0x0']],
  [passed('ptrace', [17, 4, 0, 10]), 'PTRACE_DETACH', ['pid=4', 'signal=SIGUSR1']],
  [passed('memfd_create', [0, 1], { objectName: 'a "b"\n' }), null, ['name="a \\"b\\"\\n"', 'flags=MFD_CLOEXEC']],
  [passed('iopl', [3]), null, ['level=3']],
])('the arguments of $0.call as %s are $2', (call, command, args) =>
  expect(passedArguments(call, command)).toEqual(args),
);

it('flags are those of the call that has some', () => {
  expect(passedFlags(passed('setuid', [7]), null)).toEqual([]);
  expect(passedFlags(passed('seccomp', [2, 1]), 'SECCOMP_GET_ACTION_AVAIL')).toEqual([]);
  expect(passedFlags(passed('unshare', [0x80000000 | 1]), null)).toEqual(['CLONE_IO', '0x1']);
  expect(passedFlags(passed('clone3', []), null)).toBeNull();
});
