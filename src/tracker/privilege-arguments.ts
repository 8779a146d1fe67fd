import { capabilityName, capabilityNames } from '../linux/capability.js';
import {
  bpfAttachTypes,
  bpfCommands,
  bpfMapTypes,
  bpfProgramTypes,
  keyctlOperations,
  PR_SET_PTRACER,
  prctlOptions,
  ptraceRequests,
  seccompOperations,
  type Commands,
} from '../linux/command.js';
import { signalName } from '../linux/linux.js';
import { flagNames, type Flags } from './flag.js';

/** What a system call of the tracker privilege was passed, as its record has it. */
export interface Passed {
  /** As in strace: "setresuid". */
  readonly call: string;
  /** The first five arguments; those of a 32-bit call have 32 bits. */
  readonly args: readonly bigint[];
  /** Numbers in the memory that arguments point to; null if it was not read, or the call has none. */
  readonly details: readonly bigint[] | null;
  readonly path: string | null;
  readonly objectName: string | null;
  readonly objectType: string | null;
  /** A further text. */
  readonly second: string | null;
}

/** The sets of commands, by the number that the object has for each: `enum command_set`. */
const commandSets: readonly (readonly [call: string, prefix: string, commands: Commands])[] = [
  ['ptrace', 'PTRACE_', ptraceRequests],
  ['bpf', 'BPF_', bpfCommands],
  ['keyctl', 'KEYCTL_', keyctlOperations],
  ['prctl', 'PR_', prctlOptions],
  ['seccomp', 'SECCOMP_', seccompOperations],
];
const SET = 2 ** 32;

/** "PTRACE_ATTACH" of a set << 32 | number; a number without a name is "PTRACE_99". Null for 0: the call has no commands. */
export function commandName(code: number): string | null {
  const [, prefix, commands] = commandSets[Math.floor(code / SET) - 1] ?? [];
  const number = code % SET;
  return commands ? (commands.get(number) ?? `${prefix}${number}`) : null;
}

const codes: ReadonlyMap<string, number> = new Map(
  commandSets.flatMap(([, , commands], i) =>
    [...commands].map(([number, name]): [string, number] => [name, (i + 1) * SET + number]),
  ),
);

/** The code of a command by its name; null for a name that none has. */
export function commandCode(name: string): number | null {
  const known = codes.get(name);
  if (known !== undefined) return known;
  const i = commandSets.findIndex(([, prefix]) => new RegExp(`^${prefix}\\d{1,10}$`).test(name));
  const number = Number(name.slice(commandSets[i]?.[1].length ?? 0));
  return i < 0 || number >= SET ? null : (i + 1) * SET + number;
}

/** The names of all commands that have one. */
export const commandNames: readonly string[] = [...codes.keys()];

/** The object's place of a command in its table (`command_use`). */
export function commandPlace(name: string): number {
  const code = codes.get(name) ?? 0;
  const [set, number] = [Math.floor(code / SET), code % SET];
  const place =
    set === 1 && number >= 64
      ? 64 + (number & 63)
      : number === PR_SET_PTRACER
        ? COMMANDS - 2
        : number >= COMMANDS
          ? COMMANDS - 3
          : number;
  return set * COMMANDS + place;
}
export const COMMANDS = 128;
export const COMMAND_SETS = commandSets.length + 1;
/** The place of all commands of a call that have none of their own. */
export function otherCommands(call: string): number {
  return (commandSets.findIndex(([of]) => of === call) + 2) * COMMANDS - 1;
}

// ---- Flags ----

