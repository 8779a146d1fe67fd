/**
 * serve HOW TYPE NAME: prints "ready", accepts a connection, prints whose it is (SO_PEERCRED), and reads to its end.
 * connect HOW TYPE NAME: prints what connect returns, and whose the other end is; 0 if the kernel does not know.
 * crowd COUNT NAME: so many children connect at once; prints whose each connection is.
 * fail COUNT: connects so often to what is not there. HOW is "call", "uring", "multishot" or "narrow". A NAME with "@" is abstract, and has
 * NUL for each "/", and 0xff for each "!"; one with "+" too, and is as long as the array.
 */
export const unixSource = `
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "narrow.h"
#include "uring.h"
static struct sockaddr_un *a;
static socklen_t size;
static void name(const char *text)
{
	a = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	a->sun_family = AF_UNIX;
	strcpy(a->sun_path, text);
	size = sizeof(a->sun_family) + strlen(text);
	if (*text == '+') size = sizeof(*a);
	if (*text != '@' && *text != '+') return;
	a->sun_path[0] = 0;
	for (char *c = a->sun_path; c < a->sun_path + strlen(text); c++) *c = *c == '/' ? 0 : *c == '!' ? 0xff : *c;
}
static int peer_of(int fd)
{
	struct ucred peer = {};
	socklen_t length = sizeof(peer);
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
	return peer.pid;
}
static int doing(const char *how, int call, int fd)
{
	unsigned *words = (void *)(0x10000000 + 1024);
	if (!strcmp(how, "call")) return call == 3 ? connect(fd, (void *)a, size) : accept(fd, NULL, NULL);
	if (!strcmp(how, "narrow")) {
		long result;
		words[0] = fd; words[1] = call == 3 ? (unsigned)(long)a : 0; words[2] = call == 3 ? size : 0;
		result = old(102, call, (unsigned)(long)words, 0, 0); /* socketcall */
		errno = -result;
		return result < 0 ? -1 : result;
	}
	if (set_up(8, 0)) exit(3);
	return call == 3 ? go((struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .fd = fd, .addr = (long)a, .off = size })
			 : go((struct io_uring_sqe){ .opcode = IORING_OP_ACCEPT, .fd = fd,
						     .ioprio = strcmp(how, "multishot") ? 0 : IORING_ACCEPT_MULTISHOT });
}
int main(int argc, char **argv)
{
	int fd, result;
	char byte;
	if (!strcmp(argv[1], "fail")) {
		name("/no/socket");
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		for (int i = atoi(argv[2]); i > 0; i--) connect(fd, (void *)a, size);
		return 0;
	}
	if (!strcmp(argv[1], "crowd")) {
		int count = atoi(argv[2]), *fds = calloc(count, sizeof(int)), listener;
		name(argv[3]);
		listener = socket(AF_UNIX, SOCK_STREAM, 0);
		if (bind(listener, (void *)a, size) || listen(listener, count)) return 4;
		for (int i = 0; i < count; i++)
			if (!fork()) {
				fd = socket(AF_UNIX, SOCK_STREAM, 0);
				close(listener);
				if (connect(fd, (void *)a, size)) _exit(5);
				while (read(fd, &byte, 1) > 0) ;
				_exit(0);
			}
		for (int i = 0; i < count; i++) fds[i] = accept(listener, NULL, NULL);
		for (int i = 0; i < count; i++) printf("%d\\n", peer_of(fds[i]));
		for (int i = 0; i < count; i++) close(fds[i]);
		for (int i = 0; i < count; i++) if (wait(&result) < 0 || result) return 6;
		return 0;
	}
	name(argv[4]);
	fd = socket(AF_UNIX, atoi(argv[3]), 0);
	if (!strcmp(argv[1], "serve")) {
		if (bind(fd, (void *)a, size)) return 4;
		if (atoi(argv[3]) != SOCK_DGRAM && listen(fd, 8)) return 5;
		printf("ready\\n"); fflush(stdout);
		result = atoi(argv[3]) == SOCK_DGRAM ? fd : doing(argv[2], 5, fd);
		if (result < 0) return 6;
		while (read(result, &byte, 1) > 0 && byte != 'q') ;
		printf("%d\\n", peer_of(result));
		return 0;
	}
	result = doing(argv[2], 3, fd);
	printf("%d %d\\n", result < 0 ? -errno : 0, result < 0 ? 0 : peer_of(fd));
	if (result < 0) return 0;
	if (write(fd, "q", 1) != 1) return 7;
	if (atoi(argv[3]) != SOCK_DGRAM) while (read(fd, &byte, 1) > 0) ; /* until the other one has accepted, and ends */
	return 0;
}
`;
