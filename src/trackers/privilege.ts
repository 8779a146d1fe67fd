import { capabilities, capabilityNames, isCapability } from '../linux/capability.js';
import { defineReport, ifListed, ifSet } from '../tracker/define-report.js';
import { defineTracker, pushedErrno, secondProcess, type Constant, type FieldDefinition } from '../tracker/define.js';
import { pushedOperation } from '../tracker/operation.js';
import {
  COMMAND_SETS,
  commandCode,
  commandName,
  commandNames,
  commandPlace,
  COMMANDS,
  objectTypeOf,
  otherCommands,
  passedArguments,
  passedFlags,
  securebitNames,
  type Passed,
} from '../tracker/privilege-arguments.js';
import { watchedCalls } from '../tracker/watched-calls.js';

const operations = [
  'SET_UID',
  'SET_GID',
  'SET_GROUPS',
  'SET_CAPABILITIES',
  'JOIN_NAMESPACE',
  'UNSHARE',
  'CLONE',
  'CHANGE_ROOT',
  'TRACE',
  'READ_MEMORY',
  'WRITE_MEMORY',
  'TAKE_DESCRIPTOR',
  'BPF',
  'LOAD_MODULE',
  'UNLOAD_MODULE',
  'KEXEC',
  'CREATE_MEMFD',
  'USERFAULTFD',
  'KEY',
  'PRCTL',
  'SECCOMP',
  'PERF_EVENT',
  'IO_PORTS',
] as const;
type Operation = (typeof operations)[number];

/** In the order of `enum privilege_call` of the object. */
const calls: readonly (readonly [name: string, operation: Operation])[] = [
  ['setuid', 'SET_UID'],
  ['setreuid', 'SET_UID'],
  ['setresuid', 'SET_UID'],
  ['setfsuid', 'SET_UID'],
  ['setgid', 'SET_GID'],
  ['setregid', 'SET_GID'],
  ['setresgid', 'SET_GID'],
  ['setfsgid', 'SET_GID'],
  ['setgroups', 'SET_GROUPS'],
  ['capset', 'SET_CAPABILITIES'],
  ['setns', 'JOIN_NAMESPACE'],
  ['unshare', 'UNSHARE'],
  ['clone', 'CLONE'],
  ['clone3', 'CLONE'],
  ['chroot', 'CHANGE_ROOT'],
  ['pivot_root', 'CHANGE_ROOT'],
  ['ptrace', 'TRACE'],
  ['process_vm_readv', 'READ_MEMORY'],
  ['process_vm_writev', 'WRITE_MEMORY'],
  ['pidfd_getfd', 'TAKE_DESCRIPTOR'],
  ['bpf', 'BPF'],
  ['init_module', 'LOAD_MODULE'],
  ['finit_module', 'LOAD_MODULE'],
  ['delete_module', 'UNLOAD_MODULE'],
  ['kexec_load', 'KEXEC'],
  ['kexec_file_load', 'KEXEC'],
  ['memfd_create', 'CREATE_MEMFD'],
  ['userfaultfd', 'USERFAULTFD'],
  ['add_key', 'KEY'],
  ['request_key', 'KEY'],
  ['keyctl', 'KEY'],
  ['prctl', 'PRCTL'],
  ['seccomp', 'SECCOMP'],
  ['perf_event_open', 'PERF_EVENT'],
  ['iopl', 'IO_PORTS'],
  ['ioperm', 'IO_PORTS'],
];
const names = calls.map(([name]) => name);
const callOfCode = (code: number) => names[code - 1]?.toUpperCase() ?? null;

