import { signalName } from '../linux/linux.js';
import { watchedCalls } from '../tracker/watched-calls.js';
import { defineTracker, pushedErrno, secondProcess } from '../tracker/define.js';

/** `enum signal_call` of the object. */
const calls = {
  kill: 1,
  tkill: 2,
  tgkill: 3,
  rt_sigqueueinfo: 4,
  rt_tgsigqueueinfo: 5,
  pidfd_send_signal: 6,
};
const PIDFD_SEND_SIGNAL = 'PIDFD_SEND_SIGNAL';

// include/uapi/asm-generic/siginfo.h
const commonCodes: Readonly<Record<number, string>> = {
  0: 'SI_USER',
  128: 'SI_KERNEL',
  [-1]: 'SI_QUEUE',
  [-2]: 'SI_TIMER',
  [-3]: 'SI_MESGQ',
  [-4]: 'SI_ASYNCIO',
  [-5]: 'SI_SIGIO',
  [-6]: 'SI_TKILL',
  [-7]: 'SI_DETHREAD',
  [-60]: 'SI_ASYNCNL',
};
/** From 1 on, by signal. */
const ownCodes: Readonly<Record<string, readonly string[]>> = {
  SIGILL: names('ILL', 'ILLOPC ILLOPN ILLADR ILLTRP PRVOPC PRVREG COPROC BADSTK BADIADDR'),
  SIGFPE: names(
    'FPE',
    'INTDIV INTOVF FLTDIV FLTOVF FLTUND FLTRES FLTINV FLTSUB DECOVF DECDIV DECERR INVASC INVDEC FLTUNK CONDTRAP',
  ),
  SIGSEGV: names('SEGV', 'MAPERR ACCERR BNDERR PKUERR ACCADI ADIDERR ADIPERR MTEAERR MTESERR CPERR'),
  SIGBUS: names('BUS', 'ADRALN ADRERR OBJERR MCEERR_AR MCEERR_AO'),
  SIGTRAP: names('TRAP', 'BRKPT TRACE BRANCH HWBKPT UNK PERF'),
  SIGCHLD: names('CLD', 'EXITED KILLED DUMPED TRAPPED STOPPED CONTINUED'),
  SIGIO: names('POLL', 'IN OUT MSG ERR PRI HUP'),
  SIGSYS: names('SYS', 'SECCOMP USER_DISPATCH'),
};

function names(prefix: string, list: string): string[] {
  return list.split(' ').map((name) => `${prefix}_${name}`);
}

/** 0 → "SI_USER"; 1 of SIGSEGV → "SEGV_MAPERR"; a code without a name is its number. */
export function signalCode(signal: number, code: number): string {
  return commonCodes[code] ?? ownCodes[signalName(signal) ?? '']?.[code - 1] ?? String(code);
}

/** The signal's number is an argument of a failed call, which may be any. */
const nameOf = (signal: number) => (signal > 64 ? String(signal) : signalName(signal));

export default defineTracker({
  name: 'signal',
  minimumKernel: '5.15',
  watches:
    'signals sent by processes or the kernel, and failed attempts: sender, target and its container, code, result, ' +
    'handler',
  details: '{signal} [to {targetPid} {targetComm}] [from {senderPid}] [{signalResult}] [= {errno}]',
  blindSpots: [
    'When one thread ends its process (exit_group, a fatal signal), the other threads are killed without ' +
      'a signal being generated: see the tracker exit.',
    'A blocked or pending signal is reported when it is sent. Whether and when its handler runs is not reported.',
    'The target of a failed call is not looked up: the event has only `requestedPid`, and a session that ' +
      'targets only the process that would have received the signal does not report it.',
    '`kill` with signal 0, which checks whether a process exists, sends nothing and has an event only if it fails.',
    'A call with several targets (kill of a process group) succeeds if it reaches at least one of them, ' +
      'and has events only for the targets it reached.',
    'On arm64, failed calls of 32-bit programs are not seen.',
  ],
  formerNames: { signalResult: 'result', signalCall: 'call' },
  columns: ['signal', 'code', 'errno', 'senderPid', 'targetPid', 'targetComm', 'targetContainerName', 'signalResult'],
  indexed: ['signal', 'code'],
  example: '{ failed: false }',
  trigger: "sh -c 'kill -TERM $$'",
  atCallExit: { signal_failed: null },
  constants: (options) => ({ noise: options.noise === true, ...watchedCalls(calls) }),
  unneeded: (options) => (options.failed === false ? ['signal_failed'] : []),
  pushed: {
    signal: { kind: 'code', stem: 'signal', max: 64, read: nameOf },
    errno: pushedErrno,
    targetPid: { kind: 'number', stem: 'target_pid', null: 0 },
  },
  fields: {
    ...secondProcess('target'),
    signal: { from: ['signal'], read: nameOf },
    code: {
      from: ['signalResult', 'signal', 'code'],
      read: (result: string | null, signal: number, code: number) =>
        result === null ? null : signalCode(signal, code),
    },
    senderPid: { from: ['sent', 'senderPid'], read: (sent: boolean, pid: number) => (sent ? pid : null) },
    requestedPid: {
      from: ['signalCall', 'requestedPid'],
      read: (call: string | null, pid: number) => (call === null || call === PIDFD_SEND_SIGNAL ? null : pid),
    },
  },
});
