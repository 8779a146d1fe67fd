import { mkdir, readFile, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findCgroupMount } from '../../src/linux/cgroup-mount.js';
import { startTracker, type Seen, type TrackOptions } from '../support/session.js';
import { until } from '../support/until.js';
import { compileC, ended, firstLine, start } from '../support/workload.js';

/**
 * A connection within the program: one end is the stranger's who begins, or the child's, who comes to be the one that is watched; the other
 * end is the stranger's. Each sends and closes.
 */
const source = `
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static int is(const char *what, const char *name) { return !strcmp(what, name); }
static void must(int ok, const char *what) { if (!ok) { perror(what); exit(3); } }
static const char *procs;
/* The name and the cgroup of those who are watched. */
static void watched(void)
{
	int fd = open(procs, O_WRONLY);
	must(fd >= 0 && write(fd, "0", 1) == 1, procs);
	close(fd);
	prctl(PR_SET_NAME, "watched");
}
static void pass(int by, int fd)
{
	char byte = 'f', room[CMSG_SPACE(sizeof(int))] = {};
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	*header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	must(sendmsg(by, &message, 0) == 1, "sendmsg");
}
static int passed(int by)
{
	char byte, room[CMSG_SPACE(sizeof(int))] = {};
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	int fd;
	must(recvmsg(by, &message, 0) == 1, "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}
static void say(int fd) { must(write(fd, "x", 1) == 1, "say"); }
static void hear(int fd) { char byte; must(read(fd, &byte, 1) == 1, "hear"); }
static int connected_to(struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	must(!connect(fd, (void *)to, sizeof(*to)), "connect");
	return fd;
}
/* A listening socket of its own, while the sessions run; the backlog is what it says last. */
static int listening(struct sockaddr_in *to, int backlog)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t size = sizeof(*to);
	to->sin_port = 0;
	must(!bind(fd, (void *)to, size) && !listen(fd, 5) && !listen(fd, backlog) && !getsockname(fd, (void *)to, &size), "listen");
	return fd;
}
/* The end of the one who is watched. */
static const struct linger linger = { 1, 0 };
static void speak(int fd, int resets)
{
	char bytes[100] = {};
	must(send(fd, bytes, 10, 0) == 10, "send");
	must(recv(fd, bytes, 100, MSG_WAITALL) == 100, "recv");
	if (resets) setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}
static void answer(int fd)
{
	char bytes[100] = {};
	must(recv(fd, bytes, 10, MSG_WAITALL) == 10, "recv of the other end");
	must(send(fd, bytes, 100, 0) == 100, "send of the other end");
	while (recv(fd, bytes, 1, 0) > 0);
	close(fd);
}
int main(int argc, char **argv)
{
	const char *how = argv[1];
	int resets = is(argv[2], "reset"), pair[2], listener, fd;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(to);
	procs = argv[3];
	prctl(PR_SET_NAME, "stranger");
	listener = socket(AF_INET, SOCK_STREAM, 0);
	must(!bind(listener, (void *)&to, size) && !listen(listener, 5) && !getsockname(listener, (void *)&to, &size), "listen");
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	pid_t child = fork();
	if (!child) {
		close(pair[0]);
		hear(pair[1]);
		if (is(how, "accepts") || is(how, "queued")) {
			watched();
			say(pair[1]);
			if (is(how, "queued")) close(accept(listener, NULL, NULL));
			fd = accept(listener, NULL, NULL);
		} else if (is(how, "late") || is(how, "short")) {
			watched();
			fd = accept(passed(pair[1]), NULL, NULL);
		} else if (is(how, "becomes")) {
			fd = socket(AF_INET, SOCK_STREAM, 0);
			must(!connect(fd, (void *)&to, size), "connect");
			watched();
			say(pair[1]);
		} else {
			watched();
			if (is(how, "connects")) {
				fd = socket(AF_INET, SOCK_STREAM, 0);
				must(!connect(fd, (void *)&to, size), "connect");
				say(pair[1]);
			} else if (is(how, "made")) {
				fd = passed(pair[1]);
				must(!connect(fd, (void *)&to, size), "connect");
				say(pair[1]);
			} else {
				fd = passed(pair[1]);
			}
		}
		speak(fd, resets);
		return 0;
	}
	close(pair[1]);
	printf("%d\\n", child);
	fflush(stdout);
	hear(0);
	say(pair[0]);
	if (is(how, "accepts") || is(how, "queued")) {
		hear(pair[0]);
		if (is(how, "queued")) { /* it is reset before it is accepted */
			fd = connected_to(&to);
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
			close(fd);
		}
		fd = connected_to(&to);
	} else if (is(how, "late") || is(how, "short")) {
		int own = listening(&to, is(how, "short") ? 0 : 5);
		fd = connected_to(&to);
		pass(pair[0], own);
	} else if (is(how, "reused")) { /* what was accepted connects */
		int client = connected_to(&to), server = accept(listener, NULL, NULL), own = listening(&to, 5);
		must(!connect(server, (void *)&(struct sockaddr){ .sa_family = AF_UNSPEC }, sizeof(struct sockaddr)), "disconnect");
		close(client);
		must(!connect(server, (void *)&to, size), "connect again");
		fd = accept(own, NULL, NULL);
		pass(pair[0], server);
		close(server);
	} else if (is(how, "passed") || is(how, "accepted") || is(how, "read")) {
		int client = connected_to(&to), server = accept(listener, NULL, NULL);
		if (is(how, "read")) { /* by who accepted it */
			say(client);
			hear(server);
		}
		fd = is(how, "passed") ? server : client;
		pass(pair[0], is(how, "passed") ? client : server);
		close(is(how, "passed") ? client : server);
	} else {
		if (is(how, "made")) {
			int made = socket(AF_INET, SOCK_STREAM, 0);
			pass(pair[0], made);
			close(made);
		}
		hear(pair[0]);
		fd = accept(listener, NULL, NULL);
	}
	answer(fd);
	must(waitpid(child, &fd, 0) == child && !fd, "waitpid");
	return 0;
}
`;

