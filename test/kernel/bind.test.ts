import { execFile } from 'node:child_process';
import { readlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectExactLoss } from '../support/loss.js';
import { startTracker, type Seen } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, firstLine, run, start } from '../support/workload.js';
import { itNarrow } from '../support/narrow.js';

const exec = promisify(execFile);

/** Prints each call's result, or -errno, and then the port that getsockname says. */
const source = `
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "narrow.h"
#include "uring.h"
#define DO(call) ({ long r_ = call; printf("%ld ", r_ < 0 ? (long)-errno : r_); r_; })
static struct sockaddr_in v4(const char *address, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, address, &a.sin_addr);
	return a;
}
static struct sockaddr_in6 v6(const char *address, int port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	inet_pton(AF_INET6, address, &a.sin6_addr);
	return a;
}
static int port_of(int fd) { struct sockaddr_in6 a; socklen_t l = sizeof(a); getsockname(fd, (void *)&a, &l); return ntohs(a.sin6_port); }
static int is(const char *a, const char *b) { return !strcmp(a, b); }

int main(int argc, char **argv)
{
	const char *what = argv[1];
	struct sockaddr_in a = v4("127.0.0.1", 0);
	struct sockaddr_in6 b = v6("::1", 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET6, SOCK_DGRAM, 0), third = socket(AF_INET, SOCK_STREAM, 0);

	if (is(what, "plain")) {
		struct sockaddr_un u = { .sun_family = AF_UNIX };
		struct sockaddr_in c;
		int unix_fd = socket(AF_UNIX, SOCK_STREAM, 0);
		DO(bind(fd, (void *)&a, sizeof(a))); DO(listen(fd, 100000)); DO(listen(fd, 5));
		DO(bind(other, (void *)&b, sizeof(b)));
		c = v4("127.0.0.1", port_of(fd)); DO(bind(third, (void *)&c, sizeof(c)));
		c = v4("192.0.2.1", 77); DO(bind(third, (void *)&c, sizeof(c)));
		DO(bind(third, (void *)8, sizeof(c))); DO(listen(other, 1));
		DO(listen(third, 3));
		bind(unix_fd, (void *)&u, 2); bind(999, (void *)&a, sizeof(a)); listen(unix_fd, 1);
		printf("\\n%d %d %d\\n", port_of(fd), port_of(other), port_of(third));
	} else if (is(what, "uring")) {
		if (set_up(8, 0)) return 3;
		DO(go((struct io_uring_sqe){ .opcode = 56, .fd = fd, .addr = (unsigned long)&a, .addr2 = sizeof(a) }));
		DO(go((struct io_uring_sqe){ .opcode = 57, .fd = fd, .len = 9 }));
		DO(go((struct io_uring_sqe){ .opcode = 56, .fd = fd, .addr = (unsigned long)&a, .addr2 = sizeof(a) }));
		printf("\\n%d\\n", port_of(fd));
	} else if (is(what, "renamed")) { /* a request that ends without a completion, and then another one in its place, by somebody else */
		struct io_uring_sqe e = { .opcode = 56, .fd = fd, .addr = (unsigned long)&a, .addr2 = sizeof(a) };
		if (set_up(8, 0)) return 3;
		DO(go(e)); e.fd = third; DO(go_silently(e));
		prctl(PR_SET_NAME, "others");
		e.fd = socket(AF_INET, SOCK_STREAM, 0); e.flags = 0; DO(go(e));
		printf("\\n%d %d\\n", port_of(fd), port_of(third));
#ifdef __x86_64__
	} else if (is(what, "compat")) {
		char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		unsigned *words = (unsigned *)(low + 1024);
		memcpy(low, &a, sizeof(a));
		words[0] = fd; words[1] = (unsigned long)low; words[2] = sizeof(a);
		DO(old(102, 2, (long)words)); words[1] = 7; DO(old(102, 4, (long)words)); DO(old(363, fd, 6));
		printf("\\n%d\\n", port_of(fd));
#endif
	} else if (is(what, "serve")) { /* listens on several, until its input ends */
		struct sockaddr_in6 all = v6("::", 0);
		int six = socket(AF_INET6, SOCK_STREAM, 0), mp = socket(AF_INET, SOCK_STREAM, 262);
		bind(fd, (void *)&a, sizeof(a)); listen(fd, 17);
		bind(six, (void *)&all, sizeof(all)); listen(six, 18);
		if (mp >= 0) { bind(mp, (void *)&a, sizeof(a)); listen(mp, 19); }
		listen(third, 20);
		puts("ready"); fflush(stdout);
		getchar();
	} else if (is(what, "burst")) { /* COUNT PROCESSES */
		for (int i = 0; i < atoi(argv[3]); i++)
			if (!fork()) { for (int n = 0; n < atoi(argv[2]); n++) bind(third, (void *)8, 16); _exit(0); }
		while (wait(NULL) > 0);
	}
	return 0;
}
`;

