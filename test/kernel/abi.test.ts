import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Demand } from '../../src/event/event.js';
import { startTracker, type Seen } from '../support/session.js';
import { compileC, run, scratch } from '../support/workload.js';
import { until } from '../support/until.js';
import { itNarrow } from '../support/narrow.js';

/** A 64-bit program that makes 32-bit calls, and prints what they return. Pointers are below 4 GiB: 32-bit calls take no others. */
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
#include <sys/wait.h>
#include <unistd.h>
#include "narrow.h"
static long raw(long nr, long a, long b, long c)
{
	long result;
	register long r10 __asm__("r10") = 0;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}
static char *low;
static long at(int offset) { return (long)(low + offset); }
static long text(int offset, const char *from) { strcpy(low + offset, from); return at(offset); }
static int listening(struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(*to);
	to->sin_family = AF_INET;
	to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bind(fd, (void *)to, length); listen(fd, 8); getsockname(fd, (void *)to, &length);
	return fd;
}
int main(int argc, char **argv)
{
	const char *what = argv[1];
	unsigned *words;
	low = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	words = (unsigned *)(low + 1024);
	if (!strcmp(what, "open")) {
		struct open_how *how = (void *)(low + 2048);
		how->flags = O_WRONLY | O_CREAT; how->mode = 0600;
		printf("%ld ", old(5, text(0, argv[2]), O_RDONLY, 0, 0));
		printf("%ld ", old(295, AT_FDCWD, text(0, argv[3]), O_RDONLY, 0));
		printf("%ld ", old(437, AT_FDCWD, text(0, argv[4]), at(2048), sizeof(*how)));
		printf("%ld\\n", old(8, text(0, argv[5]), 0640, 0, 0));
	} else if (!strcmp(what, "exec")) {
		words[0] = text(0, argv[2]); words[1] = text(256, "first"); words[2] = text(512, "second"); words[3] = 0;
		printf("%ld\\n", old(11, at(0), at(1024), 0, 0));
		fflush(stdout);
		words[0] = text(0, "/bin/true");
		if (!fork()) { old(11, at(0), at(1024), 0, 0); _exit(1); }
		wait(NULL);
	} else if (!strcmp(what, "accept")) {
		struct sockaddr_in to = {};
		int listener = listening(&to), client = socket(AF_INET, SOCK_STREAM, 0);
		*(struct sockaddr_in *)(low + 2048) = to;
		words[0] = client; words[1] = at(2048); words[2] = sizeof(to);
		if (old(102, 3, at(1024), 0, 0)) return 1;                       /* socketcall: connect */
		words[0] = listener; words[1] = words[2] = 0;
		close(old(102, 5, at(1024), 0, 0));                              /* socketcall: accept */
		close(client);
		client = socket(AF_INET, SOCK_STREAM, 0);
		if (old(362, client, at(2048), sizeof(to), 0)) return 2;          /* connect */
		close(old(364, listener, 0, 0, 0));                              /* accept4 */
		((struct sockaddr_in *)(low + 2048))->sin_addr.s_addr = htonl(0xffffffff);
		words[0] = socket(AF_INET, SOCK_STREAM, 0); words[1] = at(2048); words[2] = sizeof(to);
		printf("%d %ld\\n", ntohs(to.sin_port), old(102, 3, at(1024), 0, 0)); /* fails before a SYN */
	} else if (!strcmp(what, "count")) {
		for (int i = 0; i < 50; i++) old(20, 0, 0, 0, 0);                 /* getpid, the number of writev */
		for (int i = 0; i < 3; i++) syscall(SYS_getpid);
		old(5, text(0, argv[2]), 0, 0, 0);                               /* open, the number of fstat */
		old(222, 0, 0, 0, 0);
		old(199, 0, 0, 0, 0);                                            /* getuid32: not in the 64-bit table */
		raw(0x40000000 | SYS_getpid, 0, 0, 0);
		raw(0x40000000 | 520, 0, 0, 0);
	} else if (!strcmp(what, "high")) {                                  /* the kernel drops the number's upper half */
		raw(1L << 32 | SYS_openat, AT_FDCWD, (long)argv[2], O_RDONLY);
		raw(0xabcL << 32 | SYS_getppid, 0, 0, 0);
	}
	return 0;
}
`;

/** A 32-bit program, without a library: open, a failing execve, exit. */
const narrow = `
static long call(long nr, long a, long b, long c)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}
void _start(void)
{
	const char *volatile args[] = { "narrow-arg", 0 }; /* on the stack, whose page is there */
	call(5, (long)"/no/narrow", 0, 0);
	call(11, (long)"/no/narrow-program", (long)args, 0);
	call(1, 0, 0, 0);
}
`;

const program = join(scratch, 'abiload');
const narrowProgram = join(scratch, 'abinarrow');
const ours = { comms: ['abiload', 'abinarrow'] };
const load = (...args: string[]) => run(program, args);
const only = (events: readonly Seen[], pid: number) => events.filter((e) => e.process.pid === pid);
const wantsDuration: Demand = new Map([['syscall', new Set(['durationNs'])]]);

beforeAll(async () => {
  await compileC('abiload', source, '-static');
  await compileC(
    'abinarrow',
    narrow,
    '-m32',
    '-ffreestanding',
    '-fno-stack-protector',
    '-fno-pic',
    '-nostdlib',
    '-static',
  );
});

describe('32-bit calls', () => {
  itNarrow('that open files are seen by open, of a 64-bit program', async () => {
    const open = await startTracker('open', ours);
    const path = (name: string) => join(scratch, `abi-${name}`);
    const { pid, stdout } = await load('open', '/etc/hostname', '/no/openat', path('two'), path('creat'));
    const events = only(await open.stop(), pid).filter(
      (e) => !String(e['path']).startsWith('/proc') && !String(e['path']).startsWith('/sys'),
    );
    const [first, , third, fourth] = stdout.split(' ').map(Number);
    expect(events).toMatchObject([
      { path: '/etc/hostname', resolved: '/etc/hostname', fd: first, errno: null, flags: ['O_RDONLY'] },
      { path: '/no/openat', errno: 'ENOENT', fd: null },
      { path: path('two'), resolved: path('two'), fd: third, flags: ['O_WRONLY', 'O_CREAT'], mode: 0o600 },
      {
        path: path('creat'),
        resolved: path('creat'),
        fd: fourth,
        flags: ['O_WRONLY', 'O_CREAT', 'O_TRUNC'],
        mode: 0o640,
      },
    ]);
  });

  itNarrow('that open files are seen by open with its options and a filter that the kernel evaluates', async () => {
    const open = await startTracker('open', {
      ...ours,
      where: 'open.path.startsWith("/no/")',
      options: { failedOnly: true },
    });
    const { pid } = await load('open', '/no/one', '/etc/hostname', join(scratch, 'abi-three'), '/no/four');
    expect(only(await open.stop(), pid).map((e) => e['path'])).toEqual(['/no/one', '/no/four']);
  });

  itNarrow('that fail to execute a program are seen by exec, with their arguments', async () => {
    const traced = await startTracker('exec', { comms: ['abiload', 'true'] });
    const { pid, stdout } = await load('exec', '/no/program32');
    const events = await traced.stop();
    expect(stdout).toBe('-2');
    expect(events.find((e) => e.process.pid === pid && e['errno'] !== null)).toMatchObject({
      filename: '/no/program32',
      args: ['/no/program32', 'first', 'second'],
      argsTruncated: false,
      errno: 'ENOENT',
    });
    expect(events.find((e) => e['filename'] === '/bin/true' && e.process.ppid === pid)).toMatchObject({
      errno: null,
      args: ['/bin/true', 'first', 'second'],
    });
  });

  itNarrow('of 32-bit programs are seen by open and exec', async () => {
    const open = await startTracker('open', ours);
    const traced = await startTracker('exec', ours);
    const { pid, code } = await run(narrowProgram);
    expect(code).toBe(0);
    expect(only(await open.stop(), pid)).toMatchObject([{ path: '/no/narrow', errno: 'ENOENT' }]);
    expect(only(await traced.stop(), pid)).toMatchObject([
      { executable: narrowProgram, errno: null },
      { filename: '/no/narrow-program', args: ['narrow-arg'], errno: 'ENOENT' },
    ]);
  });

  itNarrow('that connect and accept are seen by tcp, also within socketcall', async () => {
    const tcp = await startTracker('tcp', ours);
    const { pid, stdout } = await load('accept');
    await until('the closes', () => tcp.events.filter((e) => e['tcpOperation'] === 'CLOSE').length >= 4);
    const [port, failed] = stdout.split(' ').map(Number);
    const events = only(await tcp.stop(), pid);
    expect(failed).toBe(-101);
    expect(events.filter((e) => e['tcpOperation'] === 'CONNECT').map((e) => e['remotePort'])).toEqual([port, port]);
    expect(events.filter((e) => e['tcpOperation'] === 'ACCEPT').map((e) => e['localPort'])).toEqual([port, port]);
    expect(events.filter((e) => e['tcpOperation'] === 'CONNECT_FAILED')).toMatchObject([
      { errno: 'ENETUNREACH', remoteAddress: '255.255.255.255', remotePort: port },
    ]);
  });

  itNarrow('go by the names of their own table in syscall', async () => {
    const syscall = await startTracker('syscall', { ...ours, demand: wantsDuration });
    const { pid } = await load('count', '/no/file');
    const events = only(await syscall.stop(), pid);
    const counted = (name: string, abi: string) => events.filter((e) => e['name'] === name && e['abi'] === abi);
    expect(counted('getpid', 'I386')).toHaveLength(50);
    expect(
      counted('getpid', 'I386').every((e) => e['nr'] === 20 && e['ret'] === String(pid) && e['durationNs'] !== null),
    ).toBe(true);
    expect(counted('getpid', 'X86_64')).toHaveLength(3);
    expect(counted('getpid', 'X32')).toMatchObject([{ nr: 39 }]);
    expect(counted('execve', 'X32')).toMatchObject([{ nr: 520 }]);
    expect(counted('open', 'I386')).toMatchObject([{ nr: 5, errno: 'ENOENT', ret: '-2' }]);
    expect(counted('i386_syscall_222', 'I386')).toMatchObject([{ nr: 222, errno: 'ENOSYS' }]);
    expect(counted('getuid32', 'I386')).toMatchObject([{ nr: 199, ret: '0' }]);
    expect(events.filter((e) => e['name'] === 'writev')).toEqual([]);
  });

  itNarrow('are selected by name in all ABIs: by the options, and by a filter in the kernel', async () => {
    const chosen = await startTracker('syscall', { ...ours, options: { only: ['getpid', 'getuid32'] } });
    const without = await startTracker('syscall', { ...ours, options: { except: ['getpid'] } });
    const filtered = await startTracker('syscall', {
      ...ours,
      where: 'syscall.name in ["getpid", "i386_syscall_222"]',
    });
    const { pid } = await load('count', '/no/file');
    const names = (events: readonly Seen[]) => events.map((e) => `${String(e['name'])} ${String(e['abi'])}`).sort();
    const many = (name: string, count: number) => Array.from({ length: count }, () => name);
    const getpids = [...many('getpid I386', 50), 'getpid X32', ...many('getpid X86_64', 3)];
    expect(names(only(await chosen.stop(), pid))).toEqual([...getpids, 'getuid32 I386'].sort());
    expect(names(only(await filtered.stop(), pid))).toEqual([...getpids, 'i386_syscall_222 I386'].sort());
    expect((await filtered.stats()).discarded).toBe(0);
    const rest = names(only(await without.stop(), pid));
    expect(rest.filter((name) => name.startsWith('getpid'))).toEqual([]);
    expect(rest).toContain('open I386');
    expect(rest).toContain('i386_syscall_222 I386');
  });

  itNarrow('are counted apart from 64-bit calls of the same number in syscount', async () => {
    const syscount = await startTracker('syscount', ours);
    const { pid } = await load('count', '/no/file');
    const sums = only(await syscount.stop(), pid);
    const total = (name: string, abi: string) =>
      sums.filter((e) => e['name'] === name && e['abi'] === abi).reduce((sum, e) => sum + Number(e['count']), 0);
    expect(total('getpid', 'I386')).toBe(50);
    expect(total('getpid', 'X86_64')).toBe(3);
    expect(total('getpid', 'X32')).toBe(1);
    expect(total('open', 'I386')).toBe(1);
    expect(sums.filter((e) => e['name'] === 'writev')).toEqual([]);
    expect(sums.find((e) => e['name'] === 'getpid' && e['abi'] === 'I386')).toMatchObject({
      nr: 20,
      durationNs: expect.stringMatching(/^\d+$/) as string,
    });
  });
});

describe.skipIf(process.arch !== 'x64')('a call whose number has bits above the 32 that the kernel reads', () => {
  it('is seen as the call that it is', async () => {
    const open = await startTracker('open', ours);
    const syscall = await startTracker('syscall', { ...ours, options: { only: ['openat', 'getppid'] } });
    const { pid } = await load('high', '/no/high');
    expect(only(await open.stop(), pid).filter((e) => e['path'] === '/no/high')).toMatchObject([{ errno: 'ENOENT' }]);
    expect(only(await syscall.stop(), pid).map((e) => [e['name'], e['nr']])).toEqual([
      ['openat', 257],
      ['getppid', 110],
    ]);
  });
});
