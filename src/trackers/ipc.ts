import { defineTracker, ifPath, namespaceInode, pushedErrno, secondProcess, type Constant } from '../tracker/define.js';
import { flagNames, type Flags } from '../tracker/flag.js';
import { openFlags } from '../tracker/open-flags.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';
import { watchedCalls } from '../tracker/watched-calls.js';

const operations = [
  'SHM_GET',
  'SHM_ATTACH',
  'SHM_DETACH',
  'SHM_CONTROL',
  'MSG_GET',
  'MSG_SEND',
  'MSG_RECEIVE',
  'MSG_CONTROL',
  'SEM_GET',
  'SEM_OPERATE',
  'SEM_CONTROL',
  'MQ_OPEN',
  'MQ_UNLINK',
  'MQ_SEND',
  'MQ_RECEIVE',
  'MQ_NOTIFY',
  'FD_SEND',
  'FD_RECEIVE',
] as const;
type Operation = (typeof operations)[number];

const value = (operation: Operation) => operations.indexOf(operation) + 1;
/** CALL_… of the object: sendmmsg and recvmmsg, and i386's calls in one. */
const FDS_SEND = 32;
const FDS_RECEIVE = 33;
const IPC = 34;
const SOCKETCALL = 35;

const calls: readonly (readonly [name: string, operation: Operation, value?: number])[] = [
  ['shmget', 'SHM_GET'],
  ['shmat', 'SHM_ATTACH'],
  ['shmdt', 'SHM_DETACH'],
  ['shmctl', 'SHM_CONTROL'],
  ['msgget', 'MSG_GET'],
  ['msgsnd', 'MSG_SEND'],
  ['msgrcv', 'MSG_RECEIVE'],
  ['msgctl', 'MSG_CONTROL'],
  ['semget', 'SEM_GET'],
  ['semop', 'SEM_OPERATE'],
  ['semtimedop', 'SEM_OPERATE'],
  ['semctl', 'SEM_CONTROL'],
  ['mq_open', 'MQ_OPEN'],
  ['mq_unlink', 'MQ_UNLINK'],
  ['mq_timedsend', 'MQ_SEND'],
  ['mq_timedreceive', 'MQ_RECEIVE'],
  ['mq_notify', 'MQ_NOTIFY'],
  ['sendmsg', 'FD_SEND'],
  ['sendmmsg', 'FD_SEND', FDS_SEND],
  ['recvmsg', 'FD_RECEIVE'],
  ['recvmmsg', 'FD_RECEIVE', FDS_RECEIVE],
];
/** Of 32-bit ABIs: calls with other numbers for times of 64 bits. */
const compat: typeof calls = [
  ['semtimedop_time64', 'SEM_OPERATE'],
  ['mq_timedsend_time64', 'MQ_SEND'],
  ['mq_timedreceive_time64', 'MQ_RECEIVE'],
  ['recvmmsg_time64', 'FD_RECEIVE', FDS_RECEIVE],
];

/** The calls that these operations need; sending is watched with receiving, which names the sender. */
function callsOf(chosen: readonly Operation[] | undefined): Record<string, Constant> {
  const needed = (operation: Operation) =>
    !chosen || chosen.includes(operation) || (operation === 'FD_SEND' && chosen.includes('FD_RECEIVE'));
  const valuesOf = (list: typeof calls) =>
    Object.fromEntries(
      list
        .filter(([, operation]) => needed(operation))
        .map(([name, operation, own]) => [name, own ?? value(operation)]),
    );
  return watchedCalls(valuesOf(calls), {
    ...valuesOf(compat),
    ...(process.arch === 'x64' ? { ipc: IPC, socketcall: SOCKETCALL } : {}),
  });
}