/** They can change what the caller is: the object looks at it when they begin, too. */
const changing: ReadonlySet<Operation> = new Set<Operation>([
  'SET_UID',
  'SET_GID',
  'SET_GROUPS',
  'SET_CAPABILITIES',
  'JOIN_NAMESPACE',
  'UNSHARE',
  'PRCTL',
  'SECCOMP',
]);
const changingCommands = [
  'PR_SET_KEEPCAPS',
  'PR_SET_SECCOMP',
  'PR_CAPBSET_DROP',
  'PR_SET_SECUREBITS',
  'PR_SET_NO_NEW_PRIVS',
  'PR_CAP_AMBIENT',
  'SECCOMP_SET_MODE_STRICT',
  'SECCOMP_SET_MODE_FILTER',
];

/** Commands that read what anybody may, or let a traced process go on; a debugger makes thousands a second. */
const routine: ReadonlySet<string> = new Set(
  [
    'PTRACE: PEEKTEXT PEEKDATA PEEKUSR CONT SINGLESTEP GETREGS GETFPREGS GETFPXREGS SYSCALL GET_THREAD_AREA SYSEMU SYSEMU_SINGLESTEP' +
      ' SINGLEBLOCK GETEVENTMSG GETSIGINFO GETREGSET INTERRUPT LISTEN PEEKSIGINFO GETSIGMASK SECCOMP_GET_METADATA GET_SYSCALL_INFO' +
      ' GET_RSEQ_CONFIGURATION GET_SYSCALL_USER_DISPATCH_CONFIG',
    'BPF: MAP_LOOKUP_ELEM MAP_UPDATE_ELEM MAP_DELETE_ELEM MAP_GET_NEXT_KEY PROG_GET_NEXT_ID MAP_GET_NEXT_ID OBJ_GET_INFO_BY_FD' +
      ' PROG_QUERY TASK_FD_QUERY MAP_LOOKUP_AND_DELETE_ELEM BTF_GET_NEXT_ID MAP_LOOKUP_BATCH MAP_LOOKUP_AND_DELETE_BATCH' +
      ' MAP_UPDATE_BATCH MAP_DELETE_BATCH LINK_GET_NEXT_ID PROG_STREAM_READ_BY_FD',
    'KEYCTL: GET_KEYRING_ID DESCRIBE SEARCH GET_SECURITY PKEY_QUERY CAPABILITIES',
    'SECCOMP: GET_ACTION_AVAIL GET_NOTIF_SIZES',
  ].flatMap((line) => {
    const [prefix = '', list = ''] = line.split(': ');
    return list.split(' ').map((name) => `${prefix}_${name}`);
  }),
);
/** Of prctl's many options, those that are about privileges. */
const aboutPrivileges: ReadonlySet<string> = new Set(
  (
    'SET_DUMPABLE SET_KEEPCAPS SET_SECCOMP CAPBSET_DROP SET_SECUREBITS SET_MM SET_NO_NEW_PRIVS CAP_AMBIENT SET_SPECULATION_CTRL' +
    ' SET_SYSCALL_USER_DISPATCH SET_MDWE SET_PTRACER SET_SHADOW_STACK_STATUS LOCK_SHADOW_STACK_STATUS'
  )
    .split(' ')
    .map((name) => `PR_${name}`),
);

// `enum command_use` of the object
const REPORTED = 1;
const CHANGES = 2;

/** A command that has no name is reported too: a newer kernel has more. Of prctl's, most are not about privileges. */
function commandUses(all: boolean): Uint16Array {
  const uses = new Uint16Array(COMMAND_SETS * COMMANDS);
  for (const call of ['ptrace', 'bpf', 'keyctl', 'prctl', 'seccomp'])
    if (all || call !== 'prctl') uses.fill(REPORTED, otherCommands(call) - COMMANDS + 1, otherCommands(call) + 1);
  for (const name of commandNames)
    if (aboutPrivileges.has(name)) uses[commandPlace(name)] = REPORTED;
    else if (!all && routine.has(name)) uses[commandPlace(name)] = 0;
  for (const name of changingCommands) uses[commandPlace(name)] = REPORTED | CHANGES;
  return uses;
}

