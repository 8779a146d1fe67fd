// SPDX-License-Identifier: Apache-2.0
/*
 * Readers that are as fast as a reader can be: each is a WebSocket that subscribes by graphql-transport-ws and throws away what comes.
 *
 *   drain PORT READERS QUERY SESSION
 *
 * QUERY and SESSION stand in JSON as they are. It says "0" when all have subscribed. On each line of standard input it
 * answers the bytes so far; after the end of standard input it ends. A server that closes the connections ends nothing:
 * it may be what is measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READERS_MAX 256

static char bytes[1 << 20];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void send_all(int connection, const char *from, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(connection, from, length, MSG_NOSIGNAL);

		if (sent < 0)
			fail("send");
		from += sent;
		length -= sent;
	}
}

/* A client masks what it sends; a mask of zeros leaves it as it is. */
static void send_text(int connection, const char *text)
{
	size_t length = strlen(text);
	char head[8] = { (char)0x81, (char)(0x80 | 126), (char)(length >> 8), (char)length };

	send_all(connection, head, sizeof(head));
	send_all(connection, text, length);
}

static void receive_some(int connection)
{
	if (recv(connection, bytes, sizeof(bytes), 0) <= 0)
		fail("the server has closed the connection");
}

static int open_reader(uint16_t port, const char *query, const char *session)
{
	static const char request[] =
		"GET /graphql HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: "
		"graphql-transport-ws\r\n\r\n";
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int connection = socket(AF_INET, SOCK_STREAM, 0);
	static char subscribe[8192];

	if (connection < 0 || connect(connection, (void *)&address, sizeof(address)))
		fail("connect");
	send_all(connection, request, sizeof(request) - 1);
	receive_some(connection);
	send_text(connection, "{\"type\":\"connection_init\"}");
	receive_some(connection); /* connection_ack */
	snprintf(subscribe, sizeof(subscribe),
		 "{\"id\":\"1\",\"type\":\"subscribe\",\"payload\":{\"query\":\"%s\",\"variables\":{\"session\":\"%s\"}"
		 "}}",
		 query, session);
	send_text(connection, subscribe);
	return connection;
}

int main(int argc, char **argv)
{
	static struct pollfd files[READERS_MAX + 1];
	int readers = argc == 5 ? atoi(argv[2]) : 0;
	uint64_t total = 0;

	if (readers < 1 || readers > READERS_MAX) {
		fputs("drain PORT READERS QUERY SESSION\n", stderr);
		return 2;
	}
	files[0].events = POLLIN;
	for (int i = 1; i <= readers; i++)
		files[i] = (struct pollfd){ .fd = open_reader(atoi(argv[1]), argv[3], argv[4]), .events = POLLIN };
	puts("0");
	fflush(stdout);
	for (;;) {
		if (poll(files, readers + 1, -1) < 0)
			fail("poll");
		for (int i = 1; i <= readers; i++) {
			ssize_t got;

			if (!files[i].revents)
				continue;
			got = recv(files[i].fd, bytes, sizeof(bytes), MSG_DONTWAIT);
			if (got > 0)
				total += got;
			else
				files[i].fd = -1;
		}
		if (files[0].revents) {
			char command[64];

			if (read(STDIN_FILENO, command, sizeof(command)) <= 0)
				return 0;
			printf("%llu\n", (unsigned long long)total);
			fflush(stdout);
		}
	}
}