// include/uapi/linux/sched.h
const cloneFlags: Flags = [
  [0x100, 'CLONE_VM'],
  [0x200, 'CLONE_FS'],
  [0x400, 'CLONE_FILES'],
  [0x800, 'CLONE_SIGHAND'],
  [0x1000, 'CLONE_PIDFD'],
  [0x2000, 'CLONE_PTRACE'],
  [0x4000, 'CLONE_VFORK'],
  [0x8000, 'CLONE_PARENT'],
  [0x10000, 'CLONE_THREAD'],
  [0x20000, 'CLONE_NEWNS'],
  [0x40000, 'CLONE_SYSVSEM'],
  [0x80000, 'CLONE_SETTLS'],
  [0x100000, 'CLONE_PARENT_SETTID'],
  [0x200000, 'CLONE_CHILD_CLEARTID'],
  [0x400000, 'CLONE_DETACHED'],
  [0x800000, 'CLONE_UNTRACED'],
  [0x1000000, 'CLONE_CHILD_SETTID'],
  [0x2000000, 'CLONE_NEWCGROUP'],
  [0x4000000, 'CLONE_NEWUTS'],
  [0x8000000, 'CLONE_NEWIPC'],
  [0x10000000, 'CLONE_NEWUSER'],
  [0x20000000, 'CLONE_NEWPID'],
  [0x40000000, 'CLONE_NEWNET'],
  [0x80000000 | 0, 'CLONE_IO'],
  [0x80, 'CLONE_NEWTIME'],
];
/** The upper half of clone3's. */
const cloneFlagsAbove: Flags = [
  [1, 'CLONE_CLEAR_SIGHAND'],
  [2, 'CLONE_INTO_CGROUP'],
];
const SIGNAL = 0xffn;

// include/uapi/linux/ptrace.h: of SETOPTIONS and SEIZE
const ptraceOptions: Flags = [
  ...['SYSGOOD', 'FORK', 'VFORK', 'CLONE', 'EXEC', 'VFORKDONE', 'EXIT', 'SECCOMP'].map((name, i): [number, string] => [
    1 << i,
    `PTRACE_O_TRACE${name}`,
  ]),
  [1 << 20, 'PTRACE_O_EXITKILL'],
  [1 << 21, 'PTRACE_O_SUSPEND_SECCOMP'],
];

// include/uapi/linux/securebits.h
const securebits: Flags = ['NOROOT', 'NO_SETUID_FIXUP', 'KEEP_CAPS', 'NO_CAP_AMBIENT_RAISE'].flatMap((name, i) => [
  [1 << (2 * i), `SECBIT_${name}`] as const,
  [2 << (2 * i), `SECBIT_${name}_LOCKED`] as const,
]);

export const securebitNames = (bits: number): string[] => flagNames(bits, securebits);

// include/uapi/linux: seccomp.h, memfd.h, userfaultfd.h, module.h, kexec.h, perf_event.h
const flagsOf: Readonly<Record<string, readonly [arg: number, flags: Flags]>> = {
  setns: [1, cloneFlags],
  unshare: [0, cloneFlags],
  seccomp: [
    1,
    ['TSYNC', 'LOG', 'SPEC_ALLOW', 'NEW_LISTENER', 'TSYNC_ESRCH', 'WAIT_KILLABLE_RECV'].map((name, i) => [
      1 << i,
      `SECCOMP_FILTER_FLAG_${name}`,
    ]),
  ],
  memfd_create: [
    1,
    [
      [1, 'MFD_CLOEXEC'],
      [2, 'MFD_ALLOW_SEALING'],
      [4, 'MFD_HUGETLB'],
      [8, 'MFD_NOEXEC_SEAL'],
      [16, 'MFD_EXEC'],
    ],
  ],
  userfaultfd: [
    0,
    [
      [1, 'UFFD_USER_MODE_ONLY'],
      [0x800, 'O_NONBLOCK'],
      [0x80000, 'O_CLOEXEC'],
    ],
  ],
  finit_module: [
    2,
    [
      [1, 'MODULE_INIT_IGNORE_MODVERSIONS'],
      [2, 'MODULE_INIT_IGNORE_VERMAGIC'],
      [4, 'MODULE_INIT_COMPRESSED_FILE'],
    ],
  ],
  delete_module: [
    1,
    [
      [0x200, 'O_TRUNC'],
      [0x800, 'O_NONBLOCK'],
    ],
  ],
  kexec_load: [
    3,
    [
      [1, 'KEXEC_ON_CRASH'],
      [2, 'KEXEC_PRESERVE_CONTEXT'],
      [4, 'KEXEC_UPDATE_ELFCOREHDR'],
      [8, 'KEXEC_CRASH_HOTPLUG_SUPPORT'],
    ],
  ],
  kexec_file_load: [
    4,
    [
      [1, 'KEXEC_FILE_UNLOAD'],
      [2, 'KEXEC_FILE_ON_CRASH'],
      [4, 'KEXEC_FILE_NO_INITRAMFS'],
      [8, 'KEXEC_FILE_DEBUG'],
    ],
  ],
  perf_event_open: [
    4,
    ['FD_NO_GROUP', 'FD_OUTPUT', 'PID_CGROUP', 'FD_CLOEXEC'].map((name, i) => [1 << i, `PERF_FLAG_${name}`]),
  ],
  pidfd_getfd: [2, []],
};