// include/uapi/linux/ipc.h, shm.h, msg.h, sem.h
const get: Flags = [
  [0o1000, 'IPC_CREAT'],
  [0o2000, 'IPC_EXCL'],
];
const flagsOf: Readonly<Partial<Record<Operation, Flags>>> = {
  SHM_GET: [...get, [0o4000, 'SHM_HUGETLB'], [0o10000, 'SHM_NORESERVE']],
  MSG_GET: get,
  SEM_GET: get,
  SHM_ATTACH: [
    [0o10000, 'SHM_RDONLY'],
    [0o20000, 'SHM_RND'],
    [0o40000, 'SHM_REMAP'],
    [0o100000, 'SHM_EXEC'],
  ],
};
const message: Flags = [
  [0o4000, 'IPC_NOWAIT'],
  [0o10000, 'MSG_NOERROR'],
  [0o20000, 'MSG_EXCEPT'],
  [0o40000, 'MSG_COPY'],
];
// include/linux/socket.h
const socketFlags: Flags = [
  [0x1, 'MSG_OOB'],
  [0x2, 'MSG_PEEK'],
  [0x4, 'MSG_DONTROUTE'],
  [0x8, 'MSG_CTRUNC'],
  [0x20, 'MSG_TRUNC'],
  [0x40, 'MSG_DONTWAIT'],
  [0x80, 'MSG_EOR'],
  [0x100, 'MSG_WAITALL'],
  [0x2000, 'MSG_ERRQUEUE'],
  [0x4000, 'MSG_NOSIGNAL'],
  [0x8000, 'MSG_MORE'],
  [0x10000, 'MSG_WAITFORONE'],
  [0x4000000, 'MSG_ZEROCOPY'],
  [0x40000000, 'MSG_CMSG_CLOEXEC'],
];
const commandsOf: Readonly<Partial<Record<Operation, Readonly<Record<number, string>>>>> = {
  SHM_CONTROL: { 11: 'SHM_LOCK', 12: 'SHM_UNLOCK', 13: 'SHM_STAT', 14: 'SHM_INFO', 15: 'SHM_STAT_ANY' },
  MSG_CONTROL: { 11: 'MSG_STAT', 12: 'MSG_INFO', 13: 'MSG_STAT_ANY' },
  SEM_CONTROL: {
    11: 'GETPID',
    12: 'GETVAL',
    13: 'GETALL',
    14: 'GETNCNT',
    15: 'GETZCNT',
    16: 'SETVAL',
    17: 'SETALL',
    18: 'SEM_STAT',
    19: 'SEM_INFO',
    20: 'SEM_STAT_ANY',
  },
};
const commonCommands = ['IPC_RMID', 'IPC_SET', 'IPC_STAT', 'IPC_INFO'] as const;

export function ipcFlags(operation: Operation, flags: number): string[] {
  if (operation === 'MQ_OPEN') return openFlags(BigInt(flags >>> 0));
  if (operation.startsWith('FD_')) return flagNames(flags, socketFlags);
  return flagNames(flags, flagsOf[operation] ?? message);
}

export function ipcCommand(operation: Operation, command: number): string | null {
  return command < 0 ? null : (commonCommands[command] ?? commandsOf[operation]?.[command] ?? String(command));
}

const semaphoreFlags: Flags = [
  [0o4000, 'IPC_NOWAIT'],
  [0o10000, 'SEM_UNDO'],
];
const SEMBUF_SIZE = 6;

/** struct sembuf, three 16-bit numbers: "2: -1 SEM_UNDO" takes one from the third semaphore of the set. */
export function semaphoreOperations(bytes: string): string[] {
  const view = new DataView(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)).buffer);
  return Array.from({ length: Math.floor(view.byteLength / SEMBUF_SIZE) }, (_, i) => {
    const at = i * SEMBUF_SIZE;
    const change = view.getInt16(at + 2, true);
    const flags = flagNames(view.getUint16(at + 4, true), semaphoreFlags).join('|');
    return `${view.getUint16(at, true)}: ${change > 0 ? '+' : ''}${change}${flags && ` ${flags}`}`;
  });
}

const ifNotNegative = (number: number) => (number < 0 ? null : number);
const ifKnown = <T>(known: boolean, number: T) => (known ? number : null);
const NO_SIZE = String(2n ** 64n - 1n);

