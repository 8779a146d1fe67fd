import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Demand } from '../../src/event/event.js';
import { root } from '../../src/base/paths.js';
import { startTracker, type Seen } from '../support/session.js';
import { heldIds } from '../support/bpf.js';
import { isInPath, straced } from '../support/strace.js';
import { run, scratch, type Ended } from '../support/workload.js';
import { until } from '../support/until.js';

const exec = promisify(execFile);
const { findClang } = (await import(join(root, 'scripts/setup/clang.mjs'))) as {
  findClang: () => { path: string } | null;
};

/** One program, static, so that no dynamic linker adds calls of its own. */
const source = `
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void nap(long ms) { struct timespec t = { ms / 1000, ms % 1000 * 1000000 }; syscall(SYS_nanosleep, &t, NULL); }
static void ring(int signal) {}
static void *become(void *argv) { execv(((char **)argv)[0], argv); return NULL; }
static void *loop(void *count) { for (long i = 0; i < (long)count; i++) syscall(SYS_getppid); return NULL; }
int main(int argc, char **argv)
{
	const char *what = argv[1];
	long n = argc > 2 ? atol(argv[2]) : 0;
	if (!strcmp(what, "various")) {
		syscall(SYS_getpid); syscall(SYS_close, -1); syscall(999, 1, 2); syscall(SYS_chdir, "/no/such"); syscall(SYS_umask, 022);
		mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		nap(30);
	} else if (!strcmp(what, "burst")) {
		for (long p = 0; p < 2; p++) if (!fork()) { loop((void *)n); _exit(0); }
		while (wait(NULL) > 0);
	} else if (!strcmp(what, "calls")) {
		pthread_t thread;
		pthread_create(&thread, NULL, loop, (void *)n);
		for (long i = 0; i < n; i++) { syscall(SYS_getuid); if (i % 7 == 0) syscall(SYS_close, -1); if (i % 100 == 0) nap(0); }
		pthread_join(thread, NULL);
		if (!fork()) { loop((void *)n); _exit(0); }
		wait(NULL);
	} else if (!strcmp(what, "refused")) { /* the first getpriority goes through; the second, with another argument, seccomp refuses */
		struct sock_filter filter[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 3),
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 77, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) return 1;
		syscall(SYS_getpriority, 0, 0); syscall(SYS_getpriority, 77, 0);
	} else if (!strcmp(what, "interrupted")) {
		struct sigaction action = { .sa_handler = ring };
		struct itimerval soon = { .it_value.tv_usec = 20000 };
		sigaction(SIGALRM, &action, NULL);
		setitimer(ITIMER_REAL, &soon, NULL);
		nap(5000);
	} else if (!strcmp(what, "thread-exec")) {
		pthread_t thread;
		pthread_create(&thread, NULL, become, (char *[]){ argv[0], "various", NULL });
		for (;;) pause();
	} else if (!strcmp(what, "fork")) {
		if (!fork()) _exit(0);
		wait(NULL);
	}
	return 0;
}
`;

const program = join(scratch, 'sysload');
const ours = { comms: ['sysload'] };
const load = (...args: (string | number)[]): Promise<Ended> => run(program, args.map(String));
const wantsDuration: Demand = new Map([['syscall', new Set(['durationNs'])]]);
const named = (events: readonly Seen[], name: string) => events.filter((e) => e['name'] === name);

beforeAll(async () => {
  await writeFile(`${program}.c`, source);
  await exec(findClang()?.path ?? 'cc', ['-O1', '-Wall', '-static', '-pthread', `${program}.c`, '-o', program]);
});