/** The value of a call in the object's table: CALL, OPERATION, CALL_CHANGES and CALL_SHORT_IDS. */
const valueOf = (call: number, operation: Operation, short = false) =>
  (call + 1) |
  ((operations.indexOf(operation) + 1) << 7) |
  (changing.has(operation) ? 1 << 14 : 0) |
  (short ? 1 << 15 : 0);

function watched(chosen: (operation: Operation) => boolean): Record<string, Constant> {
  const native: Record<string, number> = {};
  const compat: Record<string, number> = {};
  for (const [i, [name, operation]] of calls.entries()) {
    if (!chosen(operation)) continue;
    native[name] = valueOf(i, operation);
    // i386's old calls take ids of 16 bits, and the names of their successors end in 32.
    if (process.arch !== 'x64' || !/^SET_(UID|GID|GROUPS)$/.test(operation)) continue;
    compat[name] = valueOf(i, operation, name !== 'setgroups');
    compat[`${name}32`] = valueOf(i, operation);
  }
  return watchedCalls(native, compat);
}

const chosenOf = ({ operations: given }: Readonly<Record<string, unknown>>) => {
  const list = given as readonly Operation[] | null | undefined;
  return (operation: Operation) => !list || list.includes(operation);
};

// ---- Fields ----

const passedFrom = [
  'privilegeCall', 'arg0', 'arg1', 'arg2', 'arg3', 'arg4', 'memoryKnown', 'detail0', 'detail1', 'detail2',
  'path', 'objectName', 'objectType', 'second', 'command',
] as const; // prettier-ignore

/** A field that is read from what the call was passed. */
function ofPassed<Value extends string | readonly string[] | null>(
  read: (passed: Passed, command: string | null) => Value,
): FieldDefinition {
  return {
    from: passedFrom,
    read: (
      call: string,
      ...[
        arg0,
        arg1,
        arg2,
        arg3,
        arg4,
        known,
        detail0,
        detail1,
        detail2,
        path,
        objectName,
        objectType,
        second,
        command,
      ]: [
        ...[string, string, string, string, string],
        boolean,
        ...[string, string, string],
        ...[string | null, string | null, string | null, string | null],
        string,
      ]
    ) =>
      read(
        {
          call: call.toLowerCase(),
          args: [arg0, arg1, arg2, arg3, arg4].map(BigInt),
          details: known ? [detail0, detail1, detail2].map(BigInt) : null,
          path,
          objectName,
          objectType,
          second,
        },
        commandName(Number(command)),
      ) as string | string[] | null,
  };
}

type Show = (value: never) => string | number | boolean | readonly string[];
const plain = (value: number) => value;
const seccompModes = ['DISABLED', 'STRICT', 'FILTER'];
const modeName = (mode: number) => seccompModes[mode] ?? 'FILTER';

/** What the object knows of a task, and how it is shown: PRIVILEGE_STATE. */
const state: Readonly<Record<string, Show>> = {
  uid: plain,
  euid: plain,
  suid: plain,
  fsuid: plain,
  gid: plain,
  egid: plain,
  sgid: plain,
  fsgid: plain,
  capEffective: capabilityNames,
  capPermitted: capabilityNames,
  capInheritable: capabilityNames,
  capBounding: capabilityNames,
  capAmbient: capabilityNames,
  userNs: plain,
  userNsLevel: plain,
  mountNs: plain,
  pidNs: plain,
  netNs: plain,
  utsNs: plain,
  ipcNs: plain,
  cgroupNs: plain,
  timeNs: plain,
  securebits: securebitNames,
  seccompMode: modeName,
  noNewPrivs: Boolean,
};
const members = Object.keys(state);

type Shown = string | number | boolean | string[];
const stateFields: Record<string, FieldDefinition> = Object.fromEntries(
  Object.entries(state).flatMap(([name, show]): [string, FieldDefinition][] => {
    const read = show as (value: unknown) => Shown;
    return [
      [
        `${name}Before`,
        { from: ['beforeKnown', `${name}Before`], read: (known: boolean, value) => (known ? read(value) : null) },
      ],
      ...(show === plain ? [] : [[`${name}After`, { from: [`${name}After`], read }] as [string, FieldDefinition]]),
    ];
  }),
);

