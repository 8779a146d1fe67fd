import { defineReport, ifSet } from '../tracker/define-report.js';
import { defineTracker, pushedErrno } from '../tracker/define.js';
import { stackBlindSpots } from '../tracker/stack.js';
import { nameField, pushedName, restrictingCalls, syscallConstants, syscallSelection } from '../tracker/syscall-set.js';

export default defineTracker({
  name: 'syscall',
  minimumKernel: '5.13',
  watches: 'every system call when it returns: name, result or error, duration; the stack of a refusal',
  details: '{name|nr} [= {errno|ret}] [{durationNs}]',
  costly: ['stack'],
  blindSpots: [
    ...stackBlindSpots,
    'Calls that do not return: exit, exit_group, rt_sigreturn, and calls in progress when their process is killed.',
    'io_uring requests, which are not system calls: only io_uring_enter is reported, and with IORING_SETUP_SQPOLL not even that.',
    'What needs no system call: the vDSO (clock_gettime, getcpu) and access to mapped memory.',
    'On arm64, 32-bit calls have numbers but no names.',
  ],
  indexed: ['name'],
  example: '{ only: ["connect", "accept4"], failedOnly: true }',
  trigger: `node -e 'net.connect(1, "127.0.0.1").on("error", () => 0)'`,
  check: (options, path) => void syscallSelection(options, path),
  constants: (options) => ({ ...syscallConstants(options), failed_only: options.failedOnly === true }),
  atCallEntry: { syscall_enter: 'each' },
  atCallExit: { syscall_exit: 'each' },
  demanded: { syscall_enter: 'durationNs' },
  pushed: {
    nr: { kind: 'number', stem: 'nr' },
    name: pushedName,
    errno: pushedErrno,
    ret: { kind: 'number', stem: 'ret' },
  },
  fields: {
    name: nameField,
  },
  report: defineReport<'syscall'>({
    feeds: 'syscalls',
    alike: ['name', 'abi', 'errno'],
    read: ({ name, abi, errno }) =>
      name === null ? null : { name, abi: abi ?? null, argument: null, count: 1, errors: errno === null ? 0 : 1 },
    restricting: [...restrictingCalls, ifSet('failedOnly', 'calls that succeed are excluded')],
    extending: ['ownCalls'],
    supersededBy: ['syscount'],
  }),
});
