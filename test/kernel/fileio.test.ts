import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Bucket } from '../../src/event/event.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { isInPath } from '../support/strace.js';
import { compileC, run, scratch } from '../support/workload.js';

const source = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uring.h"
static int uring(int fd, void *memory, int count, int bytes)
{
	if (set_up(4, 0)) return 1;
	for (int i = 0; i < count; i++) {
		struct io_uring_sqe e = { .opcode = i % 2 ? IORING_OP_WRITE : IORING_OP_READ, .fd = fd,
					  .addr = (unsigned long)memory, .len = bytes, .flags = i % 4 > 1 ? IOSQE_ASYNC : 0 };
		if (go(e) != bytes) return 1;
	}
	return 0;
}
static void show_io(void)
{
	char line[80];
	FILE *io = fopen("/proc/self/io", "r");
	while (fgets(line, sizeof(line), io)) fputs(line, stdout);
	fclose(io);
}
/* WHAT FILE COUNT BYTES [MORE] */
int main(int argc, char **argv)
{
	const char *what = argv[1];
	int count = atoi(argv[3]), bytes = atoi(argv[4]);
	void *memory = calloc(1, bytes + 1);
	int fd = open(argv[2], O_RDWR | O_CREAT, 0600);
	if (fd < 0) return 2;
	if (!strcmp(what, "both")) { /* reads and writes, and as many by as many processes */
		for (int p = 1; p < (argc > 5 ? atoi(argv[5]) : 1); p++) if (!fork()) break;
		for (int i = 0; i < count; i++) {
			if (pwrite(fd, memory, bytes, 0) != bytes || pread(fd, memory, bytes, 0) != bytes) return 3;
		}
		while (wait(NULL) > 0);
	} else if (!strcmp(what, "kinds")) { /* each kind of call once */
		struct iovec v[2] = { { memory, 10 }, { memory, 20 } };
		int out = open(argv[5], O_RDWR | O_CREAT | O_TRUNC, 0600), ends[2];
		if (write(fd, memory, 1) != 1 || pwrite(fd, memory, 2, 0) != 2 || writev(fd, v, 2) != 30 ||
		    pwritev(fd, v, 2, 0) != 30 || syscall(SYS_pwritev2, fd, v, 2, 0, 0, 0) != 30) return 3;
		lseek(fd, 0, SEEK_SET);
		if (read(fd, memory, 1) != 1 || pread(fd, memory, 2, 0) != 2 || readv(fd, v, 2) != 30 ||
		    preadv(fd, v, 2, 0) != 30 || syscall(SYS_preadv2, fd, v, 2, 0, 0, 0) != 30) return 4;
		loff_t from = 0;
		if (sendfile(out, fd, &from, 7) != 7 || copy_file_range(fd, &from, out, NULL, 8, 0) != 8) return 5;
		if (pipe(ends) || splice(fd, &from, ends[1], NULL, 9, 0) != 9 || splice(ends[0], NULL, out, NULL, 9, 0) != 9) return 6;
	} else if (!strcmp(what, "fail")) {
		int closed = open(argv[2], O_WRONLY);
		for (int i = 0; i < count; i++) if (read(closed, memory, bytes) >= 0) return 3;
	} else if (!strcmp(what, "uring")) {
		if (uring(fd, memory, count, bytes)) return 4;
	} else if (!strcmp(what, "other")) { /* no regular file */
		int zero = open("/dev/zero", O_RDWR);
		for (int i = 0; i < count; i++) if (read(zero, memory, bytes) != bytes || write(zero, memory, bytes) != bytes) return 3;
	} else if (!strcmp(what, "io")) { /* what the kernel counts of the process, and of it these */
		show_io();
		for (int i = 0; i < count; i++) if (pwrite(fd, memory, bytes, 0) != bytes || pread(fd, memory, bytes, 0) != bytes) return 3;
		show_io();
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('fileload', source);
});

const mine = { pids: [process.pid] };
const sum = (events: readonly Seen[], field: string) => events.reduce((all, event) => all + Number(event[field]), 0);
let number = 0;
const fresh = () => join(scratch, `file-${number++}`);