const at = (values: readonly bigint[], i: number): bigint => values[i] ?? 0n;
const int = (value: bigint): number => Number(BigInt.asIntN(32, value));
const uint = (value: bigint): number => Number(BigInt.asUintN(32, value));

/** The flags of a call by name; empty for calls without flags. Those of clone3 are null if they were not read. */
export function passedFlags({ call, args, details }: Passed, command: string | null): string[] | null {
  if (call === 'clone') return flagNames(int(at(args, 0) & ~SIGNAL), cloneFlags);
  if (call === 'clone3')
    return (
      details && [
        ...flagNames(int(at(details, 0)), cloneFlags),
        ...flagNames(int(at(details, 0) >> 32n), cloneFlagsAbove),
      ]
    );
  if (command === 'PTRACE_SETOPTIONS' || command === 'PTRACE_SEIZE') return flagNames(int(at(args, 3)), ptraceOptions);
  if (command === 'PR_SET_SECUREBITS') return securebitNames(int(at(args, 1)));
  if (call === 'seccomp' && command !== 'SECCOMP_SET_MODE_FILTER') return [];
  const [arg, flags] = flagsOf[call] ?? [0, null];
  return flags ? flagNames(int(at(args, arg)), flags) : [];
}

// ---- Arguments ----

type Format = (passed: Passed, i: number) => string;

const quoted = (text: string | null): string => (text === null ? '?' : JSON.stringify(text));
const joined = (names: readonly string[]): string => names.join('|') || '0';
const named = (commands: Commands, value: number): string => commands.get(value) ?? String(value);
const detail =
  (k: number, show: (value: bigint) => string): Format =>
  ({ details }) =>
    details ? show(at(details, k)) : '?';

const formats: Readonly<Record<string, Format>> = {
  // An id; -1 leaves it as it is.
  id: ({ args }, i) => String(int(at(args, i)) === -1 ? -1 : uint(at(args, i))),
  int: ({ args }, i) => String(int(at(args, i))),
  uint: ({ args }, i) => String(uint(at(args, i))),
  size: ({ args }, i) => String(at(args, i)),
  hex: ({ args }, i) => `0x${at(args, i).toString(16)}`,
  flags: (passed) => joined(passedFlags(passed, null) ?? ['?']),
  path: ({ path }) => quoted(path),
  name: ({ objectName }) => quoted(objectName),
  type: ({ objectType }) => quoted(objectType),
  second: ({ second }) => quoted(second),
  caps0: detail(0, (set) => joined(capabilityNames(set))),
  caps1: detail(1, (set) => joined(capabilityNames(set))),
  caps2: detail(2, (set) => joined(capabilityNames(set))),
};

/** "NAME:FORMAT" for each argument in turn, "." for one that is not shown; a number before the format is that of the argument. */
const signatures: Readonly<Record<string, string>> = {
  setuid: 'uid:id',
  setreuid: 'ruid:id euid:id',
  setresuid: 'ruid:id euid:id suid:id',
  setfsuid: 'uid:id',
  setgid: 'gid:id',
  setregid: 'rgid:id egid:id',
  setresgid: 'rgid:id egid:id sgid:id',
  setfsgid: 'gid:id',
  setgroups: 'size:int',
  capset: 'effective:caps0 permitted:caps1 inheritable:caps2',
  setns: 'fd:int nstype:flags',
  unshare: 'flags:flags',
  clone: 'flags:flags',
  clone3: 'flags:flags',
  chroot: 'path:path',
  pivot_root: 'new_root:path put_old:second',
  process_vm_readv: 'pid:int . liovcnt:size . riovcnt:size',
  process_vm_writev: 'pid:int . liovcnt:size . riovcnt:size',
  pidfd_getfd: 'pidfd:int targetfd:int flags:flags',
  init_module: '. len:size param_values:second',
  finit_module: 'fd:int param_values:second flags:flags',
  delete_module: 'name:name flags:flags',
  kexec_load: 'entry:hex nr_segments:size . flags:flags',
  kexec_file_load: 'kernel_fd:int initrd_fd:int cmdline_len:size cmdline:second flags:flags',
  memfd_create: 'name:name flags:flags',
  userfaultfd: 'flags:flags',
  add_key: 'type:type description:name . plen:size keyring:int',
  request_key: 'type:type description:name . dest_keyring:int',
  perf_event_open: '. pid:int cpu:int group_fd:int flags:flags',
  iopl: 'level:int',
  ioperm: 'from:size num:size turn_on:int',
};

