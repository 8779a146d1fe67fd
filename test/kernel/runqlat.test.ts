import { beforeAll, describe, expect, it } from 'vitest';
import type { Bucket } from '../../src/event/event.js';
import { startTracker, type Seen, type Tracked, type TrackOptions } from '../support/session.js';
import { compileC, run } from '../support/workload.js';

/**
 * Prints what the kernel counts of its threads (/proc/PID/task/TID/schedstat): how often they got a CPU, and how long they waited
 * for one; and how often the first thread got one, which is not among them.
 */
const source = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static int sleeps, yields, spin_ms;
static unsigned long long runs, waited;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
static void count(unsigned long long *off, unsigned long long *times)
{
	char text[100] = {}, path[100];
	unsigned long long on;

	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", gettid());
	int fd = open(path, O_RDONLY);
	if (read(fd, text, sizeof(text) - 1) <= 0) exit(3);
	close(fd);
	sscanf(text, "%llu %llu %llu", &on, off, times);
}
static void *work(void *unused)
{
	unsigned long long off, times;
	long until = now_ms() + spin_ms;
	for (int i = 0; i < sleeps; i++) usleep(100);
	for (int i = 0; i < yields; i++) sched_yield();
	while (now_ms() < until) ;
	count(&off, &times);
	pthread_mutex_lock(&lock);
	runs += times; waited += off;
	pthread_mutex_unlock(&lock);
	return NULL;
}
int main(int argc, char **argv)
{
	pthread_t threads[64];
	int n = atoi(argv[1]);
	cpu_set_t one;
	sleeps = atoi(argv[2]); yields = atoi(argv[3]); spin_ms = atoi(argv[4]);
	CPU_ZERO(&one); CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one)) return 2; /* all on one CPU: they wait for each other */
	for (int i = 0; i < n; i++) pthread_create(&threads[i], NULL, work, NULL);
	for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
	unsigned long long off, times;
	count(&off, &times);
	printf("%llu %llu %llu\\n", runs, waited, times);
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('runload', source, '-pthread');
});

const sum = (events: readonly Seen[], field: string) => events.reduce((all, event) => all + Number(event[field]), 0);
const inBuckets = (events: readonly Seen[]) =>
  events.reduce((all, e) => all + (e['waitHistogramNs'] as Bucket[]).reduce((n, { count }) => n + Number(count), 0), 0);

/**
 * The share of the kernel's count that the tracker reaches at least. A kernel may run no programs while a process that it guards has a
 * CPU (some sandboxes do): what that CPU's interrupts wake in the meantime is seen by no program, of whichever tool.
 */
const SEEN = 0.9;

async function waits(threads: number, sleeps: number, yields: number, spinMs: number, options: TrackOptions = {}) {
  const tracked = await startTracker('runqlat', { pids: [process.pid], ...options });
  const { pid, stdout } = await workload(threads, sleeps, yields, spinMs);
  const [runs = 0, waited = 0, first = 0] = stdout.split(' ').map(Number);
  return { ...(await seen(tracked, pid)), runs, waited, first };
}

async function workload(...numbers: readonly number[]) {
  const result = await run(program, numbers.map(String));
  if (result.code !== 0) throw new Error(`the workload ended with ${String(result.code)}`);
  return result;
}

/** What a session saw of a process, once it has stopped. */
async function seen(tracked: Tracked, pid: number) {
  const all = (await tracked.stop()).filter((event) => event.process.pid === pid);
  // Before it executes the program, it has the name of its parent.
  const events = all.filter(({ process: { comm } }) => comm === 'runload');
  return { all, events, stats: await tracked.stats() };
}

describe('the tracker runqlat', () => {
  it('counts each wait of a process once, as the kernel counts how often its threads get a CPU', async () => {
    const { events, runs, waited, first } = await waits(4, 300, 0, 0);
    // What the first thread did before it had its name, and what threads do at their end, is counted on one side only.
    const count = sum(events, 'count');
    expect(runs).toBeGreaterThanOrEqual(1200);
    expect(count).toBeGreaterThanOrEqual(runs * SEEN);
    expect(count).toBeLessThan(runs + first + 100);
    expect(inBuckets(events)).toBe(count);
    expect(sum(events, 'waitNs')).toBeGreaterThan(waited / 2);
    expect(events.length).toBeGreaterThan(0);
  });

  it('has long waits where threads share a CPU, and says that they lost it', async () => {
    const { events, waited } = await waits(4, 0, 0, 400);
    const total = sum(events, 'waitNs');
    // Four threads that all want one CPU for 400 ms wait for three quarters of that, each.
    expect(total).toBeGreaterThan(400e6);
    expect(total).toBeGreaterThan(waited * 0.9);
    expect(total).toBeLessThan(waited * 1.1 + 50e6);
    expect(sum(events, 'preemptions')).toBeGreaterThan(10);
    const least = events.reduce(
      (all, e) => all + (e['waitHistogramNs'] as Bucket[]).reduce((n, { from, count }) => n + from * Number(count), 0),
      0,
    );
    expect(total).toBeGreaterThanOrEqual(least);
    expect(total).toBeLessThan(2 * least + sum(events, 'count') * 2);
  });

  it('counts exactly while its counts are read again and again', async () => {
    // Both see the same waits, and of one the counts are read once, at its end.
    const [often, once] = [
      await startTracker('runqlat', { pids: [process.pid], options: { every: 50 } }),
      await startTracker('runqlat', { pids: [process.pid], options: { every: 600_000 } }),
    ];
    const { pid, stdout } = await workload(8, 1500, 0, 0);
    const runs = Number(stdout.split(' ')[0]);
    const { all, stats } = await seen(often, pid);
    const { all: whole, stats: atOnce } = await seen(once, pid);
    expect(new Set(all.map(({ bootNs }) => bootNs)).size).toBeGreaterThan(1);
    expect(new Set(whole.map(({ bootNs }) => bootNs)).size).toBe(1);
    expect(sum(all, 'count')).toBe(sum(whole, 'count'));
    expect(inBuckets(all)).toBe(sum(all, 'count'));
    expect(sum(whole, 'count')).toBeGreaterThanOrEqual(runs * SEEN);
    for (const { lost, produced, received, skippedRuns } of [stats, atOnce])
      expect({ lost, produced, skippedRuns }).toEqual({ lost: 0, produced: received, skippedRuns: 0 });
  });

  it('watches the processes that are targeted, and those that the filter takes', async () => {
    for (const [target, seen] of [
      [{ comms: ['runload'] }, true],
      [{ comms: ['nobody'] }, false],
      [{ where: 'process.comm == "runload"' }, true],
      [{ where: 'process.comm == "nobody"' }, false],
    ] as const) {
      const { all, events, stats } = await waits(1, 10, 0, 0, target);
      expect([target, sum(events, 'count') > 0]).toEqual([target, seen]);
      expect(all).toEqual(events);
      expect(stats.discarded).toBe(0);
    }
  });
});
