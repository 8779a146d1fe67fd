/** What a system call of a Falco condition is among the events of trackers. */
export interface CallRow {
  /** Names of Falco's event types. */
  readonly calls: readonly string[];
  readonly tracker: string;
  /** The field and its value by which the tracker tells this call; null where all of its events are it. */
  readonly select: readonly [field: string, value: string] | null;
  /** The same of a call that failed, where it is another. */
  readonly failed?: readonly [field: string, value: string] | null;
  /** False where the tracker has no errno. */
  readonly errno?: false;
  /** What the fields `evt.arg.NAME` are: see argumentKinds in field.ts. */
  readonly arguments: Readonly<Record<string, string>>;
  /** What the events do not share with Falco's. */
  readonly note?: string;
  /** What Falco calls the descriptor's type. */
  readonly descriptor?: 'file' | 'socket' | 'unix' | 'path';
}

const PATH = { name: 'path', path: 'path', pathname: 'path', filename: 'path' } as const;
const TWO_PATHS = { oldpath: 'path', newpath: 'newPath' } as const;
const LINK = { target: 'path', linkpath: 'newPath' } as const;
const TCP_NOTE =
  'connect: the event comes when the connection is established or has failed; Falco has it when the call returns. The connect of a UDP ' +
  'socket, which sends nothing, has no event';
const SENT_NOTE = 'each datagram of UDP is an event; Falco, where the rule says so, has those to a new peer';

function fsop(
  operation: string,
  calls: readonly string[],
  more: Readonly<Record<string, string>> = {},
  descriptor = false,
): CallRow {
  return {
    calls,
    tracker: 'fsop',
    select: ['fsopOperation', operation],
    // Of two paths, neither is called by these names.
    arguments: { ...(Object.values(more).includes('newPath') ? {} : PATH), flags: 'flags', ...more },
    ...(descriptor ? { descriptor: 'path' as const } : {}),
  };
}

function privilege(
  calls: readonly string[],
  more: Readonly<Record<string, string>> = {},
  note?: string,
): readonly CallRow[] {
  return calls.map((call) => ({
    calls: [call],
    tracker: 'privilege',
    select: ['privilegeCall', call.toUpperCase()],
    arguments: { flags: 'flags', ...more },
    ...(note === undefined ? {} : { note }),
  }));
}

function mount(
  operations: readonly string[],
  calls: readonly string[],
  more: Readonly<Record<string, string>>,
): readonly CallRow[] {
  return operations.map((operation) => ({
    calls,
    tracker: 'mount',
    select: ['mountOperation', operation],
    arguments: { flags: 'flags', ...more },
  }));
}