type Argument = readonly [name: string, value: string];

const shown: ReadonlyMap<string, (passed: Passed) => Argument[]> = new Map(
  Object.entries(signatures).map(([call, signature]) => {
    const parts = signature.split(' ').flatMap((part, i) => {
      const [name = '', format = ''] = part.split(':');
      const read = formats[format];
      return read ? [{ name, read, i }] : [];
    });
    return [call, (passed) => parts.map(({ name, read, i }): Argument => [name, read(passed, i)])];
  }),
);

const integers = (args: readonly bigint[], ...names: readonly string[]): Argument[] =>
  names.map((name, i) => [name, String(int(at(args, i + 1)))]);

// include/uapi/linux/prctl.h, keyctl.h, seccomp.h
const dumpable = ['SUID_DUMP_DISABLE', 'SUID_DUMP_USER', 'SUID_DUMP_ROOT'];
const ambient = [
  '',
  'PR_CAP_AMBIENT_IS_SET',
  'PR_CAP_AMBIENT_RAISE',
  'PR_CAP_AMBIENT_LOWER',
  'PR_CAP_AMBIENT_CLEAR_ALL',
];
const seccompModes = ['SECCOMP_MODE_DISABLED', 'SECCOMP_MODE_STRICT', 'SECCOMP_MODE_FILTER'];
const ANY_PTRACER = [2n ** 64n - 1n, 2n ** 32n - 1n];

function prctlArguments(command: string, { args }: Passed): Argument[] {
  const value = at(args, 1);
  switch (command) {
    case 'PR_CAPBSET_READ':
    case 'PR_CAPBSET_DROP':
      return [['cap', capabilityName(uint(value))]];
    case 'PR_CAP_AMBIENT': {
      const what: Argument = ['operation', ambient[uint(value)] || String(uint(value))];
      return uint(value) === 4 ? [what] : [what, ['cap', capabilityName(uint(at(args, 2)))]];
    }
    case 'PR_SET_DUMPABLE':
      return [['dumpable', dumpable[uint(value)] ?? String(value)]];
    case 'PR_SET_PTRACER':
      return [['pid', ANY_PTRACER.includes(value) ? 'PR_SET_PTRACER_ANY' : String(int(value))]];
    case 'PR_SET_SECCOMP':
      return [['mode', seccompModes[uint(value)] ?? String(value)]];
    case 'PR_SET_SECUREBITS':
      return [['bits', joined(securebitNames(int(value)))]];
    case 'PR_SET_KEEPCAPS':
    case 'PR_SET_NO_NEW_PRIVS':
    case 'PR_SET_CHILD_SUBREAPER':
      return [['value', String(value)]];
    default:
      return args.slice(1).map((arg, i): Argument => [`arg${i + 2}`, `0x${arg.toString(16)}`]);
  }
}

