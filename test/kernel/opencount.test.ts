import { link, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { itNarrow } from '../support/narrow.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { compileC, run, scratch } from '../support/workload.js';

const source = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "narrow.h"
#include "uring.h"
static void opened(const char *path, int flags, int times)
{
	for (int i = 0; i < times; i++) {
		int fd = open(path, flags, 0600);
		if (fd >= 0) close(fd);
	}
}
/* WHAT PATH TIMES [MORE] */
int main(int argc, char **argv)
{
	const char *what = argv[1], *path = argv[2];
	int times = atoi(argv[3]);
	char other[8192];
	if (!strcmp(what, "open")) { /* by as many processes */
		for (int p = 1; p < (argc > 4 ? atoi(argv[4]) : 1); p++) if (!fork()) break;
		opened(path, O_RDONLY, times);
		while (wait(NULL) > 0);
	} else if (!strcmp(what, "flags")) {
		opened(path, O_RDONLY, times);
		opened(path, O_WRONLY | O_TRUNC, times);
		opened(path, O_PATH, times);
	} else if (!strcmp(what, "renamed")) { /* one file has one name and then another, and the first name is another file's */
		snprintf(other, sizeof(other), "%s.other", path);
		opened(path, O_RDWR | O_CREAT, times);
		if (rename(path, other)) return 3;
		opened(other, O_RDWR, 2 * times);
		opened(path, O_RDWR | O_CREAT, 3 * times);
	} else if (!strcmp(what, "temporary")) { /* a name of its own each time, and no file is left that has its entry */
		for (int i = 0; i < times; i++) {
			snprintf(other, sizeof(other), "%s.%d", path, i);
			opened(other, O_WRONLY | O_CREAT, 1);
			opened(other, O_RDONLY, 1);
			if (unlink(other)) return 3;
		}
	} else if (!strcmp(what, "slow")) {
		opened(path, O_RDONLY, 1);
		usleep(50000);
		opened(path, O_RDONLY, times - 1);
	} else if (!strcmp(what, "uring")) {
		if (set_up(4, 0)) return 3;
		for (int i = 0; i < times; i++) {
			int fd = go((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)path });
			if (fd >= 0) close(fd);
		}
	} else if (!strcmp(what, "narrow")) {
		char *low = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		strcpy(low, path);
		for (int i = 0; i < times; i++) if (old(5, (long)low, O_RDONLY, 0, 0) < 0) return 3;
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('openload', source);
});

const mine = { pids: [process.pid] };
let number = 0;
const fresh = () => join(scratch, `opened-${number++}`);
const count = (events: readonly Seen[]) => events.reduce((all, event) => all + Number(event['count']), 0);

/** The events while the program opens what it is told. */
async function watched(
  what: string,
  path: string,
  times: number,
  more: readonly string[] = [],
  options: TrackOptions = {},
) {
  const tracked = await startTracker('opencount', { ...mine, options: { every: 60_000 }, ...options });
  const ended = await run(program, [what, path, String(times), ...more]);
  expect(ended.code).toBe(0);
  const all = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'openload');
  const of = (wanted: string) => all.filter((event) => event['path'] === wanted);
  return { ...ended, all, of, stats: await tracked.stats() };
}