/** The table of system calls. What is not in it is an event of the tracker syscall, which has no arguments. */
export const callRows: readonly CallRow[] = [
  {
    calls: ['execve', 'execveat'],
    tracker: 'exec',
    select: null,
    arguments: { exe: 'argv0', args: 'args', filename: 'filename', comm: 'comm', cwd: 'cwd', pathname: 'filename' },
  },
  {
    calls: ['open', 'openat', 'openat2', 'creat', 'open_by_handle_at'],
    tracker: 'open',
    select: null,
    arguments: { ...PATH, flags: 'flags', fd: 'fd', mode: 'mode' },
    descriptor: 'file',
  },
  fsop('UNLINK', ['unlink', 'unlinkat']),
  fsop('RMDIR', ['rmdir', 'unlinkat']),
  fsop('RENAME', ['rename', 'renameat', 'renameat2'], TWO_PATHS),
  fsop('LINK', ['link', 'linkat'], TWO_PATHS),
  fsop('SYMLINK', ['symlink', 'symlinkat'], LINK),
  fsop('MKDIR', ['mkdir', 'mkdirat'], { mode: 'modeText' }),
  fsop('MKNOD', ['mknod', 'mknodat'], { mode: 'modeText' }),
  fsop('CHMOD', ['chmod', 'fchmod', 'fchmodat', 'fchmodat2'], { mode: 'modeText' }, true),
  fsop('CHOWN', ['chown', 'lchown', 'fchown', 'fchownat'], { uid: 'owner', gid: 'group' }, true),
  fsop('TRUNCATE', ['truncate', 'ftruncate'], {}, true),
  fsop('SETXATTR', ['setxattr', 'lsetxattr', 'fsetxattr'], { name: 'attribute' }, true),
  fsop('REMOVEXATTR', ['removexattr', 'lremovexattr', 'fremovexattr'], { name: 'attribute' }, true),
  {
    calls: ['connect'],
    tracker: 'tcp',
    select: ['tcpOperation', 'CONNECT'],
    failed: ['tcpOperation', 'CONNECT_FAILED'],
    errno: false,
    arguments: {},
    descriptor: 'socket',
    note: TCP_NOTE,
  },
  { calls: ['connect'], tracker: 'unix', select: ['unixOperation', 'CONNECT'], arguments: {}, descriptor: 'unix' },
  {
    calls: ['accept', 'accept4'],
    tracker: 'tcp',
    select: ['tcpOperation', 'ACCEPT'],
    errno: false,
    arguments: {},
    descriptor: 'socket',
  },
  {
    calls: ['accept', 'accept4'],
    tracker: 'unix',
    select: ['unixOperation', 'ACCEPT'],
    errno: false,
    arguments: {},
    descriptor: 'unix',
  },
  {
    calls: ['sendto', 'sendmsg', 'sendmmsg'],
    tracker: 'udp',
    select: ['udpOperation', 'SEND'],
    arguments: { size: 'payloadBytes' },
    descriptor: 'socket',
    note: SENT_NOTE,
  },
  {
    calls: ['recvfrom', 'recvmsg', 'recvmmsg'],
    tracker: 'udp',
    select: ['udpOperation', 'RECEIVE'],
    arguments: { size: 'payloadBytes' },
    descriptor: 'socket',
  },
  { calls: ['bind'], tracker: 'bind', select: ['bindOperation', 'BIND'], arguments: {}, descriptor: 'socket' },
  {
    calls: ['listen'],
    tracker: 'bind',
    select: ['bindOperation', 'LISTEN'],
    arguments: { backlog: 'requestedBacklog' },
    descriptor: 'socket',
  },
  ...mount(['MOUNT', 'BIND', 'REMOUNT', 'MOVE', 'SET_PROPAGATION'], ['mount'], {
    dev: 'source',
    dir: 'target',
    type: 'fsType',
  }),
  ...mount(['UNMOUNT'], ['umount', 'umount2'], { name: 'target' }),
  ...mount(['ATTACH'], ['move_mount'], {}),
  ...mount(['SET_ATTRIBUTES'], ['mount_setattr'], {}),
  ...privilege(['setuid'], { uid: 'named' }),
  ...privilege(['setreuid'], { ruid: 'named', euid: 'named' }),
  ...privilege(['setresuid'], { ruid: 'named', euid: 'named', suid: 'named' }),
  ...privilege(['setgid'], { gid: 'named' }),
  ...privilege(['setregid'], { rgid: 'named', egid: 'named' }),
  ...privilege(['setresgid'], { rgid: 'named', egid: 'named', sgid: 'named' }),
  ...privilege(['setns'], { nstype: 'flags' }),
  ...privilege(['unshare', 'memfd_create', 'userfaultfd', 'seccomp', 'kexec_load', 'kexec_file_load'], {
    name: 'objectName',
    op: 'command',
  }),
  ...privilege(
    ['capset', 'setgroups', 'setfsuid', 'setfsgid', 'pidfd_getfd', 'process_vm_readv', 'process_vm_writev'],
    { pid: 'targetPid' },
  ),
  ...privilege(['chroot', 'pivot_root'], { path: 'passed', new_root: 'passed' }),
  ...privilege(
    ['ptrace'],
    { request: 'command', pid: 'targetPid' },
    'ptrace: requests that read memory or registers of a process that is traced already have no event',
  ),
  ...privilege(['bpf'], { cmd: 'command' }, 'bpf: commands that read or write elements of maps have no event'),
  ...privilege(['prctl'], { option: 'command' }, 'prctl: options that are not about privileges have no event'),
  ...privilege(['keyctl', 'add_key', 'request_key'], { option: 'command' }),
  ...privilege(['init_module', 'finit_module'], { uargs: 'parameters' }),
  ...privilege(['delete_module'], { name: 'objectName' }),
  ...privilege(['perf_event_open', 'iopl', 'ioperm']),
  {
    calls: ['kill'],
    tracker: 'signal',
    select: ['code', 'SI_USER'],
    failed: ['signalCall', 'KILL'],
    arguments: { sig: 'signal', signal: 'signal', pid: 'targetPid' },
  },
  ...['tkill', 'tgkill'].map((call): CallRow => ({
    calls: [call],
    tracker: 'signal',
    select: ['code', 'SI_TKILL'],
    failed: ['signalCall', call.toUpperCase()],
    arguments: { sig: 'signal', signal: 'signal', pid: 'targetPid', tid: 'targetTid' },
  })),
  { calls: ['procexit'], tracker: 'exit', select: null, errno: false, arguments: { status: 'exitCode' } },
];

/** Of the events of a tracker, those of one system call and one outcome. */
export interface CallVariant {
  readonly call: string;
  readonly row: CallRow;
  readonly tracker: string;
  readonly select: readonly [field: string, value: string] | null;
  readonly result: 'ok' | 'failed';
  /** What tells the outcome; null where `select` does. */
  readonly outcome: string | null;
}

/** What an event type of Falco is, the calls that fail included; empty where no tracker has it. */
export function variantsOf(call: string, isSyscall: (name: string) => boolean): readonly CallVariant[] {
  const rows = callRows.filter(({ calls }) => calls.includes(call));
  if (!rows.length && isSyscall(call))
    return variantsOfRow(call, { calls: [call], tracker: 'syscall', select: ['name', call], arguments: {} });
  return rows.flatMap((row) => variantsOfRow(call, row));
}

function variantsOfRow(call: string, row: CallRow): readonly CallVariant[] {
  const { tracker, select, errno = true } = row;
  const made = { call, row, tracker };
  const ok: CallVariant = { ...made, select, result: 'ok', outcome: errno ? 'errno == null' : null };
  if (!errno && row.failed === undefined) return [ok];
  return [
    ok,
    {
      ...made,
      select: row.failed === undefined ? select : row.failed,
      result: 'failed',
      outcome: errno ? 'errno != null' : null,
    },
  ];
}
