import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Bucket } from '../../src/event/event.js';
import { root } from '../../src/base/paths.js';
import { heldPrograms } from '../support/bpf.js';
import { itNarrow } from '../support/narrow.js';
import { startTracker, type Seen } from '../support/session.js';
import { isInPath, straced } from '../support/strace.js';
import { run, scratch, type Ended } from '../support/workload.js';

const exec = promisify(execFile);
const { findClang } = (await import(join(root, 'scripts/setup/clang.mjs'))) as {
  findClang: () => { path: string } | null;
};

const source = `
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void *loop(void *count)
{
	for (long i = 0; i < (long)count; i++) {
		syscall(SYS_getppid);
		if (i % 4 == 0) syscall(SYS_close, -1);
	}
	return NULL;
}
int main(int argc, char **argv)
{
	const char *what = argv[1];
	long n = atol(argv[2]), calls = argc > 3 ? atol(argv[3]) : 0;
	if (!strcmp(what, "threads")) { /* n processes of four threads each, which share the CPUs */
		for (long p = 0; p < n; p++) if (!fork()) {
			pthread_t threads[4];
			for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, loop, (void *)calls);
			for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
			_exit(0);
		}
		while (wait(NULL) > 0);
	} else if (!strcmp(what, "nap")) { /* n naps of 20 ms */
		struct timespec t = { 0, 20000000 };
		for (long i = 0; i < n; i++) syscall(SYS_nanosleep, &t, NULL);
	} else if (!strcmp(what, "asks")) {
		for (long i = 0; i < n; i++) {
			close(socket(AF_UNIX, SOCK_STREAM, 0));
			close(socket(i % 2 ? AF_INET : AF_NETLINK, SOCK_DGRAM, 0));
			syscall(SYS_ioctl, -1, 0xffffffff80045430UL, 0); /* the kernel takes 32 bits, and some libraries pass 64 */
			syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
		}
#ifdef __x86_64__
	} else if (!strcmp(what, "narrow")) { /* the same by the table and the registers of i386, and by the number that x32 has for it */
		for (long i = 0; i < n; i++) {
			long result;
			asm volatile("int $0x80" : "=a"(result) : "a"(54), "b"(-1), "c"(0x5401), "d"(0) : "r8", "r9", "r10", "r11", "memory");
			asm volatile("int $0x80" : "=a"(result) : "a"(172), "b"(PR_GET_DUMPABLE), "c"(0) : "r8", "r9", "r10", "r11", "memory");
			syscall(0x40000000 | 514, -1, 0x5402, 0);
		}
#endif
	} else if (!strcmp(what, "numbers")) { /* n calls, each of another number */
		for (long i = 0; i < n; i++) syscall(1000 + i);
	}
	return 0;
}
`;

const program = join(scratch, 'sumload');
const ours = { comms: ['sumload'] };
const load = (...args: (string | number)[]): Promise<Ended> => run(program, args.map(String));
const named = (events: readonly Seen[], name: string) => events.filter((e) => e['name'] === name);
const total = (events: readonly Seen[], field: string) => events.reduce((sum, e) => sum + Number(e[field] ?? 0), 0);
const slots = (events: readonly Seen[]): number =>
  events.reduce(
    (sum, e) =>
      sum + ((e['durationHistogramNs'] as Bucket[] | null) ?? []).reduce((n, { count }) => n + Number(count), 0),
    0,
  );

beforeAll(async () => {
  await writeFile(`${program}.c`, source);
  await exec(findClang()?.path ?? 'cc', ['-O1', '-Wall', '-static', '-pthread', `${program}.c`, '-o', program]);
});

