/**
 * Prints "PID SENDS BYTES RECEIVES BYTES" of each of its processes. tcp HOST BYTES: a child sends so many, in writes of 5,000, and gets
 * 1,000 back; its line goes on with the segments that the kernel has sent and received (TCP_INFO). udp HOST HOW COUNT: a child sends
 * datagrams of 100 bytes, each of which gets 10 back; HOW is connected, unconnected or blind (which asks for no address). Both first print
 * the port, and begin when something comes on standard input. scatter COUNT: sends a byte to so many addresses of loopback. again PORT
 * COUNT: sends so many to one, and uring PORT COUNT through io_uring; until one fails.
 */
export const flowSource = `
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uring.h"
enum { TCP_CLOSE = 7 };
static long sends, sent, receives, received;
static char data[65536];
static struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
static struct sockaddr_in a4 = { .sin_family = AF_INET };
static struct sockaddr *a;
static socklen_t size;
static int family;
static long did(long n, long *times, long *bytes) { if (n < 0) { perror("flow"); exit(9); } ++*times; *bytes += n; return n; }
static void say(int fd)
{
	struct tcp_info info = {};
	socklen_t length = sizeof(info);
	printf("%d %ld %ld %ld %ld", getpid(), sends, sent, receives, received);
	if (fd >= 0 && !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length))
		printf(" %u %u %llu", info.tcpi_segs_out, info.tcpi_segs_in, info.tcpi_bytes_retrans);
	printf("\\n"); fflush(stdout);
}
static void to(const char *host)
{
	family = strchr(host, ':') ? AF_INET6 : AF_INET;
	a = family == AF_INET6 ? (void *)&a6 : (void *)&a4;
	size = family == AF_INET6 ? sizeof(a6) : sizeof(a4);
	inet_pton(family, host, family == AF_INET6 ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr);
}
static void ready(int fd)
{
	char byte;
	getsockname(fd, a, &size);
	printf("%d\\n", ntohs(family == AF_INET6 ? a6.sin6_port : a4.sin_port)); fflush(stdout);
	if (read(0, &byte, 1) != 1) exit(3);
}
static void tcp(long bytes)
{
	int l = socket(family, SOCK_STREAM, 0), fd, gone[2];
	char byte;
	if (bind(l, a, size) || listen(l, 1) || pipe(gone)) exit(2);
	ready(l);
	if (!fork()) {
		fd = socket(family, SOCK_STREAM, 0);
		if (connect(fd, a, size)) exit(4);
		while (sent < bytes) did(write(fd, data, bytes - sent < 5000 ? bytes - sent : 5000), &sends, &sent);
		shutdown(fd, SHUT_WR);
		while (did(read(fd, data, sizeof(data)), &receives, &received)) ;
		close(gone[1]);
		if (read(gone[0], &byte, 1)) exit(5); /* until the other one is closed */
		say(fd);
		exit(0);
	}
	close(gone[1]);
	fd = accept(l, NULL, NULL);
	while (did(recv(fd, data, sizeof(data), 0), &receives, &received)) ;
	did(send(fd, data, 1000, 0), &sends, &sent);
	shutdown(fd, SHUT_WR);
	while (1) {
		struct tcp_info info;
		socklen_t length = sizeof(info);
		getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
		if (info.tcpi_state == TCP_CLOSE) break;
		usleep(1000);
	}
	close(fd);
	close(gone[0]);
	wait(NULL);
	say(-1);
}
static void udp(const char *how, int count)
{
	int fd = socket(family, SOCK_DGRAM, 0), connected = !strcmp(how, "connected"), blind = !strcmp(how, "blind");
	struct sockaddr_in6 from;
	socklen_t length;
	/* A port that it chooses itself: the kernel finds one that is free. */
	if (bind(fd, a, size) || getsockname(fd, a, &size) || close(fd)) exit(2);
	fd = socket(family, SOCK_DGRAM, 0);
	if (bind(fd, a, size)) exit(2);
	ready(fd);
	if (!fork()) {
		fd = socket(family, SOCK_DGRAM, 0);
		if (connected && connect(fd, a, size)) exit(4);
		for (int i = 0; i < count; i++) {
			did(connected ? send(fd, data, 100, 0) : sendto(fd, data, 100, 0, a, size), &sends, &sent);
			length = sizeof(from);
			did(connected || blind ? recv(fd, data, 1000, 0) : recvfrom(fd, data, 1000, 0, (void *)&from, &length),
			    &receives, &received);
		}
		say(-1);
		exit(0);
	}
	for (int i = 0; i < count; i++) {
		length = sizeof(from);
		did(recvfrom(fd, data, 1000, 0, (void *)&from, &length), &receives, &received);
		did(sendto(fd, data, 10, 0, (void *)&from, length), &sends, &sent);
	}
	wait(NULL);
	say(-1);
}
int main(int argc, char **argv)
{
	if (!strcmp(argv[1], "uring")) {
		struct iovec piece = { data, 7 };
		struct msghdr m = { .msg_name = &a4, .msg_namelen = sizeof(a4), .msg_iov = &piece, .msg_iovlen = 1 };
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		a4.sin_port = htons(atoi(argv[2]));
		a4.sin_addr.s_addr = htonl(0x7f000001);
		if (set_up(8, 0)) return 8;
		for (int i = atoi(argv[3]); i > 0; i--)
			did(go((struct io_uring_sqe){ .opcode = IORING_OP_SENDMSG, .fd = fd, .addr = (long)&m, .len = 1 }), &sends, &sent);
		say(-1);
		return 0;
	}
	if (!strcmp(argv[1], "scatter") || !strcmp(argv[1], "again")) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0), scatters = !strcmp(argv[1], "scatter"), count = atoi(argv[scatters ? 2 : 3]);
		a4.sin_port = htons(scatters ? 9 : atoi(argv[2]));
		for (int i = 0; i < count; i++) {
			a4.sin_addr.s_addr = htonl(0x7f000001 + (scatters ? i : 0));
			did(sendto(fd, data, 1, 0, (void *)&a4, sizeof(a4)), &sends, &sent);
		}
		say(-1);
		return 0;
	}
	to(argv[2]);
	if (!strcmp(argv[1], "tcp")) tcp(atol(argv[3])); else udp(argv[3], atoi(argv[4]));
	return 0;
}
`;

/** Sends, by raw sockets over loopback, what says to be of IP version 9, over IPv6 and over IPv4, and then an IPv4 packet of zeros. */
export const rawSource = `
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
int main(void)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s6 = socket(AF_INET6, SOCK_RAW, IPPROTO_RAW), s4 = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), yes = 1;
	char packet[64] = { 0x95 };
	if (setsockopt(s6, IPPROTO_IPV6, 36 /* IPV6_HDRINCL */, &yes, sizeof(yes))) return 1;
	if (sendto(s6, packet, 50, 0, (void *)&a6, sizeof(a6)) != 50) return 2;
	if (sendto(s4, packet, 55, 0, (void *)&a4, sizeof(a4)) != 55) return 3;
	packet[0] = 0x45;
	return sendto(s6, packet, 60, 0, (void *)&a6, sizeof(a6)) != 60;
}
`;