const capabilityNameSet = { of: 'capability', has: isCapability, all: capabilities };
const capabilityFields = [
  'capabilitiesGained',
  'capabilitiesLost',
  ...members.filter((name) => name.startsWith('cap')).flatMap((name) => [`${name}Before`, `${name}After`]),
];

/** What is in one of two sets and not in the other. */
const without = (set: string, other: string) => capabilityNames(BigInt(set) & ~BigInt(other));

/** "euid 1000 → 0", "capEffective +CAP_SYS_ADMIN -CAP_CHOWN": what is other after the call than before. */
export function changesOf(before: readonly unknown[], after: readonly unknown[]): string[] {
  return members.flatMap((name, i) => {
    const [old, now] = [before[i], after[i]];
    if (old === now) return [];
    if (state[name] === capabilityNames) {
      const gained = without(String(now), String(old)).map((cap) => ` +${cap}`);
      return [[name, ...gained, ...without(String(old), String(now)).map((cap) => ` -${cap}`)].join('')];
    }
    const show = state[name] as (value: unknown) => Shown;
    const text = (value: unknown) => {
      const one = show(value);
      return Array.isArray(one) ? one.join('|') || 'none' : String(one);
    };
    return [`${name} ${text(old)} → ${text(now)}`];
  });
}

const ifSucceeded = (errno: string | null, result: string) => (errno === null ? result : null);
const ofEffective = (read: (before: string, after: string) => string[]): FieldDefinition => ({
  from: ['beforeKnown', 'capEffectiveBefore', 'capEffectiveAfter'],
  read: (known: boolean, before: string, after: string) => (known ? read(before, after) : null),
});

