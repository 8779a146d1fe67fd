import { beforeAll, describe, expect, it } from 'vitest';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { compileC, run } from '../support/workload.js';

// In network and UTS namespaces of its own, so that it changes nothing of the machine's.
const source = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uring.h"
static char text[8192];
static int file(const char *name, int flags)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	fd = open(path, flags);
	if (fd < 0) { perror(path); exit(3); }
	return fd;
}
int main(int argc, char **argv)
{
	int fd;

	if (unshare(CLONE_NEWNET | CLONE_NEWUTS)) return 3;
	if (!strcmp(argv[1], "burst")) { /* so many writes by each of so many processes */
		for (int p = 0; p < atoi(argv[3]); p++) if (!fork()) {
			fd = file("net/ipv4/ip_default_ttl", O_WRONLY);
			for (int i = 0; i < atoi(argv[2]); i++) if (pwrite(fd, i % 2 ? "63" : "64", 2, 0) != 2) _exit(3);
			_exit(0);
		}
		while (wait(NULL) > 0);
		return 0;
	}
	if (!strcmp(argv[1], "uring")) { /* in a worker of io_uring */
		if (set_up(4, 0)) return 3;
		printf("%d\\n", go((struct io_uring_sqe){ .opcode = IORING_OP_WRITE, .flags = IOSQE_ASYNC,
			.fd = file("net/ipv4/ip_nonlocal_bind", O_WRONLY), .addr = (long)"1", .len = 1 }));
		return 0;
	}
	for (int i = 1; i + 2 < argc; i += 3) { /* NAME POSITION VALUE; without a value it reads; "x4999" is so long */
		const char *name = argv[i], *value = argv[i + 2];
		long position = atol(argv[i + 1]), got;

		if (*value == 'x') {
			memset(text, 'x', sizeof(text));
			text[atoi(value + 1)] = 0;
			value = text;
		}
		fd = file(name, *value ? O_WRONLY : O_RDONLY);
		errno = 0;
		got = *value ? pwrite(fd, value, strlen(value), position) : pread(fd, text, sizeof(text), position);
		printf("%ld %d\\n", got, errno);
		close(fd);
		fd = file(name, O_RDWR);
		got = pread(fd, text, sizeof(text), 0);
		printf("%.*s", (int)got, text);
		close(fd);
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('parameters', source);
});

const mine = { pids: [process.pid] };
// 0 in each new network namespace; ip_forward is what the machine has (a dockerd sets it).
const NONLOCAL_BIND = 'net/ipv4/ip_nonlocal_bind';

async function accessed(args: readonly (string | number)[], options: TrackOptions = {}) {
  const tracked = await startTracker('sysctl', { ...mine, ...options });
  const { pid, code, stdout } = await run(program, args.map(String));
  expect(code).toBe(0);
  const events = (await tracked.stop()).filter(({ process: { comm } }) => comm === 'parameters');
  return { pid, events, lines: stdout.split('\n'), stats: await tracked.stats() };
}
const brief = (events: readonly Seen[]) =>
  events.map((e) => [e['sysctlOperation'], e['name'], e['oldValue'], e['newValue']]);

