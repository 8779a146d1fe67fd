import { readFileSync } from 'node:fs';
import { mkdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { harness, startTracker, type Seen } from '../support/session.js';
import { compileC, run, scratch } from '../support/workload.js';
import { until } from '../support/until.js';

/** Requests through io_uring without liburing. Prints results, one a request. */
const source = `
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uring.h"
static struct io_uring_sqe opening(const char *path, int flags, int mode)
{
	return (struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)path, .open_flags = flags, .len = mode };
}
static int listening(struct sockaddr_in *to, int protocol)
{
	int fd = socket(AF_INET, SOCK_STREAM, protocol);
	socklen_t length = sizeof(*to);
	if (fd < 0) exit(3);
	*to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bind(fd, (void *)to, length); listen(fd, 8); getsockname(fd, (void *)to, &length);
	return fd;
}
int main(int argc, char **argv)
{
	const char *what = argv[1];
	if (!strcmp(what, "open")) {
		struct open_how how = { .flags = O_WRONLY | O_CREAT, .mode = 0640 };
		if (set_up(8, 0)) return 3;
		printf("%d ", go(opening(argv[2], O_RDONLY, 0)));
		printf("%d ", go(opening("/no/uring", O_RDONLY, 0)));
		printf("%d\\n", go((struct io_uring_sqe){ .opcode = IORING_OP_OPENAT2, .fd = AT_FDCWD,
			.addr = (unsigned long)argv[3], .len = sizeof(how), .off = (unsigned long)&how }));
	} else if (!strcmp(what, "worker") || !strcmp(what, "poll")) {
		struct io_uring_sqe e = opening(argv[2], O_RDONLY, 0);
		if (set_up(8, !strcmp(what, "poll") ? IORING_SETUP_SQPOLL : 0)) return 3;
		if (!strcmp(what, "worker")) e.flags = IOSQE_ASYNC;
		printf("%d\\n", go(e));
	} else if (!strcmp(what, "direct")) {
		int slots[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
		struct io_uring_sqe e = opening(argv[2], O_RDONLY, 0);
		if (set_up(8, 0)) return 3;
		syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, slots, 8);
		e.file_index = 3;
		printf("%d ", go(e));
		e.file_index = IORING_FILE_INDEX_ALLOC;
		printf("%d\\n", go(e));
	} else if (!strcmp(what, "skip")) {
		struct io_uring_sqe e = opening(argv[2], O_RDONLY, 0), f = opening("/no/skipped", O_RDONLY, 0);
		if (set_up(8, 0)) return 3;
		e.flags = f.flags = IOSQE_CQE_SKIP_SUCCESS;
		put(e); enter(1, 0);
		printf("%d\\n", go(f));
	} else if (!strcmp(what, "overflow")) { /* a completion queue of 2, and none is taken */
		if (set_up(1, 0)) return 3;
		for (int i = 0; i < 5; i++) { struct io_uring_sqe e = opening(argv[2 + i], O_RDONLY, 0); e.user_data = i; put(e); enter(1, 0); }
	} else if (!strcmp(what, "linked")) { /* the second is cancelled with the first */
		struct io_uring_sqe e = opening("/no/first", O_RDONLY, 0);
		if (set_up(8, 0)) return 3;
		e.flags = IOSQE_IO_LINK;
		put(e); put(opening(argv[2], O_RDONLY, 0)); enter(2, 2);
		printf("%d ", take()); printf("%d\\n", take());
	} else if (!strcmp(what, "accept") || !strcmp(what, "multishot") || !strcmp(what, "direct-accept") || !strcmp(what, "mptcp-accept")) {
		struct sockaddr_in to;
		int slots[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };
		int listener = listening(&to, !strcmp(what, "mptcp-accept") ? 262 : 0), many = !strcmp(what, "multishot"),
			direct = !strcmp(what, "direct-accept");
		if (set_up(16, 0)) return 3;
		if (direct) syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, slots, 8);
		if (many) { put((struct io_uring_sqe){ .opcode = IORING_OP_ACCEPT, .fd = listener,
			.ioprio = IORING_ACCEPT_MULTISHOT, .user_data = 77 }); enter(1, 0); }
		for (int i = 0; i < 3; i++) {
			int client = socket(AF_INET, SOCK_STREAM, 0);
			int connected = go((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = client,
				.addr = (unsigned long)&to, .off = sizeof(to) });
			int accepted = many ? take() : go((struct io_uring_sqe){ .opcode = IORING_OP_ACCEPT, .fd = listener, .file_index = direct ? 2 : 0 });
			if (many && connected > 0) { int swap = connected; connected = accepted; accepted = swap; }
			if (connected || accepted < 0) return printf("%d %d\\n", connected, accepted), 1;
			if (!direct) close(accepted);
			close(client);
		}
		printf("%d\\n", ntohs(to.sin_port));
	} else if (!strcmp(what, "connect")) { /* fails without a SYN, and with a reset */
		struct sockaddr_in nowhere = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xffffffff) }, refused;
		int listener = listening(&refused, 0);
		close(listener);
		if (set_up(8, 0)) return 3;
		printf("%d ", go((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = socket(AF_INET, SOCK_STREAM, 0),
			.addr = (unsigned long)&nowhere, .off = sizeof(nowhere) }));
		printf("%d ", go((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = socket(AF_INET, SOCK_STREAM, 0),
			.addr = (unsigned long)&refused, .off = sizeof(refused) }));
		printf("%d\\n", ntohs(refused.sin_port));
	} else if (!strcmp(what, "mptcp")) { /* MPTCP on both ends: 5 bytes there, 7 back */
		struct sockaddr_in to;
		char buffer[16];
		int listener = listening(&to, 262), client = socket(AF_INET, SOCK_STREAM, atoi(argv[2])), served;
		if (connect(client, (void *)&to, sizeof(to))) return 1;
		served = accept(listener, NULL, NULL);
		if (write(client, "hello", 5) != 5 || read(served, buffer, 16) != 5) return 2;
		if (write(served, "goodbye", 7) != 7 || read(client, buffer, 16) != 7) return 2;
		close(client);
		if (read(served, buffer, 16)) return 4;
		close(served);
		usleep(50000);
		printf("%d\\n", ntohs(to.sin_port));
	}
	return 0;
}
`;

const program = join(scratch, 'uringload');
const ours = { comms: ['uringload'] };
const load = (...args: (string | number)[]) => run(program, args.map(String));
const mine = (events: readonly Seen[], pid: number) =>
  events.filter(
    (e) => e.process.pid === pid && !String(e['path']).startsWith('/proc/') && !String(e['path']).startsWith('/sys/'),
  );
const hasUring =
  readFileSync('/proc/kallsyms', 'utf8').includes('__x64_sys_io_uring_setup') || process.arch === 'arm64';
const numbers = (text: string) => text.split(' ').map(Number);

beforeAll(async () => {
  await compileC('uringload', source, '-static');
  await writeFile(join(scratch, 'file'), 'x');
});

describe.skipIf(!hasUring)('files opened through io_uring', () => {
  const file = join(scratch, 'file');

  it('are seen by open, with their path, outcome and mode', async () => {
    const open = await startTracker('open', ours);
    const made = join(scratch, 'made');
    const { pid, stdout } = await load('open', file, made);
    const [first, second, third] = numbers(stdout);
    expect(second).toBe(-2);
    expect(mine(await open.stop(), pid)).toMatchObject([
      {
        path: file,
        resolved: file,
        fd: first,
        errno: null,
        flags: expect.arrayContaining(['O_RDONLY']) as string[],
        process: { pid, tid: pid, ppid: process.pid, comm: 'uringload' },
      },
      { path: '/no/uring', resolved: null, fd: null, errno: 'ENOENT' },
      {
        path: made,
        resolved: made,
        fd: third,
        errno: null,
        flags: expect.arrayContaining(['O_WRONLY', 'O_CREAT']) as string[],
        mode: 0o640,
      },
    ]);
  });

  it('are filtered by options, and by filters in the kernel', async () => {
    const failed = await startTracker('open', { ...ours, options: { failedOnly: true } });
    const writing = await startTracker('open', { ...ours, options: { writesOnly: true } });
    const filtered = await startTracker('open', { ...ours, where: 'open.path.startsWith("/no/")' });
    const succeeded = await startTracker('open', { ...ours, where: 'open.errno == null && open.fd >= 0' });
    const made = join(scratch, 'made-too');
    const { pid } = await load('open', file, made);
    const paths = async (tracked: { stop(): Promise<readonly Seen[]> }) =>
      mine(await tracked.stop(), pid).map((e) => e['path']);
    expect(await paths(failed)).toEqual(['/no/uring']);
    expect(await paths(writing)).toEqual([made]);
    expect(await paths(filtered)).toEqual(['/no/uring']);
    expect((await filtered.stats()).discarded).toBe(0);
    expect(await paths(succeeded)).toEqual([file, made]);
  });

  it.each(['worker', 'poll'])(
    "by a kernel thread of the process (%s) are the process's, under its name",
    async (how) => {
      const open = await startTracker('open', ours);
      const { pid, stdout } = await load(how, file);
      expect(mine(await open.stop(), pid)).toMatchObject([
        { path: file, resolved: file, fd: Number(stdout), process: { pid, ppid: process.pid, comm: 'uringload' } },
      ]);
    },
  );

  it.each(['worker', 'poll'])(
    'by a kernel thread of the process (%s) are in its cgroup, and in the target that holds it',
    async (how) => {
      const mount = findCgroupMount(readFileSync('/proc/self/mountinfo', 'utf8'));
      if (!mount) throw new Error('this test needs the cgroup v2 hierarchy');
      const cgroup = join(mount.point, `eunomia-test-${process.pid}-uring-${how}`);
      await mkdir(cgroup);
      try {
        const { ino } = await stat(cgroup);
        const open = await startTracker('open', { cgroups: [ino] });
        const { pid, stdout } = await run('/bin/sh', [
          '-c',
          `echo $$ > ${cgroup}/cgroup.procs; exec ${program} ${how} ${file}`,
        ]);
        const events = (await open.stop()).filter((e) => e['path'] === file);
        expect(events).toMatchObject([
          { fd: Number(stdout), cgroupId: String(ino), process: { pid, comm: 'uringload' } },
        ]);
      } finally {
        await until('the cgroup is empty', async () => (await readFile(join(cgroup, 'cgroup.procs'), 'utf8')) === '');
        await rmdir(cgroup);
      }
    },
  );

  it("into the ring's own table have no descriptor, and their path", async () => {
    const open = await startTracker('open', ours);
    const { pid, stdout } = await load('direct', file);
    expect(numbers(stdout)[0]).toBe(0);
    expect(mine(await open.stop(), pid)).toMatchObject([
      { path: file, resolved: file, fd: null, errno: null },
      { path: file, resolved: file, fd: null, errno: null },
    ]);
  });

  it('without a completion for success are seen when they are submitted, and again when they fail', async () => {
    const open = await startTracker('open', ours);
    const { pid, stdout } = await load('skip', file);
    expect(Number(stdout)).toBe(-2);
    expect(mine(await open.stop(), pid)).toMatchObject([
      { path: file, errno: null, fd: null, resolved: null },
      { path: '/no/skipped', errno: null, fd: null },
      { path: '/no/skipped', errno: 'ENOENT', fd: null },
    ]);
  });

  it('are seen where the completion queue is full', async () => {
    const open = await startTracker('open', ours);
    const { pid } = await load('overflow', file, '/no/1', '/no/2', '/no/3', '/no/4');
    expect(mine(await open.stop(), pid).map((e) => [e['path'], e['errno']])).toEqual([
      [file, null],
      ['/no/1', 'ENOENT'],
      ['/no/2', 'ENOENT'],
      ['/no/3', 'ENOENT'],
      ['/no/4', 'ENOENT'],
    ]);
  });

  it('are told as cancelled where a linked request failed', async () => {
    const open = await startTracker('open', ours);
    const { pid, stdout } = await load('linked', file);
    expect(numbers(stdout)).toEqual([-2, -125]);
    expect(mine(await open.stop(), pid).map((e) => [e['path'], e['errno']])).toEqual(
      expect.arrayContaining([
        ['/no/first', 'ENOENT'],
        [file, 'ECANCELED'],
      ]),
    );
  });
});

/** Of the program: each operation and its port on the listener's side. */
async function tcpOf(
  args: readonly (string | number)[],
  closes: number,
): Promise<{ readonly events: readonly Seen[]; readonly out: readonly number[]; readonly pid: number }> {
  const tcp = await startTracker('tcp', ours);
  const { pid, stdout, code } = await load(...args);
  expect([code, stdout]).toEqual([0, stdout]);
  await until(
    'the closes',
    () => tcp.events.filter((e) => e['tcpOperation'] === 'CLOSE' && e.process.pid === pid).length >= closes,
  );
  return { events: (await tcp.stop()).filter((e) => e.process.pid === pid), out: numbers(stdout), pid };
}
const ports = (events: readonly Seen[], operation: string, side: string) =>
  events.filter((e) => e['tcpOperation'] === operation).map((e) => e[side]);

describe.skipIf(!hasUring)('connections through io_uring', () => {
  it.each(['accept', 'multishot', 'direct-accept', 'mptcp-accept'])('are seen by tcp: %s', async (how) => {
    const { events, out } = await tcpOf([how], how === 'direct-accept' ? 3 : 6);
    const [port] = out;
    expect(ports(events, 'ACCEPT', 'localPort')).toEqual([port, port, port]);
    expect(ports(events, 'CONNECT', 'remotePort')).toEqual([port, port, port]);
    expect(events.every((e) => e.process.comm === 'uringload')).toBe(true);
  });

  it('that fail are seen with their errno and address, with and without a packet', async () => {
    const { events, out } = await tcpOf(['connect'], 0);
    expect(out.slice(0, 2)).toEqual([-101, -111]);
    expect(events).toMatchObject([
      { tcpOperation: 'CONNECT_FAILED', errno: 'ENETUNREACH', remoteAddress: '255.255.255.255', remotePort: 9 },
      { tcpOperation: 'CONNECT_FAILED', errno: 'ECONNREFUSED', remoteAddress: '127.0.0.1', remotePort: out[2] },
    ]);
  });
});

const hasMptcp = (() => {
  try {
    return readFileSync('/proc/sys/net/mptcp/enabled', 'utf8').trim() === '1';
  } catch {
    return false;
  }
})();

describe.skipIf(!hasMptcp)('connections of MPTCP', () => {
  it.each([
    ['MPTCP', 262],
    ['TCP', 6],
  ])('from a client of %s have one event for each step at each end, and their bytes', async (_name, protocol) => {
    const { events, out } = await tcpOf(['mptcp', protocol], 2);
    const [port] = out;
    expect(events.map((e) => e['tcpOperation']).sort()).toEqual(['ACCEPT', 'CLOSE', 'CLOSE', 'CONNECT']);
    expect(ports(events, 'ACCEPT', 'localPort')).toEqual([port]);
    expect(ports(events, 'CONNECT', 'remotePort')).toEqual([port]);
    const closes = events.filter((e) => e['tcpOperation'] === 'CLOSE');
    expect(closes.find((e) => e['remotePort'] === port)).toMatchObject({
      sentBytes: '5',
      receivedBytes: '7',
      localAddress: '127.0.0.1',
      remoteAddress: '127.0.0.1',
    });
    expect(closes.find((e) => e['localPort'] === port)).toMatchObject({
      sentBytes: '7',
      receivedBytes: '5',
      localAddress: '127.0.0.1',
      remoteAddress: '127.0.0.1',
    });
  });
});

describe('a tracker whose optional programs a kernel is without', () => {
  it.each(['open', 'tcp'])('runs without them, and tells which: %s', async (name) => {
    const { kernel, trackers } = await harness();
    const runtime = trackers.get(name);
    if (!runtime) throw new Error(name);
    const spec = runtime.objectSpec({});
    const programs = Object.keys(spec.optional ?? {});
    expect(programs).toHaveLength(4);
    expect(
      await kernel.tryLoad({ ...spec, optional: Object.fromEntries(programs.map((program) => [program, [99]])) }),
    ).toEqual({ missing: programs, refused: [] });
  });
});
