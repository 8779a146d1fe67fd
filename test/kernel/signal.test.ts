import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen } from '../support/session.js';
import { compileC, ended, firstLine, run, scratch, start } from '../support/workload.js';
import { itNarrow } from '../support/narrow.js';

const source = `
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void handle(int signal) { }
static int is(const char *what, const char *name) { return !strcmp(what, name); }
static void quiet(int signal) { struct sigaction a = { .sa_handler = handle }; sigaction(signal, &a, NULL); }
static void print(long result) { printf("%ld\\n", result < 0 ? (long)-errno : result); }
int main(int argc, char **argv)
{
	const char *what = argv[1];
	int pid = argc > 2 ? atoi(argv[2]) : 0;
	siginfo_t info = { .si_code = SI_QUEUE };

	if (is(what, "target")) { /* SIGUSR1 has a handler, SIGUSR2 is ignored, SIGHUP is blocked; ends with its input */
		sigset_t set;
		char end;
		quiet(SIGUSR1);
		for (int s = SIGRTMIN; s <= SIGRTMAX; s++) quiet(s);
		signal(SIGUSR2, SIG_IGN);
		sigemptyset(&set); sigaddset(&set, SIGHUP); sigprocmask(SIG_BLOCK, &set, NULL);
		puts("ready"); fflush(stdout);
		while (read(0, &end, 1) < 0 && errno == EINTR);
	} else if (is(what, "queue")) { /* PID SIGNAL CODE */
		info.si_code = atoi(argv[4]); info.si_pid = getpid();
		print(syscall(SYS_rt_sigqueueinfo, pid, atoi(argv[3]), &info));
	} else if (is(what, "thread")) { /* PID SIGNAL */
		print(syscall(SYS_tgkill, pid, pid, atoi(argv[3])));
	} else if (is(what, "pidfd")) {
		print(syscall(SYS_pidfd_send_signal, syscall(SYS_pidfd_open, pid, 0), atoi(argv[3]), NULL, 0));
	} else if (is(what, "alarm")) {
		quiet(SIGALRM);
		struct itimerval t = { .it_value.tv_usec = 1000 };
		setitimer(ITIMER_REAL, &t, NULL); pause();
	} else if (is(what, "timer")) {
		timer_t id; struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
		struct itimerspec t = { .it_value.tv_nsec = 1000000 };
		quiet(SIGUSR2);
		timer_create(CLOCK_MONOTONIC, &e, &id); timer_settime(id, 0, &t, NULL); pause();
	} else if (is(what, "fault")) {
		*(volatile int *)8 = 1;
	} else if (is(what, "pipe")) {
		int fd[2];
		pipe(fd); close(fd[0]); write(fd[1], "x", 1);
	} else if (is(what, "fail")) { /* one of each call, to a pid that nobody has */
		int no = 0x3ffffff;
		print(kill(no, SIGTERM)); print(syscall(SYS_tkill, no, 33)); print(syscall(SYS_tgkill, no, no - 1, SIGKILL));
		print(syscall(SYS_rt_sigqueueinfo, no, 40, &info)); print(syscall(SYS_rt_tgsigqueueinfo, no, no - 1, 41, &info));
		print(syscall(SYS_pidfd_send_signal, -1, SIGUSR1, NULL, 0)); print(kill(no, 0)); print(kill(0, 99)); print(kill(-no, SIGINT));
	} else if (is(what, "refused")) {
		if (setuid(65534)) return 1;
		print(kill(pid, SIGKILL));
	} else if (is(what, "compat")) {
		long result;
		__asm__ volatile("int $0x80" : "=a"(result) : "a"(37), "b"(0x3ffffff), "c"(15) : "r8", "r9", "r10", "r11", "memory");
		printf("%ld\\n", result);
	} else if (is(what, "noise")) {
		quiet(SIGURG);
		kill(getpid(), SIGURG);
		if (!fork()) _exit(0);
		wait(NULL);
		kill(getpid(), SIGWINCH);
	} else if (is(what, "burst")) { /* PID COUNT PROCESSES */
		for (int p = 0; p < atoi(argv[4]); p++)
			if (!fork()) { for (int i = 0; i < atoi(argv[3]); i++) kill(pid, SIGUSR1); _exit(0); }
		while (wait(NULL) > 0);
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('signals', source, '-pthread', '-Wno-unused-result');
});

const work = (...args: readonly (string | number)[]) => run(program, args.map(String));
const to = (pid: number, signal?: string) => (e: Seen) =>
  e['targetPid'] === pid && (signal === undefined || e['signal'] === signal);
const by = (pid: number) => (e: Seen) => e.process.pid === pid;
const mine = { pids: [process.pid] };

/** A process that waits for signals, and its end. */
async function target(): Promise<{ pid: number; end: () => Promise<void> }> {
  const child = start(program, ['target']);
  expect(await firstLine(child)).toBe('ready');
  return {
    pid: child.pid ?? 0,
    end: async () => {
      const exited = once(child, 'exit');
      child.stdin?.end();
      await exited;
    },
  };
}

describe('the tracker signal', () => {
  it('reports sender, target, code, result and handler of a signal', async () => {
    const { pid, end } = await target();
    const signal = await startTracker('signal', mine);
    process.kill(pid, 'SIGUSR1');
    process.kill(pid, 'SIGUSR2');
    process.kill(pid, 'SIGHUP');
    process.kill(pid, 'SIGHUP');
    const common = {
      errno: null,
      code: 'SI_USER',
      senderPid: process.pid,
      process: { pid: process.pid },
      targetPid: pid,
      targetTid: pid,
      targetComm: 'signals',
      targetUid: 0,
      targetContainerId: null,
      targetContainerName: null,
      toThread: false,
      requestedPid: null,
      signalCall: null,
    };
    const usr1 = await signal.next(to(pid, 'SIGUSR1'));
    expect(usr1).toMatchObject({ ...common, signalResult: 'DELIVERED', handler: 'FUNCTION' });
    expect(String(usr1['targetStartTime']) < usr1.time).toBe(true);
    expect(usr1['targetCgroupId']).toBe(usr1.cgroupId);
    expect(await signal.next(to(pid, 'SIGUSR2'))).toMatchObject({ signalResult: 'IGNORED', handler: 'IGNORE' });
    expect(await signal.next(to(pid, 'SIGHUP'))).toMatchObject({ signalResult: 'DELIVERED', handler: 'DEFAULT' });
    expect(await signal.next(to(pid, 'SIGHUP'))).toMatchObject({ signalResult: 'ALREADY_PENDING' });
    await end();
  });

  it('names real-time signals as glibc counts them, and tells a thread from a process', async () => {
    const { pid, end } = await target();
    const signal = await startTracker('signal', mine);
    const queue = await work('queue', pid, 36, -1);
    const thread = await work('thread', pid, 34);
    const pidfd = await work('pidfd', pid, 64);
    expect([queue, thread, pidfd].map(({ stdout }) => stdout)).toEqual(['0', '0', '0']);
    expect(await signal.next(by(queue.pid))).toMatchObject({
      signal: 'SIGRTMIN+2',
      code: 'SI_QUEUE',
      senderPid: queue.pid,
      targetPid: pid,
      toThread: false,
    });
    expect(await signal.next(by(thread.pid))).toMatchObject({ signal: 'SIGRTMIN', code: 'SI_TKILL', toThread: true });
    expect(await signal.next(by(pidfd.pid))).toMatchObject({ signal: 'SIGRTMIN+30', code: 'SI_USER', toThread: false });
    await end();
  });

  it('names the sender that writes a code of the kernel into its signal', async () => {
    const { pid, end } = await target();
    const signal = await startTracker('signal', mine);
    for (const [code, name] of [
      [-2, 'SI_TIMER'],
      [-5, 'SI_SIGIO'],
      [-77, '-77'],
    ] as const) {
      const sender = await work('queue', pid, 10, code);
      expect(sender.stdout).toBe('0');
      expect(await signal.next(by(sender.pid))).toMatchObject({ code: name, senderPid: sender.pid, targetPid: pid });
    }
    await end();
  });

  it('has no sender where a timer, a fault or the kernel sent it, and never a stranger', async () => {
    const signal = await startTracker('signal', mine);
    for (const [what, name, code] of [
      ['alarm', 'SIGALRM', 'SI_KERNEL'],
      ['timer', 'SIGUSR2', 'SI_TIMER'],
      ['fault', 'SIGSEGV', 'SEGV_MAPERR'],
    ] as const) {
      const { pid } = await work(what);
      expect(await signal.next(to(pid, name))).toMatchObject({
        code,
        senderPid: null,
        process: { pid, comm: 'signals' },
        targetPid: pid,
        targetComm: 'signals',
      });
    }
    const { pid } = await work('pipe');
    expect(await signal.next(to(pid, 'SIGPIPE'))).toMatchObject({ code: 'SI_USER', senderPid: pid });
  });

  it('reports calls that fail, with what they were asked for', async () => {
    const signal = await startTracker('signal', mine);
    const { pid, stdout } = await work('fail');
    expect(stdout.split('\n').map(Number)).toEqual([-3, -3, -3, -3, -3, -9, -3, -22, -3]);
    const no = 0x3ffffff;
    const failed = {
      senderPid: pid,
      targetPid: null,
      targetComm: null,
      targetUid: null,
      code: null,
      signalResult: null,
    };
    for (const expected of [
      { signalCall: 'KILL', signal: 'SIGTERM', errno: 'ESRCH', requestedPid: no, toThread: false },
      { signalCall: 'TKILL', signal: 'SIGRTMIN-1', errno: 'ESRCH', requestedPid: no, toThread: true },
      { signalCall: 'TGKILL', signal: 'SIGKILL', errno: 'ESRCH', requestedPid: no - 1, toThread: true },
      { signalCall: 'RT_SIGQUEUEINFO', signal: 'SIGRTMIN+6', errno: 'ESRCH', requestedPid: no },
      { signalCall: 'RT_TGSIGQUEUEINFO', signal: 'SIGRTMIN+7', errno: 'ESRCH', requestedPid: no - 1 },
      { signalCall: 'PIDFD_SEND_SIGNAL', signal: 'SIGUSR1', errno: 'EBADF', requestedPid: null },
      { signalCall: 'KILL', signal: null, errno: 'ESRCH', requestedPid: no },
      { signalCall: 'KILL', signal: '99', errno: 'EINVAL', requestedPid: 0 },
      { signalCall: 'KILL', signal: 'SIGINT', errno: 'ESRCH', requestedPid: -no },
    ])
      expect(await signal.next(by(pid))).toMatchObject({ ...failed, ...expected });
    const refused = await work('refused', 1);
    expect(await signal.next(by(refused.pid))).toMatchObject({
      signalCall: 'KILL',
      errno: 'EPERM',
      signal: 'SIGKILL',
      requestedPid: 1,
      process: { uid: 65534 },
    });
  });

  itNarrow('reports a 32-bit call that fails', async () => {
    const signal = await startTracker('signal', mine);
    const { pid, stdout } = await work('compat');
    expect(stdout).toBe('-3');
    expect(await signal.next(by(pid))).toMatchObject({ signalCall: 'KILL', errno: 'ESRCH', requestedPid: 0x3ffffff });
  });

  it('leaves failed calls out where they are not asked for, and does not attach for them', async () => {
    const signal = await startTracker('signal', { ...mine, options: { failed: false } });
    await work('fail');
    const { pid } = await work('pipe');
    await signal.next(to(pid, 'SIGPIPE'));
    expect((await signal.stop()).filter((e) => e['errno'] !== null)).toEqual([]);
  });

  it('leaves out SIGCHLD, and SIGURG to oneself, unless they are asked for', async () => {
    const quiet = await startTracker('signal', mine);
    const all = await startTracker('signal', { ...mine, options: { noise: true } });
    const { pid } = await work('noise');
    await quiet.next(to(pid, 'SIGWINCH'));
    await all.next(to(pid, 'SIGWINCH'));
    expect(await all.next(to(pid, 'SIGURG'))).toMatchObject({ senderPid: pid });
    expect(await all.next(to(pid, 'SIGCHLD'))).toMatchObject({ code: 'CLD_EXITED', handler: 'DEFAULT' });
    expect((await quiet.stop()).filter((e) => ['SIGURG', 'SIGCHLD'].includes(String(e['signal'])))).toEqual([]);
  });

  it('is of a target that holds the sender, and of one that holds the process that gets it', async () => {
    const [got, other] = [await target(), await target()];
    const [ofSender, ofTarget, ofOther] = [
      await startTracker('signal', { ...mine, descendants: false }),
      await startTracker('signal', { pids: [got.pid] }),
      await startTracker('signal', { pids: [other.pid] }),
    ];
    process.kill(got.pid, 'SIGUSR1');
    process.kill(other.pid, 'SIGUSR1');
    await ofSender.next(to(other.pid));
    await ofOther.next(to(other.pid));
    await ofTarget.next(to(got.pid));
    const targets = async (tracked: typeof ofSender) =>
      (await tracked.stop())
        .filter((e) => [got.pid, other.pid].includes(Number(e['targetPid'])))
        .map((e) => [e.process.pid, e['targetPid']]);
    expect(await targets(ofTarget)).toEqual([[process.pid, got.pid]]);
    expect(await targets(ofOther)).toEqual([[process.pid, other.pid]]);
    expect(await targets(ofSender)).toEqual([
      [process.pid, got.pid],
      [process.pid, other.pid],
    ]);
    await got.end();
    await other.end();
  });

  it('is filtered in the kernel by signal, errno, target and the process of its header', async () => {
    const { pid, end } = await target();
    for (const where of [
      'signal == "SIGUSR2"',
      `targetPid == ${pid} && signal == "SIGUSR2"`,
      `process.pid == ${process.pid} && signal in ["SIGUSR2", "SIGILL"]`,
      'errno == null && signal.startsWith("SIGUSR2")',
    ]) {
      const signal = await startTracker('signal', { ...mine, where });
      process.kill(pid, 'SIGUSR1');
      process.kill(pid, 'SIGUSR2');
      await signal.next(to(pid, 'SIGUSR2'));
      await signal.stop();
      const { produced, discarded } = await signal.stats();
      expect([where, produced, discarded]).toEqual([where, 1, 0]);
    }
    await end();
  });

  it('counts each signal that a small ring loses: produced = lost + received', async () => {
    const { pid, end } = await target();
    const [each, processes] = [40_000, 3];
    await expectExactLoss('signal', { pids: [pid] }, each * processes, () => work('burst', pid, each, processes));
    await end();
  });
});

describe('the same signals, seen by strace', () => {
  it('have the same names, codes and senders', async () => {
    const log = join(scratch, 'signals.strace');
    const child = start('strace', ['-e', 'trace=none', '-o', log, program, 'target']);
    expect(await firstLine(child)).toBe('ready');
    const pid = Number(
      (await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')).trim().split(' ').at(-1),
    );
    const signal = await startTracker('signal', { pids: [pid] });
    const senders = new Set<number>([process.pid]);
    for (let i = 0; i < 10; i++) {
      process.kill(pid, 'SIGUSR1');
      const queued = await work('queue', pid, 35 + i, -1);
      const thread = await work('thread', pid, 10);
      senders.add(queued.pid).add(thread.pid);
    }
    const exited = ended(child);
    child.stdin?.end();
    await exited;
    const ours = (await signal.stop())
      .filter((e) => e['targetPid'] === pid && senders.has(Number(e['senderPid'])))
      .map((e) => `${String(e['signal'])} ${String(e['code'])} ${String(e['senderPid'])}`);
    // strace counts real-time signals from the kernel's first one: SIGRT_3 is 35.
    const theirs = (await readFile(log, 'utf8')).split('\n').flatMap((line) => {
      const [, name = '', code = '', from = ''] = /^--- (\w+) \{.*si_code=(\w+), si_pid=(\d+)/.exec(line) ?? [];
      const [, real] = /^SIGRT_(\d+)$/.exec(name) ?? [];
      const above = Number(real) - 2;
      const shown = real === undefined ? name : above === 0 ? 'SIGRTMIN' : `SIGRTMIN+${above}`;
      return senders.has(Number(from)) ? [`${shown} ${code} ${from}`] : [];
    });
    expect(theirs.length).toBeGreaterThan(10);
    expect(ours.length).toBe(30);
    // A signal that is pending already is delivered once: strace shows deliveries, the tracker what was sent.
    expect([...new Set(ours)].sort()).toEqual([...new Set(theirs)].sort());
  });
});
