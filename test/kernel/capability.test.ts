import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { isInPath, straced } from '../support/strace.js';
import { compileC, run, scratch } from '../support/workload.js';

const source = `
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void checks(int n)
{
	for (int i = 0; i < n; i++) {
		syscall(SYS_chroot, "/");
		if (i % 2 == 0) syscall(SYS_sethostname, "x", -1L); /* refused for its length where it is allowed */
	}
}
int main(int argc, char **argv)
{
	int n = atoi(argv[2]);
	if (!strcmp(argv[1], "root")) {
		checks(n);
	} else if (!strcmp(argv[1], "denied")) { /* with a third argument, by so many processes */
		for (int p = 1; p < (argc > 3 ? atoi(argv[3]) : 1); p++) if (!fork()) {
			if (setresuid(1000, 1000, 1000)) _exit(3);
			checks(n);
			_exit(0);
		}
		if (setresuid(1000, 1000, 1000)) return 3;
		checks(n);
		while (wait(NULL) > 0);
	} else if (!strcmp(argv[1], "inside")) { /* a user namespace of its own */
		if (setresuid(1000, 1000, 1000) || unshare(CLONE_NEWUSER)) return 3;
		checks(n);
	} else if (!strcmp(argv[1], "memory")) {
		for (int i = 0; i < n; i++) mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	} else if (!strcmp(argv[1], "spaces")) {
		for (int i = 0; i < n; i++) {
			long pid = syscall(SYS_clone, CLONE_NEWUTS | 17, 0, 0, 0, 0);
			if (!pid) _exit(0);
			waitpid(pid, NULL, 0);
		}
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('capload', source, '-static');
});

const mine = { pids: [process.pid] };

async function checked(args: readonly (string | number)[], options: TrackOptions = {}) {
  const tracked = await startTracker('capability', { ...mine, ...options });
  const { pid, code } = await run(program, args.map(String));
  expect(code).toBe(0);
  const events = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'capload');
  return { pid, events, stats: await tracked.stats() };
}

const total = (events: readonly Seen[], wanted: Readonly<Record<string, unknown>>) =>
  events
    .filter((event) => Object.entries(wanted).every(([field, value]) => event[field] === value))
    .reduce((sum, event) => sum + Number(event['count']), 0);

const chroot = { capability: 'CAP_SYS_CHROOT', name: 'chroot' };
const hostname = { capability: 'CAP_SYS_ADMIN', name: 'sethostname' };

describe('the tracker capability', () => {
  it('counts each check once, by capability, result and call', async () => {
    const { events, pid } = await checked(['denied', 1000]);
    expect(total(events, { ...chroot, granted: false })).toBe(1000);
    expect(total(events, { ...hostname, granted: false })).toBe(500);
    expect(total(events, { ...chroot, granted: true })).toBe(0);
    expect(total(events, { capability: 'CAP_SETUID', name: 'setresuid', granted: true })).toBe(1);
    expect(events.find(({ name }) => name === 'chroot')).toMatchObject({
      process: { pid },
      userNsLevel: 0,
      processUserNsLevel: 0,
      abi: process.arch === 'x64' ? 'X86_64' : 'ARM64',
      nr: expect.any(Number) as number,
    });
    const granted = await checked(['root', 10]);
    expect(total(granted.events, { ...chroot, granted: true })).toBe(10);
    expect(total(granted.events, { ...hostname, granted: true })).toBe(5);
  });

  it('tells the user namespace in which a capability is needed from that of the process', async () => {
    const { events } = await checked(['inside', 100]);
    expect(total(events, { ...chroot, granted: true, userNsLevel: 1, processUserNsLevel: 1 })).toBe(100);
    expect(total(events, { ...hostname, granted: false, userNsLevel: 0, processUserNsLevel: 1 })).toBe(50);
  });

  it('agrees with strace on how often a call was refused', async (test) => {
    if (!isInPath('strace')) test.skip('strace is not installed (apt-get install strace)');
    const tracked = await startTracker('capability', mine);
    const report = join(scratch, 'capability-strace');
    await run('strace', ['-f', '-c', '-o', report, program, 'denied', '300', '3']);
    const events = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'capload');
    const theirs = straced(report);
    expect((await readFile(report, 'utf8')).length).toBeGreaterThan(0);
    expect(total(events, { ...chroot, granted: false })).toBe(theirs.get('chroot')?.errors);
    expect(total(events, { ...hostname, granted: false })).toBe(theirs.get('sethostname')?.errors);
    expect(theirs.get('chroot')?.errors).toBe(900);
  });

  it('leaves out what the allocation of memory asks, unless it is wanted, and no clone with new namespaces', async () => {
    const mapped = { capability: 'CAP_SYS_ADMIN', name: 'mmap' };
    expect(total((await checked(['memory', 200])).events, { capability: 'CAP_SYS_ADMIN' })).toBe(0);
    const { events } = await checked(['memory', 200], { options: { memory: true } });
    expect(total(events, { ...mapped, granted: true })).toBeGreaterThanOrEqual(200);
    // Of no other call than those that allocate: a page fault's error code is no number of a call.
    const calls = new Set(events.filter((e) => e['capability'] === 'CAP_SYS_ADMIN').map(({ name }) => name));
    for (const name of calls) expect([null, 'mmap', 'brk', 'execve', 'mprotect']).toContain(name);
    const spaces = await checked(['spaces', 20]);
    expect(total(spaces.events, { capability: 'CAP_SYS_ADMIN', name: 'clone', granted: true })).toBeGreaterThanOrEqual(
      20,
    );
  });

  it('is selected and filtered in the kernel', async () => {
    for (const [options, where, count] of [
      [{ capabilities: ['CAP_SYS_CHROOT'] }, undefined, 40],
      [{ deniedOnly: true, capabilities: ['CAP_SYS_ADMIN', 'CAP_SETUID'] }, undefined, 20],
      [{}, 'capability == "CAP_SYS_CHROOT"', 40],
      [{ deniedOnly: true }, 'capability.startsWith("CAP_SYS_") && userNsLevel == 0', 60],
      [{ capabilities: ['CAP_SETUID'] }, 'granted', 1],
    ] as const) {
      const { events, stats } = await checked(['denied', 40], { options, ...(where === undefined ? {} : { where }) });
      expect([options, where, total(events, {})]).toEqual([options, where, count]);
      expect(stats).toMatchObject({ discarded: 0, lost: 0, produced: stats.received });
    }
  });

  it('counts exactly while its counts are read again and again, by several processes', async () => {
    const [each, processes] = [40_000, 3];
    const { events, stats } = await checked(['denied', each, processes], { options: { every: 50, deniedOnly: true } });
    expect(total(events, { ...chroot, granted: false })).toBe(each * processes);
    expect(total(events, { ...hostname, granted: false })).toBe((each * processes) / 2);
    expect(new Set(events.map(({ bootNs }) => bootNs)).size).toBeGreaterThan(1);
    expect(stats).toMatchObject({ lost: 0, produced: stats.received, skippedRuns: 0 });
  });

  it('refuses names of capabilities that there are not, with near ones', async () => {
    await expect(startTracker('capability', { where: 'capability == "CAP_SYS_ADMINS"' })).rejects.toThrow(
      'did you mean "CAP_SYS_ADMIN"',
    );
  });
});