describe('the tracker opencount', () => {
  it('counts the opens of a path by a process, and says which, with which flags', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    const { of, pid, stats } = await watched('open', path, 3000);
    expect(count(of(path))).toBe(3000);
    expect(of(path)).toHaveLength(1);
    expect(of(path)[0]).toMatchObject({
      process: { pid, comm: 'openload', uid: 0 },
      errno: null,
      pathState: 'ROOTED',
      deleted: false,
      flags: ['O_RDONLY'],
    });
    expect(stats).toMatchObject({ lost: 0, dropped: 0 });
  });

  it('counts by process, on any CPU', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    const { of } = await watched('open', path, 1000, ['4']);
    expect(count(of(path))).toBe(4000);
    expect(new Set(of(path).map((event) => event.process.pid)).size).toBe(4);
  });

  it('counts apart what is opened with other flags', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    const { of } = await watched('flags', path, 5);
    const seen = of(path).map((event) => [event['flags'], event['count']]);
    expect(seen).toHaveLength(3);
    expect(seen).toEqual(
      expect.arrayContaining([
        [['O_RDONLY'], '5'],
        [['O_WRONLY', 'O_TRUNC'], '5'],
        [['O_RDONLY', 'O_PATH'], '5'],
      ]),
    );
  });

  it('names a file by the path of each open, not of the first', async () => {
    const path = fresh();
    const { of } = await watched('renamed', path, 10);
    expect([count(of(path)), count(of(`${path}.other`))]).toEqual([40, 20]);
    const [file, hard, soft] = [fresh(), fresh(), fresh()];
    await writeFile(file, 'x');
    await link(file, hard);
    await symlink(file, soft);
    const linked = await watched('open', hard, 7);
    expect([count(linked.of(hard)), count(linked.of(file))]).toEqual([7, 0]);
    expect(count((await watched('open', soft, 8)).of(file))).toBe(8);
  });

  it('tells names apart whose entries the kernel uses again', async () => {
    const path = fresh();
    const { of, all } = await watched('temporary', path, 200);
    for (let i = 0; i < 200; i++) expect(count(of(`${path}.${i}`))).toBe(2);
    expect(count(all.filter((event) => String(event['path']).startsWith(`${path}.`)))).toBe(400);
  });

  it('says when the first and the last of them were', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    const before = Date.now();
    const { of } = await watched('slow', path, 3);
    const after = Date.now();
    const times = of(path).map((event) =>
      [event['first'], event['last'], event['time']].map((time) => Date.parse(String(time))),
    );
    for (const [first = 0, last = 0, read = 0] of times) {
      expect(first).toBeGreaterThanOrEqual(before - 1);
      expect(last - first).toBeGreaterThanOrEqual(50);
      expect(last).toBeLessThanOrEqual(read);
      expect(read).toBeLessThanOrEqual(after + 1);
    }
    expect(times).toHaveLength(1);
  });

  it('has an event for each open that fails, with the path as it was passed', async () => {
    const { of } = await watched('open', '/no/such', 4);
    expect(of('/no/such')).toHaveLength(4);
    for (const event of of('/no/such'))
      expect(event).toMatchObject({
        errno: 'ENOENT',
        count: '1',
        pathState: null,
        deleted: null,
        first: event['last'],
      });
  });

  it('has an event for each open of a path that is too long for a total, and the whole path', async () => {
    const directory = join(fresh(), 'd'.repeat(250), 'e'.repeat(250));
    await mkdir(directory, { recursive: true });
    const path = join(directory, 'file');
    await writeFile(path, 'x');
    const { of } = await watched('open', path, 3);
    expect(of(path).map((event) => event['count'])).toEqual(['1', '1', '1']);
  });

  it('has an event for each open of io_uring', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    const { of, pid } = await watched('uring', path, 5);
    expect(of(path).map((event) => event['count'])).toEqual(['1', '1', '1', '1', '1']);
    expect(of(path)[0]).toMatchObject({ process: { pid }, flags: ['O_RDONLY'], pathState: 'ROOTED' });
    expect((await watched('uring', '/no/uring', 1)).of('/no/uring')[0]).toMatchObject({ errno: 'ENOENT', count: '1' });
  });

  itNarrow('counts the opens of the 32-bit ABI', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    expect(count((await watched('narrow', path, 6)).of(path))).toBe(6);
  });

  it('counts what open has an event of each of, while they are read all the time', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    const open = await startTracker('open', mine);
    const { of } = await watched('open', path, 20_000, ['2'], { options: { every: 50 } });
    const events = (await open.stop()).filter((event) => event['resolved'] === path);
    expect(count(of(path))).toBe(40_000);
    expect(events).toHaveLength(40_000);
  });

  it('leaves what its filter excludes in the kernel', async () => {
    const path = fresh();
    await writeFile(path, 'x');
    const { all, of } = await watched('flags', path, 5, [], { where: '"O_TRUNC" in flags' });
    expect(all.map((event) => event['count'])).toEqual(['5']);
    expect(of(path)).toEqual(all);
    await rename(path, `${path}.moved`);
    expect((await watched('open', path, 2, [], { where: 'errno == "ENOENT"' })).all).toHaveLength(2);
  });
});