/** The events of one file, while the program does something to it. */
async function watched(what: string, file: string, args: readonly (string | number)[], options: TrackOptions = {}) {
  const tracked = await startTracker('fileio', { ...mine, ...options });
  const ended = await run(program, [what, file, ...args].map(String));
  expect(ended.code).toBe(0);
  const all = await tracked.stop();
  return { ...ended, all, events: all.filter(({ path }) => path === file), stats: await tracked.stats() };
}

describe('the tracker fileio', () => {
  it('counts reads and writes of a file with their bytes, and says which file it is', async () => {
    const file = fresh();
    const { events, pid } = await watched('both', file, [1000, 300]);
    const { ino, dev } = await stat(file);
    expect(sum(events, 'reads')).toBe(1000);
    expect(sum(events, 'writes')).toBe(1000);
    expect(sum(events, 'count')).toBe(2000);
    expect([sum(events, 'readBytes'), sum(events, 'writtenBytes')]).toEqual([300_000, 300_000]);
    for (const event of events) {
      expect(event).toMatchObject({
        process: { pid, comm: 'fileload' },
        pathState: 'ROOTED',
        deleted: false,
        slow: false,
        inode: String(ino),
        // stat's st_dev has the minor number in two parts (makedev(3)).
        device: `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`,
      });
      for (const [count, total, histogram] of [
        ['reads', 'readNs', 'readHistogramNs'],
        ['writes', 'writeNs', 'writeHistogramNs'],
      ] as const) {
        const buckets = event[histogram] as Bucket[];
        expect(buckets.reduce((all, bucket) => all + Number(bucket.count), 0)).toBe(Number(event[count]));
        expect(Number(event[total])).toBeGreaterThanOrEqual(
          buckets.reduce((all, bucket) => all + bucket.from * Number(bucket.count), 0),
        );
      }
    }
  });

  it('knows each call that reads or writes, and both files of one that copies', async () => {
    const file = fresh();
    const out = fresh();
    const { events, all } = await watched('kinds', file, [1, 40, out]);
    const copied = all.filter(({ path }) => path === out);
    expect([sum(events, 'writes'), sum(events, 'writtenBytes')]).toEqual([5, 1 + 2 + 30 + 30 + 30]);
    expect([sum(events, 'reads'), sum(events, 'readBytes')]).toEqual([8, 1 + 2 + 30 + 30 + 30 + 7 + 8 + 9]);
    expect([sum(copied, 'writes'), sum(copied, 'writtenBytes')]).toEqual([3, 7 + 8 + 9]);
    expect(sum(copied, 'reads')).toBe(0);
  });

  it('counts what fails, without bytes, and nothing of what is no regular file', async () => {
    const file = fresh();
    const { events } = await watched('fail', file, [20, 100]);
    expect([sum(events, 'errors'), sum(events, 'reads'), sum(events, 'readBytes')]).toEqual([20, 20, 0]);
    const { all } = await watched('other', fresh(), [20, 100]);
    expect(all.filter(({ path }) => String(path).startsWith('/dev'))).toEqual([]);
    // Reads of libraries by the dynamic linker alone.
    expect(sum(all, 'writes')).toBe(0);
  });

  it('counts requests of io_uring, of its worker threads too', async () => {
    const file = fresh();
    await writeFile(file, Buffer.alloc(1000));
    const { events, pid } = await watched('uring', file, [400, 1000]);
    expect([sum(events, 'reads'), sum(events, 'writes')]).toEqual([200, 200]);
    expect([sum(events, 'readBytes'), sum(events, 'writtenBytes')]).toEqual([200_000, 200_000]);
    for (const event of events) expect(event).toMatchObject({ process: { pid, comm: 'fileload' }, errors: '0' });
  });

  it('agrees with what the kernel counts of a process', async () => {
    const file = fresh();
    const { all, stdout, pid } = await watched('io', file, [500, 4000]);
    const counted = (name: string) => {
      const [before = 0, after = 0] = stdout
        .split('\n')
        .flatMap((line) => (line.startsWith(`${name}: `) ? [Number(line.split(' ')[1])] : []));
      return after - before;
    };
    const own = all.filter((event) => event.process.pid === pid && event['path'] === file);
    expect([sum(own, 'writes'), sum(own, 'writtenBytes')]).toEqual([counted('syscw'), counted('wchar')]);
    expect([sum(own, 'writes'), sum(own, 'writtenBytes')]).toEqual([500, 500 * 4000]);
    // Between its two lines the program has also read the rest of the first ones.
    expect(counted('syscr') - sum(own, 'reads')).toBeLessThan(5);
    expect(counted('syscr')).toBeGreaterThanOrEqual(sum(own, 'reads'));
  });

  it('agrees with strace on the calls of a program and their bytes', async (test) => {
    if (!isInPath('strace')) test.skip('strace is not installed (apt-get install strace)');
    const file = fresh();
    const report = fresh();
    const tracked = await startTracker('fileio', mine);
    await run('strace', [
      '-ff',
      '-y',
      '-e',
      'trace=pread64,pwrite64',
      '-o',
      report,
      program,
      'both',
      file,
      '200',
      '512',
      '2',
    ]);
    const events = (await tracked.stop()).filter(({ path, process: { comm } }) => path === file && comm === 'fileload');
    const reports = (await readdir(scratch)).filter((name) => name.startsWith(`${basename(report)}.`));
    const texts = await Promise.all(reports.map((name) => readFile(join(scratch, name), 'utf8')));
    const lines = texts.flatMap((text) => text.split('\n')).filter((line) => line.includes(`<${file}>`));
    const theirs = (name: string) =>
      lines.filter((line) => line.includes(`${name}(`) && line.endsWith(' = 512')).length;
    expect(theirs('pread64')).toBe(400);
    expect(sum(events, 'reads')).toBe(theirs('pread64'));
    expect(sum(events, 'writes')).toBe(theirs('pwrite64'));
    expect(new Set(events.map((event) => event.process.pid)).size).toBe(2);
  });

  it('makes what is slow events of their own, and counts all the same', async () => {
    const file = fresh();
    const { events } = await watched('both', file, [100, 200], { options: { slowerThan: 1e-6 } });
    expect(events).toHaveLength(200);
    for (const event of events) expect(event).toMatchObject({ slow: true, count: '1' });
    expect([sum(events, 'readBytes'), sum(events, 'writtenBytes')]).toEqual([20_000, 20_000]);
    const none = await watched('both', fresh(), [100, 200], { options: { slowerThan: 3_600_000 } });
    expect(none.events.filter(({ slow }) => slow)).toEqual([]);
    expect(sum(none.events, 'count')).toBe(200);
  });

  it('names a file by its path, from its end if it is too long', async () => {
    const deep = join(scratch, ...Array.from({ length: 6 }, (_, i) => `${i}`.repeat(100)));
    await mkdir(deep, { recursive: true });
    const file = join(deep, 'the-file');
    const { all } = await watched('both', file, [1, 10]);
    const [event] = all.filter(({ path }) => String(path).endsWith('/the-file'));
    expect(event).toMatchObject({ pathState: 'TRUNCATED', path: `(truncated)${file.slice(-500)}` });
    expect(String(event?.['path'])).toHaveLength(511);
  });

  it('counts exactly while its counts are read again and again, by several processes', async () => {
    const file = fresh();
    const { events, stats } = await watched('both', file, [40_000, 16, 3], { options: { every: 50 } });
    expect(sum(events, 'reads')).toBe(120_000);
    expect(sum(events, 'writes')).toBe(120_000);
    expect(sum(events, 'readBytes')).toBe(120_000 * 16);
    expect(new Set(events.map(({ bootNs }) => bootNs)).size).toBeGreaterThan(1);
    expect(stats).toMatchObject({ lost: 0, produced: stats.received, skippedRuns: 0 });
  });

  it('watches the processes that are targeted, and those that the filter takes', async () => {
    for (const [target, count] of [
      [{ where: 'process.comm == "fileload"' }, 20],
      [{ where: 'process.comm == "nobody"' }, 0],
      [{ comms: ['fileload'] }, 20],
      [{ comms: ['nobody'] }, 0],
    ] as const) {
      const { events } = await watched('both', fresh(), [10, 10], target);
      expect([target, sum(events, 'count')]).toEqual([target, count]);
    }
  });
});