describe('the tracker sysctl', () => {
  it('reports a write with the values before and after, which are those of /proc/sys', async () => {
    const { events, lines, pid } = await accessed([
      ...[NONLOCAL_BIND, 0, '1\n'],
      ...['kernel/hostname', 0, 'reported\n'],
      ...[NONLOCAL_BIND, 0, '0'],
      ...['net/ipv4/ip_local_port_range', 0, '20000 30000'],
    ]);
    const [hostname] = (await run('uname', ['-n'])).stdout.split('\n');
    // What the program wrote, and what it read afterwards.
    expect(lines).toEqual(['2 0', '1', '9 0', 'reported', '1 0', '0', '11 0', '20000\t30000']);
    expect(brief(events)).toEqual([
      ['WRITE', NONLOCAL_BIND, '0', '1'],
      ['WRITE', 'kernel/hostname', hostname, 'reported'],
      ['WRITE', NONLOCAL_BIND, '1', '0'],
      ['WRITE', 'net/ipv4/ip_local_port_range', '32768\t60999', '20000 30000'],
    ]);
    expect(events[0]).toMatchObject({
      process: { pid, comm: 'parameters' },
      position: 0,
      truncated: false,
      netNs: expect.stringMatching(/^\d+$/) as string,
    });
  });

  it('reports attempts whose value the kernel does not take', async () => {
    const { events, lines } = await accessed([NONLOCAL_BIND, 0, 'none', NONLOCAL_BIND, 1, '1']);
    expect(lines[0]).toBe('-1 22');
    expect(lines[1]).toBe('0');
    expect(lines[3]).toBe('0'); // nothing is written elsewhere than at the beginning
    expect(brief(events)).toEqual([
      ['WRITE', NONLOCAL_BIND, '0', 'none'],
      ['WRITE', NONLOCAL_BIND, '0', '1'],
    ]);
    expect(events.map((e) => e['position'])).toEqual([0, 1]);
  });

  it("reports a write by io_uring as the process's", async () => {
    const { events, lines, pid } = await accessed(['uring']);
    expect(lines).toEqual(['1']);
    expect(brief(events)).toEqual([['WRITE', NONLOCAL_BIND, '0', '1']]);
    expect(events[0]?.process).toMatchObject({ pid, comm: 'parameters' });
  });

  it('reports reads only on request, and none of what is behind the end', async () => {
    const reads = [NONLOCAL_BIND, 0, '', 'kernel/hostname', 2, '', NONLOCAL_BIND, 2, ''];
    expect((await accessed(reads)).events).toEqual([]);
    const { events, lines } = await accessed(reads, { options: { reads: true } });
    const hostname = lines[3];
    expect(lines[4]).toBe('0 0');
    expect(brief(events)).toEqual([
      ['READ', NONLOCAL_BIND, '0', null],
      ['READ', NONLOCAL_BIND, '0', null], // the program looks after each
      ['READ', 'kernel/hostname', hostname, null],
      ['READ', 'kernel/hostname', hostname, null],
      ['READ', NONLOCAL_BIND, '0', null],
    ]);
    expect(events.map((e) => e['position'])).toEqual([0, 0, 2, 0, 0]);
  });

  it('cuts what is long, and says so', async () => {
    const { events } = await accessed([
      'kernel/hostname',
      0,
      'x3583',
      NONLOCAL_BIND,
      0,
      'x3584',
      NONLOCAL_BIND,
      0,
      'x6000',
    ]);
    expect(events.map((e) => [e['newValue'], e['truncated']])).toEqual([
      ['x'.repeat(3583), false],
      ['x'.repeat(3583), true],
      ['x'.repeat(3583), true],
    ]);
  });

  it('is filtered in the kernel by operation, name, values and process', async () => {
    const writes = [NONLOCAL_BIND, 0, '1', 'kernel/hostname', 0, 'other', NONLOCAL_BIND, 0, '0'];
    for (const [where, expected] of [
      ['name == "kernel/hostname"', 1],
      ['name.startsWith("net/")', 2],
      ['newValue == "1" && oldValue == "0"', 1],
      ['sysctlOperation == "READ"', 0],
      ['sysctlOperation == "WRITE" && newValue != null', 3],
      ['process.comm == "other"', 0],
    ] as const) {
      const { events, stats } = await accessed(writes, { where });
      expect([where, events.length]).toEqual([where, expected]);
      expect(stats).toMatchObject({ produced: expected, discarded: 0, lost: 0 });
    }
  });

  it('counts each write that a small ring loses: produced = lost + received', async () => {
    const [each, processes] = [20_000, 3];
    await expectExactLoss('sysctl', mine, each * processes, () => run(program, ['burst', `${each}`, `${processes}`]));
  });
});