export default defineTracker({
  name: 'privilege',
  minimumKernel: '5.17',
  watches:
    'changes and uses of privileges: users, groups, capabilities, namespaces, roots, ptrace, memory of other ' +
    'processes, BPF, modules, kexec, keys, memfds, prctl and seccomp, with arguments by name, credentials and ' +
    'namespaces before and after, target process and its container',
  details: '{privilegeCall} [{command}] [{arguments}] [of {targetPid} {targetComm}] [{changes}] [= {errno}]',
  blindSpots: [
    'Privileges that change without one of these calls: executing a set-user-ID program or one with file capabilities (the ' +
      'tracker exec reports the execution), a write to /proc/PID/uid_map or gid_map, ioctls, a change of cgroup, Landlock.',
    "Access to another process's memory through /proc/PID/mem, and its descriptors through /proc/PID/fd: see the tracker open.",
    'Requests of io_uring run with credentials that were registered before (IORING_REGISTER_PERSONALITY), and do not change ' +
      'those of their process; none of these calls can be made through io_uring.',
    'Routine commands are excluded without the option `routine`; this includes ptrace requests that read memory and ' +
      'registers of a process that is already traced.',
    'What arguments point to is read when the call returns: another thread may have changed it by then. Credentials and ' +
      'namespaces are the kernel’s own.',
    'The supplementary groups themselves: SET_GROUPS reports their number.',
    'The name of a module that init_module loads is inside the image, and not read. For finit_module, `resolved` is the path of the file.',
    'If a filter of seccomp answers a call by itself with success, or if the call began before the session, what was before ' +
      'is unknown: these fields are null.',
    'A call that does not take place, but has no error, looks like one that succeeded: where a filter of seccomp ends the ' +
      'process or sends SIGSYS (SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP), where it returns a value of its own, and where a ' +
      'tracer answers in the place of the kernel (PTRACE_SYSEMU, or by writing the registers). `changes` is empty then.',
    'The file of a descriptor and the process of a number are looked up when the call returns: another thread may have put ' +
      'another file there, and the process may have ended.',
    'What a call changes in other threads (SECCOMP_FILTER_FLAG_TSYNC) has no event of its own, and shows in `changes` of a ' +
      'call that one of them is in.',
    'On arm64, calls of 32-bit programs.',
  ],
  formerNames: { privilegeOperation: 'operation', privilegeCall: 'call' },
  columns: ['privilegeCall', 'command', 'errno', 'arguments', 'targetComm', 'changes'],
  indexed: ['command'],
  example: '{ operations: [SET_UID, SET_CAPABILITIES, UNSHARE, TRACE] }',
  trigger: 'unshare --user --map-root-user setpriv --no-new-privs true',
  atCallEntry: { privilege_enter: null },
  atCallExit: { privilege_exit: null },
  constants: (options): Record<string, Constant> => ({
    ...watched(chosenOf(options)),
    privilege_commands: commandUses(options['routine'] === true),
    failed_only: options['failedOnly'] === true,
    eu_self: options['ownCalls'] === true ? 0 : process.pid,
  }),
  unneeded: (options) => {
    const chosen = chosenOf(options);
    const failedOnly = options['failedOnly'] === true;
    return [
      ...(failedOnly || options['before'] === false || ![...changing].some(chosen) ? ['privilege_enter'] : []),
      ...(failedOnly || !chosen('CLONE') ? ['privilege_fork'] : []),
    ];
  },
  names: {
    command: { of: 'command', has: (name) => commandCode(name) !== null, all: commandNames },
    ...Object.fromEntries(capabilityFields.map((field) => [field, capabilityNameSet])),
  },
  pushed: {
    privilegeOperation: pushedOperation(operations),
    privilegeCall: { kind: 'code', stem: 'called', max: names.length, read: callOfCode },
    command: { kind: 'code', stem: 'command', max: 0, codeOf: commandCode, read: commandName },
    errno: pushedErrno,
    targetPid: { kind: 'number', stem: 'target_pid', null: 0 },
    euidBefore: { kind: 'number', stem: 'euid_before', null: -1 },
    euidAfter: { kind: 'number', stem: 'euid_after' },
    path: { kind: 'text', stem: 'path', bytes: 64 },
    objectName: { kind: 'text', stem: 'object_name', bytes: 64 },
  },
  fields: {
    ...secondProcess('target'),
    ...stateFields,
    command: { from: ['command'], read: (code: string) => commandName(Number(code)) },
    arguments: ofPassed(passedArguments),
    flags: ofPassed(passedFlags),
    objectType: ofPassed(objectTypeOf),
    oldRoot: {
      from: ['privilegeCall', 'second'],
      read: (call: string, text: string | null) => (call === 'PIVOT_ROOT' ? text : null),
    },
    parameters: {
      from: ['privilegeCall', 'second'],
      read: (call: string, text: string | null) => (call === 'PIVOT_ROOT' ? null : text),
    },
    result: { from: ['errno', 'result'], read: ifSucceeded },
    capabilitiesGained: ofEffective((before, after) => without(after, before)),
    capabilitiesLost: ofEffective(without),
    changes: {
      from: ['beforeKnown', ...members.map((name) => `${name}Before`), ...members.map((name) => `${name}After`)],
      read: (known: boolean, ...values: unknown[]) =>
        known ? changesOf(values.slice(0, members.length), values.slice(members.length)) : null,
    },
  },
  report: defineReport<'privilege'>({
    feeds: 'privileges',
    alike: ['privilegeCall', 'command', 'errno'],
    read: ({ privilegeCall, command, errno, targetComm }) => ({
      call: privilegeCall.toLowerCase(),
      command: command ?? null,
      errno: errno ?? null,
      target: targetComm ?? null,
    }),
    restricting: [
      ifSet('failedOnly', 'calls that succeed are excluded'),
      ifListed('operations', 'operations that are not listed are excluded'),
    ],
    extending: ['routine', 'ownCalls'],
    neutral: ['before'],
  }),
});