function ptraceArguments(command: string, passed: Passed): Argument[] {
  const { args } = passed;
  if (command === 'PTRACE_TRACEME') return [];
  const pid: Argument = ['pid', String(int(at(args, 1)))];
  const data = at(args, 3);
  const addr: Argument = ['addr', `0x${at(args, 2).toString(16)}`];
  switch (command) {
    case 'PTRACE_ATTACH':
    case 'PTRACE_KILL':
    case 'PTRACE_INTERRUPT':
      return [pid];
    case 'PTRACE_SEIZE':
    case 'PTRACE_SETOPTIONS':
      return [pid, ['options', joined(passedFlags(passed, command) ?? [])]];
    case 'PTRACE_CONT':
    case 'PTRACE_DETACH':
    case 'PTRACE_LISTEN':
    case 'PTRACE_SYSCALL':
    case 'PTRACE_SINGLESTEP':
      return [pid, ['signal', signalName(uint(data)) ?? '0']];
    default:
      return [pid, addr, ['data', `0x${data.toString(16)}`]];
  }
}

function bpfArguments(command: string, { details, objectName, path }: Passed): Argument[] {
  const [first = 0n, second = 0n, third = 0n] = details ?? [];
  if (!details) return [];
  switch (command) {
    case 'BPF_PROG_LOAD':
      return [
        ['prog_type', named(bpfProgramTypes, uint(first))],
        ['expected_attach_type', named(bpfAttachTypes, uint(second))],
        ['insn_cnt', String(third)],
        ['prog_name', quoted(objectName)],
      ];
    case 'BPF_MAP_CREATE':
      return [
        ['map_type', named(bpfMapTypes, uint(first))],
        ['max_entries', String(third)],
        ['map_name', quoted(objectName)],
      ];
    case 'BPF_OBJ_PIN':
    case 'BPF_OBJ_GET':
      return [['pathname', quoted(path)]];
    case 'BPF_RAW_TRACEPOINT_OPEN':
      return [['name', quoted(objectName)]];
    case 'BPF_PROG_ATTACH':
    case 'BPF_LINK_CREATE':
      return [
        [command === 'BPF_LINK_CREATE' ? 'prog_fd' : 'target_fd', String(int(first))],
        ['attach_type', named(bpfAttachTypes, uint(second))],
      ];
    default:
      return [];
  }
}

const keyctlNames: Readonly<Record<string, readonly string[]>> = {
  KEYCTL_CHOWN: ['key', 'uid', 'gid'],
  KEYCTL_LINK: ['key', 'keyring'],
  KEYCTL_UNLINK: ['key', 'keyring'],
  KEYCTL_MOVE: ['key', 'from_keyring', 'to_keyring'],
  KEYCTL_SET_REQKEY_KEYRING: ['keyring'],
  KEYCTL_GET_PERSISTENT: ['uid', 'keyring'],
  KEYCTL_SESSION_TO_PARENT: [],
};

function keyctlArguments(command: string, { args, objectName }: Passed): Argument[] {
  if (command === 'KEYCTL_JOIN_SESSION_KEYRING') return [['name', at(args, 1) ? quoted(objectName) : 'NULL']];
  if (command === 'KEYCTL_SETPERM') return [...integers(args, 'key'), ['perm', `0x${uint(at(args, 2)).toString(16)}`]];
  return integers(args, ...(keyctlNames[command] ?? ['key']));
}

/** The arguments of a call by name, in the order of its manual page: "uid=0", "flags=CLONE_NEWNS|CLONE_NEWPID". Without the command. */
export function passedArguments(passed: Passed, command: string | null): string[] {
  const list = (): Argument[] => {
    if (command === null) return shown.get(passed.call)?.(passed) ?? [];
    switch (passed.call) {
      case 'prctl':
        return prctlArguments(command, passed);
      case 'ptrace':
        return ptraceArguments(command, passed);
      case 'bpf':
        return bpfArguments(command, passed);
      case 'keyctl':
        return keyctlArguments(command, passed);
      default:
        return command === 'SECCOMP_SET_MODE_FILTER' ? [['flags', joined(passedFlags(passed, command) ?? [])]] : [];
    }
  };
  return list().map(([name, value]) => `${name}=${value}`);
}

/** The type of a BPF program or map, or of a key; null for other calls, and if it was not read. */
export function objectTypeOf({ details, objectType }: Passed, command: string | null): string | null {
  if (objectType !== null) return objectType;
  const type = uint(details?.[0] ?? 0n);
  if (!details) return null;
  if (command === 'BPF_PROG_LOAD') return named(bpfProgramTypes, type);
  return command === 'BPF_MAP_CREATE' ? named(bpfMapTypes, type) : null;
}
