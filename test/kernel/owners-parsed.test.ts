import { expect, it } from 'vitest';
import { startTracker } from '../support/session.js';
import { compileC, ended, firstLine, start } from '../support/workload.js';

const source = `
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void must(int ok, const char *what) { if (!ok) { perror(what); exit(3); } }
static long bpf(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof(*attr)); }
static void attach(int map, int type, struct bpf_insn *code)
{
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_SK_SKB, .insn_cnt = 2 }, at = { .target_fd = map, .attach_type = type };
	load.insns = (unsigned long)code;
	load.license = (unsigned long)"GPL";
	load.expected_attach_type = type;
	at.attach_bpf_fd = bpf(BPF_PROG_LOAD, &load);
	must((int)at.attach_bpf_fd >= 0, "load");
	must(!bpf(BPF_PROG_ATTACH, &at), "attach");
}
/* From now on the kernel reads from the socket by itself, in softirqs, which over loopback come upon the client. */
static void parse(int fd)
{
	union bpf_attr make = { .map_type = BPF_MAP_TYPE_SOCKMAP, .key_size = 4, .value_size = 4, .max_entries = 1 }, put = {};
	struct bpf_insn length[] = { { .code = 0x61, .dst_reg = 0, .src_reg = 1 }, { .code = 0x95 } };
	struct bpf_insn pass[] = { { .code = 0xb7, .dst_reg = 0, .imm = 1 }, { .code = 0x95 } };
	int map = bpf(BPF_MAP_CREATE, &make), key = 0;
	must(map >= 0, "map");
	attach(map, BPF_SK_SKB_STREAM_PARSER, length);
	attach(map, BPF_SK_SKB_STREAM_VERDICT, pass);
	put.map_fd = map;
	put.key = (unsigned long)&key;
	put.value = (unsigned long)&fd;
	must(!bpf(BPF_MAP_UPDATE_ELEM, &put), "update");
}
int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 0 };
	socklen_t size = sizeof(to);
	int listener, fd, pair[2];
	char byte;
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "pair");
	printf("%d\\n", getpid()); fflush(stdout);
	must(read(0, &byte, 1) == 1, "go");
	listener = socket(AF_INET, SOCK_STREAM, 0);
	must(!bind(listener, (void *)&to, size) && !listen(listener, 5) && !getsockname(listener, (void *)&to, &size), "listen");
	if (!fork()) {
		prctl(PR_SET_NAME, "client");
		fd = socket(AF_INET, SOCK_STREAM, 0);
		must(!connect(fd, (void *)&to, size), "connect");
		must(send(fd, "x", 1, 0) == 1, "send");
		must(read(pair[1], &byte, 1) == 1, "hear");
		for (int i = 0; i < 5; i++) { must(send(fd, "yyyyyyyyyy", 10, 0) == 10, "send more"); usleep(2000); }
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(fd);
		_exit(0);
	}
	prctl(PR_SET_NAME, "server");
	fd = accept(listener, NULL, NULL);
	must(read(fd, &byte, 1) == 1, "recv"); /* the server's from now on */
	if (argc > 1) parse(fd);
	must(write(pair[0], "x", 1) == 1, "say");
	wait(NULL);
	usleep(50000);
	return 0;
}
`;

it.each([[[]], [['parse']]])(
  "a connection is the process's that received from it, also where the kernel reads by itself: %s",
  async (args) => {
    const program = await compileC('parsed', source);
    const child = start(program, args);
    const over = ended(child);
    const pid = Number(await firstLine(child));
    const sessions = [
      await startTracker('tcpreset', { pids: [pid], descendants: false }),
      await startTracker('tcpreset', { comms: ['server', 'client'] }),
    ];
    child.stdin?.end('x');
    expect((await over).code).toBe(0);
    const told = await Promise.all(
      sessions.map(async (session) =>
        (await session.stop()).map(({ direction, process: { comm } }) => [direction, comm]).sort(),
      ),
    );
    expect(told).toEqual([
      [['RECEIVED', 'server']],
      [
        ['RECEIVED', 'server'],
        ['SENT', 'client'],
      ],
    ]);
  },
);
