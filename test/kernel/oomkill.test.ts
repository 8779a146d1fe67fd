import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTracker, type Seen } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, ended, firstLine, start } from '../support/workload.js';

const exec = promisify(execFile);
const MIB = 1 << 20;
const LIMIT = 24 * MIB;

/** CGROUP ADJ MIB: moves into the cgroup, has so much memory, says so, and waits for a line; then it takes all there is. */
const source = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static void put(const char *path, const char *text) { FILE *f = fopen(path, "w"); if (!f || fputs(text, f) < 0 || fclose(f)) exit(3); }
static void take(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) exit(4);
	memset(p, 1, bytes);
}
int main(int argc, char **argv)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/cgroup.procs", argv[1]);
	put(path, "0");
	put("/proc/self/oom_score_adj", argv[2]);
	take((size_t)atoi(argv[3]) << 20);
	puts("ready"); fflush(stdout);
	if (getchar() == EOF) return 0;
	for (;;) take(1 << 20);
}
`;

/** The hierarchy that limits memory: v1's, or v2's. */
const v1 = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes');
const root = v1 ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
const name = `eunomia-test-${process.pid}-oom`;
const outer = join(root, name);
const inner = join(outer, 'inner');

let program = '';
beforeAll(async () => {
  program = await compileC('hungry', source);
  await mkdir(outer);
  if (v1) await writeFile(join(outer, 'memory.limit_in_bytes'), String(LIMIT));
  else {
    await writeFile(join(outer, 'memory.max'), String(LIMIT));
    await writeFile(join(outer, 'cgroup.subtree_control'), '+memory');
  }
  const swap = join(outer, v1 ? 'memory.memsw.limit_in_bytes' : 'memory.swap.max');
  if (existsSync(swap)) await writeFile(swap, v1 ? String(LIMIT) : '0');
  await mkdir(inner);
});
afterAll(async () => {
  for (const cgroup of [inner, outer]) {
    await until(`${cgroup} is empty`, () => readFileSync(join(cgroup, 'cgroup.procs'), 'utf8') === '');
    await rmdir(cgroup);
  }
});

/** One that has so many MiB, and takes all there is when it gets a line. */
async function hungry(adj: number, mib: number) {
  const child = start(program, [inner, String(adj), String(mib)]);
  expect(await firstLine(child)).toBe('ready');
  return {
    pid: child.pid ?? 0,
    eat: () => child.stdin?.write('\n'),
    stop: () => child.stdin?.end(),
    ended: ended(child),
  };
}
/** It alone; resolves to its pid when it was killed. */
async function dies(adj: number): Promise<number> {
  const { pid, eat, ended: over } = await hungry(adj, 4);
  eat();
  expect((await over).signal).toBe('SIGKILL');
  return pid;
}

const mine = { pids: [process.pid] };
const of = (pid: number) => (e: Seen) => e.process.pid === pid;
const bytes = (value: unknown): number => Number(value);

/** What the kernel's log says of a victim, in KiB. */
async function logged(pid: number): Promise<Readonly<Record<string, number>>> {
  const line = await until('the kernel has logged it', async () => {
    const { stdout } = await exec('dmesg', [], { maxBuffer: 1 << 26 });
    return stdout.split('\n').find((text) => text.includes(`Killed process ${pid} (hungry)`)) ?? null;
  });
  expect(line).toContain('Memory cgroup out of memory');
  const number = (key: string) => Number(new RegExp(`${key}:(-?\\d+)`).exec(line)?.[1]);
  return Object.fromEntries(
    ['total-vm', 'anon-rss', 'file-rss', 'shmem-rss', 'UID', 'pgtables', 'oom_score_adj'].map((key) => [
      key,
      number(key),
    ]),
  );
}

describe('the tracker oomkill', () => {
  it("reports the victim of a cgroup's limit with its memory, as the kernel's log does, and the limit", async () => {
    const oomkill = await startTracker('oomkill', mine);
    const pid = await dies(17);
    const event = await oomkill.next(of(pid));
    expect(event).toMatchObject({
      tracker: 'oomkill',
      memoryCgroup: `/${name}`, // that of the limit, and not the one in it where the process is
      limitBytes: String(LIMIT),
      oomScoreAdj: 17,
      triggerPid: pid,
      triggerTid: pid,
      triggerComm: 'hungry',
      triggerUid: 0,
      triggerStartTime: event.process.startTime,
      triggerContainerId: null,
      process: { pid, tid: pid, ppid: process.pid, comm: 'hungry' },
    });
    expect(bytes(event['usageBytes'])).toBeLessThanOrEqual(LIMIT);
    expect(bytes(event['usageBytes'])).toBeGreaterThan(LIMIT - MIB);
    const log = await logged(pid);
    expect(log).toMatchObject({ UID: 0, oom_score_adj: 17 });
    expect(bytes(event['virtualBytes'])).toBe((log['total-vm'] ?? 0) * 1024);
    expect(bytes(event['anonBytes'])).toBe((log['anon-rss'] ?? 0) * 1024);
    expect(bytes(event['fileBytes'])).toBe((log['file-rss'] ?? 0) * 1024);
    expect(bytes(event['shmemBytes'])).toBe((log['shmem-rss'] ?? 0) * 1024);
    expect(bytes(event['pageTablesBytes'])).toBe((log['pgtables'] ?? 0) * 1024);
    expect(bytes(event['anonBytes'])).toBeGreaterThan(LIMIT / 2);
  });

  it('tells the victim from the process whose allocation failed', async () => {
    // The kernel sends SIGKILL before it marks the victim: one that has ended by then, on another CPU, is in no target of pids any more.
    for (let round = 1; ; round++) {
      const victim = await hungry(1000, 12);
      const other = await hungry(0, 2);
      const byVictim = await startTracker('oomkill', { pids: [victim.pid] });
      const byTrigger = await startTracker('oomkill', { pids: [other.pid] });
      const byStranger = await startTracker('oomkill', { pids: [1], descendants: false });
      other.eat();
      expect((await victim.ended).signal).toBe('SIGKILL');
      expect((await other.ended).signal).toBe('SIGKILL'); // it goes on, alone
      const first = { process: { pid: victim.pid }, oomScoreAdj: 1000, triggerPid: other.pid, triggerComm: 'hungry' };
      const second = { process: { pid: other.pid }, oomScoreAdj: 0, triggerPid: other.pid };
      const seen = await byVictim.stop();
      expect(await byTrigger.stop()).toMatchObject([first, second]);
      expect(await byStranger.stop()).toEqual([]);
      if (seen.length === 0 && round < 5) continue;
      expect(seen).toMatchObject([first]);
      return;
    }
  });

  it('is filtered in the kernel by trigger, score and cgroup, and selected by its option', async () => {
    const elsewhere = (await stat(outer)).ino; // no pid
    for (const [options, where, count] of [
      [{}, undefined, 1],
      [{ cgroupsOnly: true }, undefined, 1],
      [{}, 'oomScoreAdj >= 100', 1],
      [{}, 'oomScoreAdj > 100', 0],
      [{}, `memoryCgroup == "/${name}"`, 1],
      [{}, 'memoryCgroup.startsWith("/docker/")', 0],
      [{}, `memoryCgroup.startsWith("/${name}") && oomScoreAdj == 100`, 1],
      [{}, `triggerPid == ${elsewhere}`, 0],
      [{}, 'triggerPid != null && process.comm == "hungry"', 1],
    ] as const) {
      const oomkill = await startTracker('oomkill', { ...mine, options, ...(where === undefined ? {} : { where }) });
      await dies(100);
      await oomkill.stop();
      const { produced, lost, received, discarded } = await oomkill.stats();
      expect([options, where, produced, discarded]).toEqual([options, where, count, 0]);
      expect(produced).toBe(lost + received);
    }
  });
});
