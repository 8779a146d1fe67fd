import { argumentOf } from '../linux/call-arguments.js';
import { defineReport, ifListed } from '../tracker/define-report.js';
import { defineTracker, pushedErrno } from '../tracker/define.js';
import { stackBlindSpots } from '../tracker/stack.js';
import { operationMask, pushedEnum } from '../tracker/operation.js';
import { nameField, pushedName, restrictingCalls, syscallConstants, syscallSelection } from '../tracker/syscall-set.js';

/** `enum seccomp_action` of the object, in its order. */
const actions = ['ERRNO', 'ERRNO_OR_USER_NOTIF', 'TRAP', 'KILL_THREAD', 'KILL_PROCESS', 'STRICT'];
/** Those after which the call returns. */
const returning: ReadonlySet<string> = new Set(['ERRNO', 'ERRNO_OR_USER_NOTIF']);

export default defineTracker({
  name: 'seccomp',
  minimumKernel: '5.17',
  watches:
    'system calls that seccomp filters refuse, told apart from what the kernel refuses: name, arguments, action, ' +
    'error, stack',
  details: '{name|nr} {action} [= {errno}]',
  costly: ['stack'],
  blindSpots: [
    ...stackBlindSpots,
    '`stack` of a call for which the filter sent a signal (TRAP, KILL_PROCESS): its mappings are read from /proc on all kernels, so that ' +
      'the stack of a process which that ended has no functions and no callers.',
    'Calls that a filter allows and only logs (SECCOMP_RET_LOG), or passes to a tracer: no BPF program is told. The kernel writes the ' +
      'former to its log and to the audit subsystem (records of type 1326).',
    'What the kernel itself refuses, also with EPERM, is not in here: see the trackers capability, privilege and syscall.',
    'Requests of io_uring, which no filter is asked about.',
    'The first call that a thread makes after the session began, or after another thread gave it its first filter ' +
      '(SECCOMP_FILTER_FLAG_TSYNC), if the filter refuses it with an error number: it cannot be told from a call that began before. ' +
      'Threads that begin later have no such call.',
    'A supervisor (SECCOMP_RET_USER_NOTIF) may refuse a call, or carry it out itself: the kernel does not say whether it or a filter ' +
      'returned the result, so `action` is ERRNO_OR_USER_NOTIF for all calls of processes that have one.',
    'A filter that passes calls to a tracer that is not there (SECCOMP_RET_TRACE) refuses them with ENOSYS: `action` is ERRNO.',
    'A tracer can skip a call by itself: `traced` is true then, as for every call of a traced process. What it skips by changing the ' +
      'number of the call to -1, or with PTRACE_SYSEMU, has no event, so that a process can hide refused calls with the help of a tracer.',
    'Calls of vsyscall, an old page of x86-64, that are refused with an error number.',
    'Which filter of several refused the call: the kernel does not say.',
  ],
  columns: ['name', 'action', 'errno', 'abi', 'args'],
  indexed: ['name'],
  example: '{ except: ["clone3"] }',
  // A filter that refuses mkdirat with EPERM. perl makes any system call, and is on every Debian.
  trigger:
    `perl -e '($p, $m) = \`uname -m\` =~ /aarch64/ ? (167, 34) : (157, 258); ` +
    '$f = pack("SCCL" x 4, 32, 0, 0, 0, 21, 0, 1, $m, 6, 0, 0, 0x50001, 6, 0, 0, 0x7fff0000); ' +
    `syscall($p, 38, 1, 0, 0, 0); syscall($p, 22, 2, pack("Sx6P", 4, $f)); $d = "/tmp/refused"; syscall($m, -100, $d, 493)'`,
  check: (options, path) => void syscallSelection(options, path),
  constants: (options) => ({
    ...syscallConstants({ ...options, ownCalls: true }),
    actions: operationMask(actions, options['actions']),
  }),
  atCallEntry: { seccomp_enter: 'each' },
  atCallExit: { seccomp_exit: 'each' },
  pushed: {
    nr: { kind: 'number', stem: 'nr' },
    name: pushedName,
    errno: pushedErrno,
    action: pushedEnum('action', actions),
  },
  fields: {
    name: nameField,
    args: {
      from: ['arg0', 'arg1', 'arg2', 'arg3', 'arg4', 'arg5'],
      read: (...args: readonly string[]) => args.map((arg) => `0x${BigInt(arg).toString(16)}`),
    },
    ret: { from: ['action', 'ret'], read: (action: string, ret: string) => (returning.has(action) ? ret : null) },
  },
  report: defineReport<'seccomp'>({
    feeds: 'refusals',
    alike: ['name', 'errno'],
    read: ({ name, action, errno, args }) =>
      name === null ? null : { name, argument: argumentOf(name, args), action, errno },
    restricting: [...restrictingCalls, ifListed('actions', 'actions that are not listed are excluded')],
  }),
});