let program = '';
let group = { path: '', id: 0 };
beforeAll(async () => {
  program = await compileC('owners', source);
  const mount = findCgroupMount(await readFile('/proc/self/mountinfo', 'utf8'));
  if (!mount) throw new Error('these tests need the cgroup v2 hierarchy');
  const path = join(mount.point, `eunomia-test-${process.pid}-owners`);
  await mkdir(path);
  group = { path, id: (await stat(path)).ino };
});
afterAll(async () => {
  await until('the cgroup is empty', async () => (await readFile(join(group.path, 'cgroup.procs'), 'utf8')) === '');
  await rmdir(group.path);
});

const trackers = ['tcp', 'tcpreset', 'flow'] as const;

const isTotal = (name: string) => /^(count|sends|receives)$|(Bytes|Packets)$/.test(name);

/** What of events does not depend on when, and on which CPU, they were seen. Counts may come in several parts. */
function told(events: readonly Seen[]): readonly string[] {
  const texts: string[] = [];
  const sums = new Map<string, Record<string, number>>();
  for (const event of events) {
    const steady = Object.entries(event).filter(([name]) => !/time$|ns$|^seq$/i.test(name));
    const total = (name: string) => event.tracker === 'flow' && isTotal(name);
    const text = JSON.stringify(steady.filter(([name]) => !total(name)));
    if (event.tracker !== 'flow') texts.push(text);
    else
      sums.set(
        text,
        Object.fromEntries(
          steady
            .filter(([name]) => total(name))
            .map(([name, value]) => [name, (sums.get(text)?.[name] ?? 0) + Number(value)]),
        ),
      );
  }
  return [...texts, ...[...sums].map(([text, sum]) => `${text} ${JSON.stringify(sum)}`)].sort();
}

const whose = {
  pid: {
    target: (pid: number): TrackOptions => ({ pids: [pid], descendants: false }),
    holds: (event: Seen, pid: number) => event.process.pid === pid,
  },
  comm: {
    target: (): TrackOptions => ({ comms: ['watched'] }),
    holds: (event: Seen) => event.process.comm === 'watched',
  },
  cgroup: {
    target: (): TrackOptions => ({ cgroups: [group.id] }),
    holds: (event: Seen) => event.cgroupId === String(group.id),
  },
} as const;

it.each(
  ['accepts', 'queued', 'late', 'short', 'reused', 'read', 'accepted', 'connects', 'becomes', 'made', 'passed'].flatMap(
    (how) => [[how, 'closed'] as const, [how, 'reset'] as const],
  ),
)('a target has of its processes what a session without one has: %s, %s', async (how, end) => {
  const child = start(program, [how, end, join(group.path, 'cgroup.procs')]);
  const over = ended(child);
  const pid = Number(await firstLine(child));
  const [all, targeted] = await Promise.all([
    Promise.all(trackers.map((name) => startTracker(name))),
    Promise.all(
      Object.entries(whose).map(async ([by, { target, holds }]) => ({
        by,
        holds,
        sessions: await Promise.all(trackers.map((name) => startTracker(name, target(pid)))),
      })),
    ),
  ]);
  child.stdin?.end('x');
  expect((await over).code).toBe(0);
  const seen = await Promise.all(all.map((one) => one.stop()));
  for (const { by, holds, sessions } of targeted)
    for (const [i, session] of sessions.entries()) {
      const own = (seen[i] ?? []).filter((event) => holds(event, pid));
      expect([by, trackers[i], ...told(await session.stop())]).toEqual([by, trackers[i], ...told(own)]);
    }
  expect(seen[2]?.filter((event) => event.process.pid === pid)).not.toEqual([]);
});