describe('the tracker syscall', () => {
  it('names each call, with its result and its errno', async () => {
    const syscall = await startTracker('syscall', ours);
    const { pid } = await load('various');
    const events = await syscall.stop();
    expect(named(events, 'getpid')).toMatchObject([
      {
        tracker: 'syscall',
        ret: String(pid),
        errno: null,
        process: { pid, tid: pid, ppid: process.pid, uid: 0, comm: 'sysload' },
      },
    ]);
    expect(named(events, 'close').at(-1)).toMatchObject({ ret: '-9', errno: 'EBADF' });
    expect(named(events, 'syscall_999')).toMatchObject([{ nr: 999, ret: '-38', errno: 'ENOSYS' }]);
    expect(named(events, 'chdir')).toMatchObject([{ ret: '-2', errno: 'ENOENT' }]);
    expect(named(events, 'umask')).toMatchObject([{ errno: null }]);
    // An address: more than 32 bits, and no error though it may be "negative" to a careless reader.
    expect(named(events, 'mmap').every((e) => e['errno'] === null && BigInt(String(e['ret'])) > 2n ** 32n)).toBe(true);
    expect(named(events, 'execve')).toMatchObject([{ ret: '0', errno: null }]);
    expect(named(events, 'exit_group')).toEqual([]);
  });

  it('has durations while someone wants them', async () => {
    // One after the other: sessions with equal options share their programs, and what one captures the other has.
    const lean = await startTracker('syscall', { ...ours, capture: 'DEMANDED' });
    await load('various');
    const without = await lean.stop();
    const timed = await startTracker('syscall', { ...ours, capture: 'DEMANDED', demand: wantsDuration });
    expect(timed.session.captured()).toEqual(['durationNs']);
    await timed.stats(); // its hook is on its way before this question
    await load('various');
    const withThem = await timed.stop();
    expect(without.length).toBe(withThem.length);
    expect(without.every((e) => e['durationNs'] === null)).toBe(true);
    const ns = (name: string) => Number(named(withThem, name)[0]?.['durationNs']);
    expect(ns('nanosleep')).toBeGreaterThanOrEqual(30_000_000);
    expect(ns('nanosleep')).toBeLessThan(1_000_000_000);
    expect(ns('getpid')).toBeGreaterThan(0);
    expect(ns('getpid')).toBeLessThan(5_000_000);
    // It began with another comm, out of the target.
    expect(withThem.filter((e) => e['durationNs'] === null).map((e) => e['name'])).toEqual(['execve']);
  });

  it('starts to have durations when a reader comes, and ends when it goes', async () => {
    const syscall = await startTracker('syscall', { ...ours, capture: 'DEMANDED', options: { only: ['umask'] } });
    const umask = async () => {
      const { pid } = await load('various');
      return (await syscall.next((e) => e.process.pid === pid))['durationNs'];
    };
    expect(await umask()).toBeNull();
    const release = syscall.session.addDemand(wantsDuration);
    await syscall.stats(); // the mask is on its way before this question
    expect(Number(await umask())).toBeGreaterThan(0);
    release();
    await syscall.stats();
    expect(await umask()).toBeNull();
  });

  it('is attached to the entry of calls only while someone wants durations', async () => {
    const before = heldIds().links.size;
    const syscall = await startTracker('syscall', {
      ...ours,
      capture: 'DEMANDED',
      options: { only: ['umask', 'nanosleep'] },
    });
    const links = () => heldIds().links.size - before;
    const lean = links();
    const release = syscall.session.addDemand(wantsDuration);
    await syscall.stats();
    expect(links()).toBe(lean + 1);
    // In a nap, its entry seen, when the hook goes; the nap to come must not be timed from there.
    const napping = load('various');
    await sleep(10);
    release();
    await until('the hook to go', () => links() === lean);
    await napping;
    const again = syscall.session.addDemand(wantsDuration);
    await until('the hook to come', () => links() === lean + 1);
    const { pid } = await load('various');
    const nap = await syscall.next((e) => e.process.pid === pid && e['name'] === 'nanosleep');
    expect(Number(nap['durationNs'])).toBeLessThan(1_000_000_000);
    again();
    await until('the hook to go', () => links() === lean);
  });

  it('with only and except sees just these, with failedOnly just failures', async () => {
    const only = await startTracker('syscall', { ...ours, options: { only: ['getpid', 'chdir', 'syscall_500'] } });
    const except = await startTracker('syscall', { ...ours, options: { except: ['getpid', 'chdir'] } });
    const both = await startTracker('syscall', {
      ...ours,
      options: { only: ['getpid', 'chdir'], except: ['chdir'], failedOnly: false },
    });
    const failed = await startTracker('syscall', { ...ours, options: { failedOnly: true } });
    const all = await startTracker('syscall', ours);
    await load('various');
    const names = (events: readonly Seen[]) => events.map((e) => String(e['name']));
    const every = names(await all.stop());
    expect(names(await only.stop())).toEqual(['getpid', 'chdir']);
    expect(names(await both.stop())).toEqual(['getpid']);
    expect(names(await except.stop())).toEqual(every.filter((name) => name !== 'getpid' && name !== 'chdir'));
    const failures = all.events.filter((e) => e['errno'] !== null).map((e) => [e['name'], e['errno'], e['ret']]);
    expect((await failed.stop()).map((e) => [e['name'], e['errno'], e['ret']])).toEqual(failures);
    expect(failures).toEqual(
      expect.arrayContaining([
        ['close', 'EBADF', '-9'],
        ['syscall_999', 'ENOSYS', '-38'],
        ['chdir', 'ENOENT', '-2'],
      ]),
    );
  });

  it('refuses names that are no system calls', async () => {
    const start = (options: Record<string, unknown>) => startTracker('syscall', { ...ours, options });
    await expect(start({ only: ['opemat'] })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      message: expect.stringContaining('did you mean "openat"') as string,
    });
  });

  it('agrees with strace on the same run: each call, and each failure', async (test) => {
    if (!isInPath('strace')) test.skip('strace is not installed (apt-get install strace)');
    const syscall = await startTracker('syscall', { ...ours, ringBytes: 64 << 20, bufferBytes: 1 << 30 });
    const report = join(scratch, 'strace');
    const { code } = await run('strace', ['-f', '-c', '-o', report, program, 'calls', '500']);
    expect(code).toBe(0);
    const events = await syscall.stop();
    expect((await syscall.stats()).lost).toBe(0);

    const seen = new Map<string, { calls: number; errors: number }>();
    for (const event of events) {
      const name = String(event['name']);
      // A new task's return from its parent's clone is no call to strace.
      if (name.startsWith('clone') && event['ret'] === '0') continue;
      const { calls, errors } = seen.get(name) ?? { calls: 0, errors: 0 };
      seen.set(name, { calls: calls + 1, errors: errors + Number(event['errno'] !== null) });
    }
    expect(Object.fromEntries([...seen].sort())).toEqual(Object.fromEntries([...straced(report)].sort()));
    expect(seen.get('getppid')).toEqual({ calls: 1000, errors: 0 });
    expect(seen.get('close')?.errors).toBe(72);
  });

  it('sees a call that seccomp refuses, which never began', async () => {
    const syscall = await startTracker('syscall', {
      ...ours,
      demand: wantsDuration,
      options: { only: ['getpriority'] },
    });
    const failed = await startTracker('syscall', {
      ...ours,
      demand: wantsDuration,
      options: { only: ['getpriority'], failedOnly: true },
    });
    expect((await load('refused')).code).toBe(0);
    const refused = { name: 'getpriority', errno: 'EACCES', durationNs: null };
    expect(await syscall.stop()).toMatchObject([
      { errno: null, durationNs: expect.stringMatching(/^\d+$/) as string },
      refused,
    ]);
    expect(await failed.stop()).toMatchObject([refused]);
  });

  it('shows an interrupted call as EINTR', async () => {
    const syscall = await startTracker('syscall', { ...ours, demand: wantsDuration });
    await load('interrupted');
    const events = await syscall.stop();
    expect(named(events, 'nanosleep')).toMatchObject([{ errno: 'EINTR', ret: '-4' }]);
    expect(Number(named(events, 'nanosleep')[0]?.['durationNs'])).toBeGreaterThan(10_000_000);
    expect(named(events, 'rt_sigreturn')).toEqual([]);
    expect(events.every((e) => Number(e['nr']) >= 0)).toBe(true);
  });

  it('times an exec that takes the place of another thread', async () => {
    const syscall = await startTracker('syscall', { ...ours, demand: wantsDuration, options: { only: ['execve'] } });
    const { pid } = await load('thread-exec');
    expect(await syscall.stop()).toMatchObject([
      { process: { pid, tid: pid } },
      { process: { pid, tid: pid }, errno: null, durationNs: expect.stringMatching(/^\d+$/) as string },
    ]);
  });

  it("has the return of a new process from its parent's fork, without a duration", async () => {
    const syscall = await startTracker('syscall', {
      ...ours,
      demand: wantsDuration,
      options: { only: ['clone', 'clone3'] },
    });
    const { pid } = await load('fork');
    const events = await syscall.stop();
    const parent = events.find((e) => e.process.pid === pid);
    const child = events.find((e) => e.process.pid !== pid);
    expect(parent).toMatchObject({
      ret: String(child?.process.pid),
      durationNs: expect.stringMatching(/^\d+$/) as string,
    });
    expect(child).toMatchObject({ ret: '0', errno: null, durationNs: null, process: { ppid: pid } });
    expect(events).toHaveLength(2);
  });

  it('does not see the server itself, unless it is asked to', async () => {
    const others = await startTracker('syscall', { pids: [process.pid] });
    const own = await startTracker('syscall', { pids: [process.pid], options: { ownCalls: true, only: ['chdir'] } });
    const here = process.cwd();
    process.chdir('/');
    process.chdir(here);
    const { pid } = await load('various');
    const seen = await others.stop();
    expect(seen.some((e) => e.process.pid === process.pid)).toBe(false);
    expect(seen.some((e) => e.process.pid === pid)).toBe(true);
    expect((await own.stop()).filter((e) => e.process.pid === process.pid)).toHaveLength(2);
  });

  it('accounts for each call of an overload: produced = lost + received', async () => {
    const each = 300_000;
    const syscall = await startTracker('syscall', {
      ...ours,
      options: { only: ['getppid'] },
      ringBytes: 65536,
      bufferBytes: 1 << 16,
    });
    await load('burst', each);
    const running = await syscall.stats();
    await syscall.stop();
    const stats = await syscall.stats();
    expect(running.produced).toBe(running.lost + running.received);
    expect(stats.produced).toBe(2 * each);
    expect(stats.lost).toBeGreaterThan(0);
    expect(stats.lost + stats.received).toBe(2 * each);
    expect(stats.received).toBe(stats.discarded + stats.delivered + stats.queued);
  });
});