export default defineTracker({
  name: 'ipc',
  minimumKernel: '5.17',
  watches:
    'System V shared memory, message queues and semaphores, POSIX message queues, and descriptors that are passed ' +
    'over Unix domain sockets: ids, keys, sizes, commands, time that calls wait, what is passed, and by whom',
  details:
    '{ipcOperation} [{name|path}] [id {ipcId}] [{sizeBytes}] [fd {fd}] [peer {peerPid} {peerComm}] [{durationNs}] [= {errno}]',
  blindSpots: [
    'Reads and writes of shared memory: no call is made. Segments of shm_open(3) are files below /dev/shm, which the tracker open ' +
      'reports, as shm_unlink(3) is a UNLINK of fsop; memfd_create(2) is an operation of privilege, as pidfd_getfd(2) is, which takes a ' +
      'descriptor without a message.',
    'Semaphores of sem_open(3) and sem_init(3): they are memory, and calls of futex(2) where somebody waits.',
    'What is done with a message queue by its descriptor: mq_getsetattr(2), reading, polling, inheriting.',
    'Segments that are detached when a process ends or executes a program, and what the kernel removes with an IPC namespace.',
    'The peer of FD_RECEIVE is the last process that was seen sending this file to this socket. It is null for messages that were sent ' +
      'before the session, and may be another one where several processes send the same file to one socket, or try to: a send that ' +
      'fails counts too.',
    'The peer of FD_SEND is that of the socket (SO_PEERCRED): of a socketpair the process that made it. Null for datagrams.',
    'Control data is read from the memory of the process when the call ends. Another thread may have changed it by then, and so may the ' +
      'call itself, of a program that lets it write its control data over its own msghdr. Descriptors that another thread has closed by ' +
      'then are CLOSED.',
    'A call of sendmmsg or recvmmsg whose messages carry more than some 130,000 descriptors and control messages together: what follows ' +
      'counts as one lost event.',
    'io_uring: with IORING_RECV_MULTISHOT the received descriptors are not reported; nor are descriptors that IORING_OP_MSG_RING passes ' +
      'to another ring.',
    'On arm64, calls of 32-bit programs.',
  ],
  columns: [
    'ipcOperation',
    'errno',
    'ipcId',
    'key',
    'name',
    'sizeBytes',
    'controlCommand',
    'durationNs',
    'fd',
    'path',
    'peerPid',
    'peerComm',
  ],
  example: '{ operations: [SHM_ATTACH, FD_RECEIVE] }',
  // A server passes its listening socket to a process of its own.
  trigger:
    `node -e 'const s = net.createServer().listen(0, "127.0.0.1", () => child_process.spawn(process.execPath, ["-e", ` +
    `"process.on(\\"message\\", (_, s) => { s.close(); process.disconnect() })"], { stdio: ["ignore", "ignore", "ignore", "ipc"] })` +
    `.send("x", s, () => s.close()))'`,
  atCallEntry: { ipc_enter: null },
  atCallExit: { ipc_exit: null },
  optional: uring('ipc'),
  blindWithout: blindWithoutUring('ipc', 'Descriptors that are passed through io_uring'),
  unneeded: ({ operations: chosen }) =>
    !chosen || (chosen as readonly Operation[]).some((operation) => operation.startsWith('FD_'))
      ? []
      : Object.keys(uring('ipc')),
  constants: (options) => ({
    ...callsOf(options['operations'] as readonly Operation[] | undefined),
    operations: operationMask(operations, options['operations']),
    failed_only: options['failedOnly'] === true,
  }),
  pushed: {
    ipcOperation: pushedOperation(operations),
    errno: pushedErrno,
    ipcId: { kind: 'number', stem: 'ipc_id', null: -1, min: 0 },
    peerPid: { kind: 'number', stem: 'peer_pid', null: 0 },
    name: { kind: 'text', stem: 'name', bytes: 64 },
    path: { kind: 'text', stem: 'path', bytes: 64 },
  },
  fields: {
    ...secondProcess('peer'),
    ipcId: { from: ['ipcId'], read: ifNotNegative },
    key: { from: ['keyKnown', 'key'], read: ifKnown },
    ipcNs: { from: ['ipcNs'], read: namespaceInode },
    sizeBytes: { from: ['size'], read: (size: string) => (size === NO_SIZE ? null : size) },
    flags: { from: ['ipcOperation', 'flags'], read: ipcFlags },
    mode: { from: ['mode'], read: ifNotNegative },
    controlCommand: { from: ['ipcOperation', 'command'], read: ipcCommand },
    messageType: { from: ['messageTypeKnown', 'messageType'], read: ifKnown },
    priority: { from: ['priority'], read: ifNotNegative },
    semaphores: { from: ['semaphores'], read: (number: number) => number || null },
    semaphore: { from: ['semaphore'], read: ifNotNegative },
    semaphoreValue: { from: ['semaphoreValueKnown', 'semaphoreValue'], read: ifKnown },
    semaphoreOperations: {
      from: ['ipcOperation', 'semaphoreOperations'],
      read: (operation: Operation, bytes: string | null) =>
        operation === 'SEM_OPERATE' && bytes !== null ? semaphoreOperations(bytes) : null,
    },
    fd: { from: ['fd'], read: ifNotNegative },
    messageFds: { from: ['messageFds'], read: (number: number) => number || null },
    deleted: { from: ['pathState', 'deleted'], read: ifPath },
  },
});
