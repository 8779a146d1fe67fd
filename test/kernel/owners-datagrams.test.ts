import { expect, it } from 'vitest';
import { startTracker } from '../support/session.js';
import { compileC, ended, firstLine, start } from '../support/workload.js';

/** Talks with itself by a socket, and becomes another user, or gets another name, after the first datagram of two sockets. */
const source = `
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
static void must(int ok, const char *what) { if (!ok) { perror(what); exit(3); } }
static struct sockaddr_in at = { .sin_family = AF_INET };
static int made(void)
{
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = 0;
	must(!bind(fd, (void *)&at, size) && !getsockname(fd, (void *)&at, &size), "bind");
	return fd;
}
static void talk(int fd)
{
	char byte;
	must(sendto(fd, "x", 1, 0, (void *)&at, sizeof(at)) == 1, "send");
	must(recv(fd, &byte, 1, 0) == 1, "recv");
}
int main(int argc, char **argv)
{
	char byte;
	int before = made(), fd;
	talk(before);
	printf("%d\\n", getpid()); fflush(stdout);
	must(read(0, &byte, 1) == 1, "go");
	fd = !strcmp(argv[1], "before") ? before : made();
	if (fd == before) { socklen_t size = sizeof(at); getsockname(fd, (void *)&at, &size); }
	talk(fd);
	if (argc > 2) prctl(PR_SET_NAME, "renamed");
	else must(!setresgid(54321, 54321, 54321) && !setresuid(54321, 54321, 54321), "setuid");
	for (int i = 0; i < 3; i++) talk(fd);
	return 0;
}
`;

it.each([
  ['before', 'uid'],
  ['after', 'uid'],
  ['before', 'comm'],
  ['after', 'comm'],
])(
  'packets of a socket are those of its process as it is now: made %s the session, a change of its %s',
  async (when, by) => {
    const program = await compileC('becomes', source);
    const child = start(program, by === 'uid' ? [when] : [when, 'renames']);
    const over = ended(child);
    await firstLine(child);
    const target = by === 'uid' ? { uids: [54321] } : { comms: ['renamed'] };
    const [udp, packet, flow, all] = await Promise.all([
      startTracker('udp', target),
      startTracker('packet', target),
      startTracker('flow', target),
      startTracker('packet'),
    ]);
    child.stdin?.end('x');
    expect((await over).code).toBe(0);
    const totals = await flow.stop();
    const sum = (field: string) => totals.reduce((total, event) => total + Number(event[field]), 0);
    expect(await udp.stop()).toHaveLength(6);
    // The first datagram is on its way before its call ends, by which the socket becomes another one's.
    expect(await packet.stop()).toHaveLength(4);
    expect([sum('sends'), sum('wireSentPackets')]).toEqual([3, 2]);
    const told = (await all.stop())
      .map(({ process }) => (by === 'uid' ? String(process.uid) : process.comm))
      .filter((one) => one === (by === 'uid' ? '54321' : 'renamed'));
    expect(told).toHaveLength(4);
  },
);