describe('the tracker syscount', () => {
  it('counts each call and each failure once, by process, while its maps are read again and again', async () => {
    const each = 60_000;
    const syscount = await startTracker('syscount', { ...ours, options: { every: 50, only: ['getppid', 'close'] } });
    await load('threads', 3, each);
    const events = await syscount.stop();
    const stats = await syscount.stats();
    expect(total(named(events, 'getppid'), 'count')).toBe(3 * 4 * each);
    expect(total(events, 'errors')).toBe(3 * 4 * (each / 4));
    expect(total(named(events, 'close'), 'errors')).toBe(total(events, 'errors'));
    const processes = new Set(named(events, 'getppid').map((e) => e.process.pid));
    expect(processes.size).toBe(3);
    for (const pid of processes)
      expect(
        total(
          named(events, 'getppid').filter((e) => e.process.pid === pid),
          'count',
        ),
      ).toBe(4 * each);
    // Read more than once, and then one event for each process and call at most.
    const readings = new Set(events.map((e) => e.bootNs));
    expect(readings.size).toBeGreaterThan(1);
    expect(events.length).toBeLessThanOrEqual(readings.size * 6);
    expect(new Set(events.map((e) => `${e.bootNs} ${e.process.pid} ${String(e['name'])}`)).size).toBe(events.length);
    expect(stats).toMatchObject({ produced: events.length, lost: 0, received: events.length });
  });

  const counts = async (options: object, what = 'asks') => {
    const only = ['socket', 'ioctl', 'prctl', 'close'];
    const syscount = await startTracker('syscount', { ...ours, options: { every: 60_000, only, ...options } });
    await load(what, 10);
    const events = await syscount.stop();
    const sums = new Map<string, number>();
    for (const event of events) {
      const key = `${String(event['name'])} ${String(event['argument'])}`;
      sums.set(key, (sums.get(key) ?? 0) + Number(event['count']));
    }
    return Object.fromEntries(sums);
  };

  it('counts apart what calls are asked to do, on request', async () => {
    // The C library may ask for other things at the start of the program.
    expect(await counts({ arguments: true })).toMatchObject({
      ...{ 'socket 1': 10, 'socket 2': 5, 'socket 16': 5 },
      ...{ 'ioctl 2147767344': 10, 'prctl 3': 10, 'close null': 20 },
    });
    expect(await counts({})).toMatchObject({ 'socket null': 20, 'close null': 20 });
  });

  itNarrow('counts apart what 32-bit calls are asked to do', async () => {
    const narrow = { 'ioctl 21505': 10, 'ioctl 21506': 10, 'prctl 3': 10 };
    expect(await counts({ arguments: true }, 'narrow')).toMatchObject(narrow);
  });

  it('counts the calls of a program apart from those of the one that the process ran before', async () => {
    const syscount = await startTracker('syscount', {
      pids: [process.pid],
      options: { every: 60_000, only: ['getppid', 'execve'] },
    });
    const { pid } = await run('sh', ['-c', `exec ${program} threads 0`]);
    const events = (await syscount.stop()).filter((e) => e.process.pid === pid);
    expect(new Set(named(events, 'getppid').map((e) => e.process.comm))).toEqual(new Set(['sh']));
    // An exec returns to the program that it starts.
    expect(
      named(events, 'execve')
        .filter((e) => Number(e['count']) > Number(e['errors']))
        .map((e) => [e.process.comm, Number(e['count'])])
        .sort(),
    ).toEqual([
      ['sh', 1],
      ['sumload', 1],
    ]);
  });

  it('agrees with strace on the same run: each call, and each failure', async (test) => {
    if (!isInPath('strace')) test.skip('strace is not installed (apt-get install strace)');
    const syscount = await startTracker('syscount', ours);
    const report = join(scratch, 'strace');
    await run('strace', ['-f', '-c', '-o', report, program, 'threads', '2', '300']);
    const events = await syscount.stop();
    const seen = [...new Set(events.map((e) => String(e['name'])))].map(
      (name) =>
        [name, { calls: total(named(events, name), 'count'), errors: total(named(events, name), 'errors') }] as const,
    );
    // A new task's return from its parent's clone is no call to strace: 2 processes, 8 threads.
    const clones = seen.filter(([name]) => name.startsWith('clone'));
    expect(clones.reduce((sum, [, { calls }]) => sum + calls, 0)).toBe(2 * 10);
    const others = (list: Iterable<readonly [string, unknown]>) =>
      Object.fromEntries([...list].filter(([name]) => !name.startsWith('clone')));
    expect(others(seen)).toEqual(others(straced(report)));
  });

  it('has the durations of calls, added up and by powers of two', async () => {
    const syscount = await startTracker('syscount', { ...ours, options: { only: ['nanosleep'] } });
    await load('nap', 10);
    const naps = await syscount.stop();
    expect(total(naps, 'count')).toBe(10);
    expect(slots(naps)).toBe(10);
    expect(total(naps, 'durationNs')).toBeGreaterThanOrEqual(10 * 20_000_000);
    // 20 ms is more than 2^24 ns.
    for (const { durationHistogramNs } of naps)
      expect((durationHistogramNs as Bucket[])[0]?.from).toBeGreaterThanOrEqual(2 ** 24);
  });

  it('without latency has one program at the exit of calls, and no durations', async () => {
    const before = heldPrograms().filter((name) => name.startsWith('syscount'));
    const syscount = await startTracker('syscount', { ...ours, options: { latency: false, only: ['nanosleep'] } });
    expect(before).toEqual([]);
    expect(heldPrograms().filter((name) => name.startsWith('syscount'))).toEqual(['syscount_exit']);
    await load('nap', 2);
    const naps = await syscount.stop();
    expect(total(naps, 'count')).toBe(2);
    for (const nap of naps) expect(nap).toMatchObject({ durationNs: null, durationHistogramNs: null });
  });

  it('is read when someone asks, and forgets what it told', async () => {
    const syscount = await startTracker('syscount', { ...ours, options: { every: 3_600_000, only: ['nanosleep'] } });
    const held = () => [...syscount.session.events()].map((event) => Reflect.get(event, 'count') as string);
    await load('nap', 3);
    expect(held()).toEqual([]);
    await syscount.session.refresh();
    expect(held()).toEqual(['3']);
    await syscount.session.refresh();
    expect(held()).toEqual(['3']);
    await load('nap', 2);
    await syscount.stop();
    expect(held()).toEqual(['3', '2']);
  });

  it("counts for a session that shares another's programs only what is made while it runs", async () => {
    const options = { every: 3_600_000, only: ['nanosleep'] };
    const first = await startTracker('syscount', { ...ours, options });
    await load('nap', 1);
    const second = await startTracker('syscount', { ...ours, options });
    await load('nap', 2);
    expect(total(await second.stop(), 'count')).toBe(2);
    await load('nap', 4);
    expect(total(await first.stop(), 'count')).toBe(7);
    for (const tracked of [first, second]) {
      const { produced, lost, received } = await tracked.stats();
      expect(produced).toBe(lost + received);
    }
  });

  it('has an event of its own for each call that finds no room in the maps: none is left out', async () => {
    const calls = 80_000; // of 65,536 that can be told apart on one CPU
    const syscount = await startTracker('syscount', {
      ...ours,
      options: { every: 3_600_000 },
      ringBytes: 64 << 20,
      bufferBytes: 1 << 30,
    });
    await load('numbers', calls);
    await syscount.stop();
    // What the session holds: a reader may be slower than a burst of 40 MiB, and drops then.
    const held = [...syscount.session.events()].filter((event) => Number(Reflect.get(event, 'nr')) >= 1000);
    const sum = (field: string): number => held.reduce((all, event) => all + Number(Reflect.get(event, field)), 0);
    expect((await syscount.stats()).lost).toBe(0);
    expect(sum('count')).toBe(calls);
    expect(sum('errors')).toBe(calls);
    expect(new Set(held.map((event) => Reflect.get(event, 'nr'))).size).toBe(calls);
  });
});