let program = '';
beforeAll(async () => {
  program = await compileC('binds', source);
});

const mine = { pids: [process.pid] };

async function work(...args: readonly (string | number)[]) {
  const { pid, stdout } = await run(program, args.map(String));
  const [results = '', ports = ''] = stdout.split('\n');
  return { pid, results: results.trim().split(' ').map(Number), ports: ports.split(' ').map(Number) };
}
const by = (pid: number) => (e: Seen) => e.process.pid === pid;

async function eventsOf(tracked: Awaited<ReturnType<typeof startTracker>>, pid: number, count: number) {
  await until('all are here', () => tracked.events.filter(by(pid)).length >= count);
  return (await tracked.stop()).filter(by(pid));
}

describe('the tracker bind', () => {
  it('reports address, real port, backlog, protocol and result of each bind and listen', async () => {
    const bind = await startTracker('bind', mine);
    const { pid, results, ports } = await work('plain');
    expect(results).toEqual([0, 0, 0, 0, -98, -99, -14, -95, 0]);
    const [one = 0, udp = 0, chosen = 0] = ports;
    const events = await eventsOf(bind, pid, 9);
    const netNs = /\d+/.exec(await readlink('/proc/self/ns/net'))?.[0];
    const somaxconn = Number((await exec('cat', ['/proc/sys/net/core/somaxconn'])).stdout);
    const tcp = { ipVersion: 4, protocol: 'TCP', socketType: 'SOCK_STREAM', netNs };
    const bound = { bindOperation: 'BIND', requestedBacklog: null, backlog: null };
    const listens = { bindOperation: 'LISTEN', requestedPort: null };
    for (const [i, expected] of [
      { ...tcp, ...bound, errno: null, localAddress: '127.0.0.1', localPort: one, requestedPort: 0 },
      { ...tcp, ...listens, localAddress: '127.0.0.1', localPort: one, requestedBacklog: 100000, backlog: somaxconn },
      { ...tcp, ...listens, localAddress: '127.0.0.1', localPort: one, requestedBacklog: 5, backlog: 5 },
      { ...bound, ipVersion: 6, protocol: 'UDP', socketType: 'SOCK_DGRAM', localAddress: '::1', localPort: udp },
      { ...tcp, ...bound, errno: 'EADDRINUSE', localAddress: '127.0.0.1', localPort: one, requestedPort: one },
      { ...tcp, ...bound, errno: 'EADDRNOTAVAIL', localAddress: '192.0.2.1', localPort: 77, requestedPort: 77 },
      { ...tcp, ...bound, errno: 'EFAULT', localAddress: null, localPort: null, requestedPort: null },
      { ...listens, protocol: 'UDP', errno: 'EOPNOTSUPP', localPort: udp, requestedBacklog: 1, backlog: null },
      { ...tcp, ...listens, errno: null, localAddress: '0.0.0.0', localPort: chosen, backlog: 3 },
    ].entries())
      expect([i, events[i]]).toMatchObject([i, expected]);
    expect(events).toHaveLength(9); // neither AF_UNIX nor a descriptor that is none
  });

  it('reports what io_uring binds', async (context) => {
    const bind = await startTracker('bind', mine);
    const { pid, results, ports } = await work('uring');
    context.skip(results[0] === -22, 'io_uring binds since Linux 6.11');
    expect(results).toEqual([0, 0, -22]);
    const events = await eventsOf(bind, pid, 3);
    for (const [i, expected] of [
      { bindOperation: 'BIND', localAddress: '127.0.0.1', localPort: ports[0], requestedPort: null, errno: null },
      { bindOperation: 'LISTEN', localPort: ports[0], requestedBacklog: 9, backlog: 9 },
      { bindOperation: 'BIND', errno: 'EINVAL', localAddress: null, localPort: null, requestedPort: null },
    ].entries())
      expect([i, events[i]]).toMatchObject([i, expected]);
  });

  it('does not take a request of others for one whose end was not reported', async (context) => {
    const bind = await startTracker('bind', { comms: ['binds'] });
    const { pid, results, ports } = await work('renamed');
    context.skip(results[0] === -22, 'io_uring binds since Linux 6.11');
    expect(results).toEqual([0, 0, 0]);
    expect(ports[1]).toBeGreaterThan(0);
    expect((await bind.stop()).filter(by(pid)).map((e) => [e['localPort'], e.process.comm])).toEqual([
      [ports[0], 'binds'],
      [null, 'binds'],
    ]);
  });

  itNarrow('reports 32-bit calls, through socketcall too', async () => {
    const bind = await startTracker('bind', mine);
    const { pid, results, ports } = await work('compat');
    expect(results).toEqual([0, 0, 0]);
    const events = await eventsOf(bind, pid, 3);
    for (const [i, expected] of [
      { bindOperation: 'BIND', localAddress: '127.0.0.1', localPort: ports[0], requestedPort: 0 },
      { bindOperation: 'LISTEN', localPort: ports[0], backlog: 7 },
      { bindOperation: 'LISTEN', localPort: ports[0], backlog: 6 },
    ].entries())
      expect([i, events[i]]).toMatchObject([i, expected]);
  });

  it('is selected by failure and filtered by operation, port and address in the kernel', async () => {
    for (const [options, where, count] of [
      [{ failedOnly: true }, undefined, 4],
      [{}, 'bindOperation == "LISTEN"', 4],
      [{}, 'localPort == 77', 1],
      [{}, 'localAddress == "192.0.2.1"', 1],
      [{}, 'errno == "EFAULT" && localAddress == null', 1],
    ] as const) {
      const bind = await startTracker('bind', { ...mine, options, ...(where === undefined ? {} : { where }) });
      await work('plain');
      await bind.stop();
      const { produced, discarded } = await bind.stats();
      expect([options, where, produced, discarded]).toEqual([options, where, count, 0]);
    }
  });

  it('counts each call that a small ring loses: produced = lost + received', async () => {
    const [each, processes] = [40_000, 3];
    await expectExactLoss('bind', mine, each * processes, () => work('burst', each, processes));
  });
});

describe('the same sockets, seen by ss', () => {
  it('listen on the same addresses and ports, with the same backlog', async () => {
    const bind = await startTracker('bind', mine);
    const child = start(program, ['serve']);
    expect(await firstLine(child)).toBe('ready');
    const pid = child.pid ?? 0;
    // "LISTEN 0 17 127.0.0.1:34567 0.0.0.0:* users:…"; "*" is all addresses of both families.
    const { stdout } = await exec('ss', ['-Htlnp']);
    const theirs = stdout.split('\n').flatMap((line) => {
      if (!line.includes(`pid=${pid},`)) return [];
      const [, , backlog = '', local = ''] = line.trim().split(/\s+/);
      return [`${local.replace(/^\*:/, '[::]:')} ${backlog}`];
    });
    child.stdin?.end();
    const ours = (await bind.stop())
      .filter((e) => e.process.pid === pid && e['bindOperation'] === 'LISTEN')
      .map((e) => {
        const address = String(e['localAddress']);
        return `${address.includes(':') ? `[${address}]` : address}:${String(e['localPort'])} ${String(e['backlog'])}`;
      });
    expect(theirs.length).toBeGreaterThanOrEqual(3);
    expect([...ours].sort()).toEqual([...theirs].sort());
  });
});
