import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectExactLoss } from '../support/loss.js';
import { itNarrow } from '../support/narrow.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { isInPath } from '../support/strace.js';
import { compileC, ended, firstLine, run, scratch, start } from '../support/workload.js';

const source = `
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#define IF(nr, action) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, action)
static int filter(int flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		IF(SYS_sched_yield, SECCOMP_RET_ERRNO | EXDEV),
		IF(SYS_chroot, SECCOMP_RET_ERRNO | EPERM),
		IF(SYS_getpgid, SECCOMP_RET_ERRNO), /* pretends success */
		IF(SYS_sync, SECCOMP_RET_TRAP | 7),
		IF(SYS_getpriority, SECCOMP_RET_KILL_PROCESS),
		IF(SYS_getsid, SECCOMP_RET_KILL_THREAD),
		IF(SYS_getrusage, SECCOMP_RET_LOG),
		IF(SYS_getgroups, SECCOMP_RET_TRACE),
		IF(SYS_sysinfo, flags & SECCOMP_FILTER_FLAG_NEW_LISTENER ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	int got;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) exit(3);
	got = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (got < 0) { perror("seccomp"); exit(3); }
	return got;
}
static int is(const char *what, const char *name) { return !strcmp(what, name); }
static void handle(int signal) { }
static int sixteenth, listener = -1, filtered, go;
static void *call(void *nr) { syscall((long)nr, 0, 0); return NULL; }
static void *nothing(void *of) { return NULL; }
static void *twice(void *nr) { call(nr); return call(nr); }
static void *blocked(void *pipe)
{
	char byte;

	if (read(*(int *)pipe, &byte, 1) != 1) exit(3);
	syscall(SYS_sched_yield);
	return NULL;
}
static void *supervised(void *of)
{
	int fd = filter(SECCOMP_FILTER_FLAG_NEW_LISTENER);

	__atomic_store_n(&listener, fd, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 3; i++) { errno = 0; printf("%ld %d\\n", syscall(SYS_sysinfo, 0), errno); }
	syscall(SYS_sched_yield);
	return NULL;
}
static void supervise(void)
{
	while (__atomic_load_n(&listener, __ATOMIC_SEQ_CST) < 0) usleep(1000);
	for (int i = 0; i < 3; i++) {
		struct seccomp_notif ask = {};
		struct seccomp_notif_resp say = {};

		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &ask)) exit(3);
		say.id = ask.id;
		if (i == 0) say.val = 42;
		if (i == 1) say.error = -EXDEV;
		if (i == 2) say.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &say)) exit(3);
	}
}
static void twoofus(void *(*begin)(void *), void *with)
{
	pthread_t thread;

	pthread_create(&thread, NULL, begin, with);
	pthread_join(thread, NULL);
}
/* What no filter refuses, but looks like it at first. */
static void harmless(void)
{
	struct sigaction handler = { .sa_handler = handle };

	sigaction(SIGUSR1, &handler, NULL);
	for (int i = 0; i < 10; i++) {
		pid_t child = i % 2 ? fork() : vfork();

		raise(SIGUSR1); /* and rt_sigreturn */
		if (!child) _exit(0);
		waitpid(child, NULL, 0);
		twoofus(nothing, NULL);
	}
	syscall(SYS_getrusage, 0, 0); /* is logged, and fails */
	syscall(SYS_getppid);
	if (syscall(SYS_unshare, -1) == 0) exit(3); /* EINVAL by the kernel */
	filter(0); /* another one */
}
int main(int argc, char **argv)
{
	const char *what = argv[1];
	int pipes[2];
	char byte;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (is(what, "kernel")) { /* is refused by the kernel, with the same error */
		filter(0);
		if (setresuid(65534, 65534, 65534)) return 3;
		errno = 0;
		printf("%d %d\\n", sethostname("x", 1), errno);
	} else if (is(what, "errno")) {
		filter(0);
		errno = 0;
		printf("%ld %d\\n", syscall(SYS_sched_yield, 1, -2L, 3, 4, 5, 0x7fff12345678), errno);
		errno = 0;
		printf("%d %d\\n", chroot("/no/such"), errno);
		printf("%ld\\n", syscall(SYS_getpgid, 0));
		errno = 0;
		printf("%ld %d\\n", syscall(SYS_getgroups, 0, 0), errno);
	} else if (is(what, "harmless")) {
		filter(0);
		harmless();
	} else if (is(what, "forked")) { /* the first call of a child, and of a program */
		filter(0);
		if (!fork()) { syscall(SYS_sched_yield); _exit(0); }
		wait(NULL);
		execl(argv[0], argv[0], "call", NULL);
	} else if (is(what, "call")) {
		syscall(SYS_sched_yield);
	} else if (is(what, "trap")) {
		struct sigaction handler = { .sa_handler = handle };

		sigaction(SIGSYS, &handler, NULL);
		filter(0);
		sync();
		syscall(SYS_sched_yield);
		sync();
	} else if (is(what, "trapped")) {
		filter(0);
		sync();
	} else if (is(what, "forged")) { /* sends itself the signal that a filter would send */
		struct sigaction handler = { .sa_handler = handle };
		siginfo_t info = { .si_signo = SIGSYS, .si_code = 1 };

		sigaction(SIGSYS, &handler, NULL);
		filter(0);
		syscall(SYS_rt_sigqueueinfo, getpid(), SIGSYS, &info);
	} else if (is(what, "process")) {
		filter(0);
		twoofus(call, (void *)SYS_getpriority);
	} else if (is(what, "thread")) {
		filter(0);
		twoofus(call, (void *)SYS_getsid);
		puts("on");
	} else if (is(what, "only")) { /* thread */
		filter(0);
		call((void *)SYS_getsid);
	} else if (is(what, "strict")) {
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) return 3;
		if (write(1, "", 0)) return 3;
		syscall(SYS_sched_yield);
	} else if (is(what, "notify")) {
		pthread_t thread;

		pthread_create(&thread, NULL, supervised, NULL);
		supervise();
		pthread_join(thread, NULL);
	} else if (is(what, "all")) { /* threads get the filter of one */
		pthread_t thread;

		if (pipe(pipes)) return 3;
		pthread_create(&thread, NULL, blocked, &pipes[0]);
		usleep(50000);
		filter(SECCOMP_FILTER_FLAG_TSYNC);
		if (write(pipes[1], "", 1) != 1) return 3;
		pthread_join(thread, NULL);
	} else if (is(what, "before")) { /* in a call while the session begins */
		filter(0);
		puts("ready");
		if (read(0, &byte, 1) < 0) return 3;
		syscall(SYS_sched_yield);
	} else if (is(what, "emulated")) { /* PTRACE_SYSEMU: no filter is asked */
		pid_t child = fork();
		int status;

		if (!child) {
			filter(0);
			ptrace(PTRACE_TRACEME);
			raise(SIGSTOP);
			syscall(SYS_getppid);
			syscall(SYS_sched_yield);
			_exit(0);
		}
		waitpid(child, &status, 0);
		for (int i = 0; i < 2; i++) { ptrace(31 /* PTRACE_SYSEMU */, child, 0, 0); waitpid(child, &status, 0); }
		ptrace(PTRACE_DETACH, child, 0, 0); /* while it is in the second call */
		waitpid(child, &status, 0);
	} else if (is(what, "compat")) {
		long ret;

		filter(0); /* number 24 is sched_yield of x86-64, and getuid of i386 */
		asm volatile("int $0x80" : "=a"(ret) : "a"(24), "b"(7), "c"(8) : "memory");
		printf("%ld\\n", ret);
	} else if (is(what, "burst")) { /* so many calls by each of so many processes */
		filter(0);
		for (int i = 0; i < atoi(argv[3]); i++) if (!fork()) {
			for (int n = 0; n < atoi(argv[2]); n++) syscall(SYS_sched_yield);
			_exit(0);
		}
		while (wait(NULL) > 0);
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('filtered', source, '-pthread');
});

const mine = { pids: [process.pid] };
const work = (...args: readonly (string | number)[]) => run(program, args.map(String));

/** What a run of the program was refused. */
async function refused(what: string, options: TrackOptions = {}) {
  const tracked = await startTracker('seccomp', { ...mine, ...options });
  const ran = await work(what);
  const events = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'filtered');
  return { ...ran, events, stats: await tracked.stats() };
}
const brief = (events: readonly Seen[]) => events.map((e) => [e['name'], e['action'], e['errno']]);

const yielded = ['sched_yield', 'ERRNO', 'EXDEV'];

describe('the tracker seccomp', () => {
  it('reports calls that a filter refuses with an error number, with their arguments', async () => {
    const { events, pid, stdout } = await refused('errno');
    // EXDEV, EPERM (and not the kernel's ENOENT), success, and ENOSYS since there is no tracer.
    expect(stdout.split('\n')).toEqual(['-1 18', '-1 1', '0', '-1 38']);
    expect(brief(events)).toEqual([
      yielded,
      ['chroot', 'ERRNO', 'EPERM'],
      ['getpgid', 'ERRNO', null],
      ['getgroups', 'ERRNO', 'ENOSYS'],
    ]);
    expect(events[0]).toMatchObject({
      process: { pid, comm: 'filtered' },
      abi: process.arch === 'x64' ? 'X86_64' : 'ARM64',
      ret: '-18',
      args: ['0x1', '0xfffffffffffffffe', '0x3', '0x4', '0x5', '0x7fff12345678'],
      traced: false,
    });
    expect(events[2]).toMatchObject({ ret: '0' });
  });

  it('leaves out what the kernel refuses, also with the error of a filter', async () => {
    const { events, stdout } = await refused('kernel');
    expect(stdout).toBe('-1 1');
    expect(events).toEqual([]);
  });

  it('takes no other call for a refused one: fork, threads, handlers of signals, more filters, what is logged', async () => {
    const { events, code } = await refused('harmless');
    expect(code).toBe(0);
    expect(brief(events)).toEqual([]);
  });

  it('reports the first calls of a child and of a program that is executed', async () => {
    const { events, pid } = await refused('forked');
    expect(brief(events)).toEqual([yielded, yielded]);
    expect(events[0]?.process.pid).not.toBe(pid);
    expect(events[1]?.process.pid).toBe(pid);
  });

  it('reports a call that is trapped once, whether or not there is a handler, and none that a process pretends', async () => {
    const trap = ['sync', 'TRAP', null];
    const handled = await refused('trap');
    expect(handled.code).toBe(0);
    expect(brief(handled.events)).toEqual([trap, yielded, trap]);
    expect(handled.events[0]).toMatchObject({ ret: null });
    const trapped = await refused('trapped');
    expect(trapped.signal).toBe('SIGSYS');
    expect(brief(trapped.events)).toEqual([trap]);
    expect((await refused('forged')).events).toEqual([]);
  });

  it('tells a process that is killed from a thread, and from the strict mode', async () => {
    const killed = await refused('process');
    expect(killed.signal).toBe('SIGSYS');
    expect(brief(killed.events)).toEqual([['getpriority', 'KILL_PROCESS', null]]);
    expect(killed.events[0]?.process.tid).not.toBe(killed.pid);
    const thread = await refused('thread');
    expect(thread.stdout).toBe('on');
    expect(brief(thread.events)).toEqual([['getsid', 'KILL_THREAD', null]]);
    expect(thread.events[0]?.process).toMatchObject({ pid: thread.pid, comm: 'filtered' });
    const only = await refused('only');
    expect(only.signal).toBe('SIGSYS');
    expect(brief(only.events)).toEqual([['getsid', 'KILL_PROCESS', null]]);
    const strict = await refused('strict');
    expect(strict.signal).toBe('SIGKILL');
    expect(brief(strict.events)).toEqual([['sched_yield', 'STRICT', null]]);
  });

  it('reports what a supervisor answered, and not what it let through', async () => {
    const { events, stdout } = await refused('notify');
    expect(stdout.split('\n')).toEqual(['42 0', '-1 18', '-1 14']);
    expect(brief(events)).toEqual([
      ['sysinfo', 'ERRNO_OR_USER_NOTIF', null],
      ['sysinfo', 'ERRNO_OR_USER_NOTIF', 'EXDEV'],
      ['sched_yield', 'ERRNO_OR_USER_NOTIF', 'EXDEV'],
    ]);
    expect(events[0]).toMatchObject({ ret: '42' });
  });

  it('takes no call for a refused one that began before the session, or before the thread had a filter', async () => {
    const child = start(program, ['before']);
    expect(await firstLine(child)).toBe('ready');
    const tracked = await startTracker('seccomp', { pids: [child.pid ?? 0] });
    const exited = ended(child);
    child.stdin?.end();
    await exited;
    expect(brief(await tracked.stop())).toEqual([yielded]);
    expect(brief((await refused('all')).events)).toEqual([yielded]);
  });

  it('takes no call for a refused one that a tracer emulates', async () => {
    if (process.arch !== 'x64') return;
    expect(brief((await refused('emulated')).events)).toEqual([]);
  });

  itNarrow('reports a 32-bit call with its own number, name and arguments', async () => {
    const { events, stdout } = await refused('compat');
    expect(stdout).toBe('-18');
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ name: 'getuid', nr: 24, abi: 'I386', errno: 'EXDEV' });
    expect(events[0]?.['args']).toEqual(['0x7', '0x8', ...Array<unknown>(4).fill(expect.any(String))]);
  });

  it('is selected and filtered in the kernel', async () => {
    for (const [options, where, expected] of [
      [{ only: ['chroot'] }, undefined, 1],
      [{ except: ['chroot', 'getgroups'] }, undefined, 2],
      [{ actions: ['TRAP', 'STRICT'] }, undefined, 0],
      [{ actions: ['ERRNO'] }, undefined, 4],
      [{}, 'name == "chroot"', 1],
      [{}, 'errno in ["EXDEV", "ENOSYS"]', 2],
      [{}, 'action == "ERRNO" && errno == null', 1],
      [{}, 'action != "ERRNO"', 0],
      [{}, 'process.comm != "filtered"', 0],
    ] as const) {
      const { events, stats } = await refused('errno', { options, ...(where === undefined ? {} : { where }) });
      expect([options, where, events.length]).toEqual([options, where, expected]);
      expect(stats).toMatchObject({ produced: expected, discarded: 0, lost: 0 });
    }
  });

  it('refuses names of calls that there are not', async () => {
    await expect(startTracker('seccomp', { options: { only: ['chrot'] } })).rejects.toThrow('did you mean "chroot"');
  });

  it('counts each call that a small ring loses: produced = lost + received', async () => {
    const [each, processes] = [40_000, 3];
    await expectExactLoss('seccomp', mine, each * processes, () => work('burst', each, processes));
  });
});

describe('the same calls, seen by strace', () => {
  it('are as many, with the same errors', async (test) => {
    if (!isInPath('strace')) test.skip('strace is not installed (apt-get install strace)');
    const log = join(scratch, 'seccomp.strace');
    const tracked = await startTracker('seccomp', mine);
    await run('strace', ['-f', '-o', log, program, 'errno']);
    await run('strace', ['-f', '-A', '-o', log, program, 'burst', '300', '3']);
    await run('strace', ['-f', '-A', '-o', log, program, 'harmless']);
    const events = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'filtered');
    const tally = (names: readonly string[]) =>
      Object.fromEntries([...new Set(names)].sort().map((name) => [name, names.filter((n) => n === name).length]));
    // What the filter of the program refuses, strace sees fail as it sees any call fail.
    const theirs = [
      ...(await readFile(log, 'utf8')).matchAll(
        /(sched_yield|chroot|getpgid|getgroups)(?:\(| resumed>).*\) += (-1 (E\w+)|0)/g,
      ),
    ].map(([, name, , errno]) => `${name} ${errno ?? null}`);
    expect(theirs.length).toBe(4 + 900);
    expect(tally(events.map((e) => `${String(e['name'])} ${String(e['errno'])}`))).toEqual(tally(theirs));
    expect(new Set(events.map((e) => e['traced']))).toEqual(new Set([true]));
  });
});
