// SPDX-License-Identifier: Apache-2.0
/*
 * A WebSocket client that a C programmer would write: it subscribes to a session by graphql-transport-ws, takes each message
 * apart as JSON of the selected shape, and looks at every event's values. So a rate is not bounded by what a client's language
 * makes of it (bench/client.ts makes objects). Whatever is not as selected ends it with a message.
 *
 *   listener PORT SESSION PID COMM PATH
 *
 * It says "0" when it has subscribed. On each line of standard input it answers the events so far, and when the last came, in
 * microseconds of the wall clock. The end of standard input ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SELECTION "events { process { pid comm } time ... on OpenEvent { path fd } } gap { lost dropped }"

#define TIME_LENGTH (sizeof("2026-01-01T00:00:00.000000000Z") - 1)

enum opcode { CONTINUATION = 0, TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

static int connection;
static char *message;
static size_t room;
static uint64_t events, last_us;
static char newest[TIME_LENGTH]; /* event's time */
static struct {
	uint64_t pid;
	const char *comm, *path;
} expected;

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	exit(1);
}

/* ---- WebSocket (RFC 6455) ---- */

static void send_all(const void *bytes, size_t length)
{
	for (const char *at = bytes; length > 0;) {
		ssize_t sent = send(connection, at, length, MSG_NOSIGNAL);

		if (sent < 0)
			fail("send: %m");
		at += sent;
		length -= sent;
	}
}

static void receive(void *bytes, size_t length)
{
	if (length > 0 && recv(connection, bytes, length, MSG_WAITALL) != (ssize_t)length)
		fail("the server has closed the connection");
}

/* A client masks what it sends; a mask of zeros leaves it as it is. */
static void send_frame(enum opcode opcode, const char *payload, size_t length)
{
	uint8_t head[8] = { 0x80 | opcode, 0x80 | (length < 126 ? length : 126) };
	size_t size = 2;

	if (length > 0xffff)
		fail("%zu bytes are more than this client sends", length);
	if (length >= 126) {
		head[2] = length >> 8;
		head[3] = length;
		size = 4;
	}
	send_all(head, size + 4);
	send_all(payload, length);
}

static void make_room(size_t size)
{
	if (size <= room)
		return;
	room = size * 2;
	message = realloc(message, room);
	if (!message)
		fail("no memory");
}

/* Reads one text message of any number of fragments, ends it with NUL, and answers its length. */
static size_t receive_message(void)
{
	size_t length = 0;

	for (;;) {
		uint8_t head[2], more[8];
		uint64_t size;

		receive(head, 2);
		size = head[1] & 0x7f;
		if (size >= 126) {
			int bytes = size == 126 ? 2 : 8;

			receive(more, bytes);
			size = 0;
			for (int i = 0; i < bytes; i++)
				size = size << 8 | more[i];
		}
		make_room(length + size + 1);
		receive(message + length, size);
		switch (head[0] & 0xf) {
		case PING: send_frame(PONG, message + length, size); continue;
		case CLOSE:
			fail("the server has closed the WebSocket: %.*s", size > 2 ? (int)size - 2 : 0,
			     message + length + 2);
		case TEXT:
		case CONTINUATION: length += size;
		}
		if (head[0] & 0x80 && (head[0] & 0xf) <= TEXT) {
			message[length] = 0;
			return length;
		}
	}
}

static void open_socket(uint16_t port)
{
	static const char request[] =
		"GET /graphql HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: "
		"graphql-transport-ws\r\n\r\n";
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char answer[2048];
	size_t length = 0;

	connection = socket(AF_INET, SOCK_STREAM, 0);
	if (connection < 0 || connect(connection, (void *)&address, sizeof(address)))
		fail("connect: %m");
	send_all(request, sizeof(request) - 1);
	while (length < 4 || memcmp(answer + length - 4, "\r\n\r\n", 4)) {
		if (length == sizeof(answer))
			fail("the server's answer is too long");
		receive(answer + length++, 1);
	}
	if (memcmp(answer, "HTTP/1.1 101", 12))
		fail("the server said %.*s", 40, answer);
}

/* ---- JSON of the shape that was selected: keys in the order of the selection, as GraphQL has them ---- */

static const char *at;

static __attribute__((noreturn)) void strange(const char *wanted)
{
	fail("not %s where it was selected: %.120s", wanted, at);
}

static void space(void)
{
	while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
		at++;
}

static inline bool next_is(char character)
{
	if (*at != character)
		space();
	if (*at != character)
		return false;
	at++;
	return true;
}

static inline void expect(char character)
{
	if (!next_is(character))
		strange((char[]){ '\'', character, '\'', 0 });
}

static inline bool next_is_null(void)
{
	if (*at != 'n')
		space();
	if (memcmp(at, "null", 4))
		return false;
	at += 4;
	return true;
}

/* `name`: with its quotes. */
#define key(name)                                       \
	do {                                            \
		if (*at != '"')                         \
			space();                        \
		if (memcmp(at, name, sizeof(name) - 1)) \
			strange(name);                  \
		at += sizeof(name) - 1;                 \
		expect(':');                            \
	} while (0)

static inline int64_t number(void)
{
	bool negative = next_is('-');
	int64_t value = 0;
	const char *start = at;

	while (*at >= '0' && *at <= '9')
		value = value * 10 + (*at++ - '0');
	if (at == start)
		strange("a number");
	return negative ? -value : value;
}

/* A text without escapes: the workload's have none. Answers its length. */
static inline size_t text(const char **start)
{
	expect('"');
	*start = at;
	while (*at != '"') {
		if (*at == '\\' || (uint8_t)*at < ' ')
			strange("a plain text");
		at++;
	}
	return at++ - *start;
}

static inline void expect_text(const char *value, size_t length)
{
	const char *start;

	if (text(&start) != length || memcmp(start, value, length)) {
		at = start;
		strange(value);
	}
}

static void read_event(size_t comm_length, size_t path_length)
{
	const char *time;

	expect('{');
	key("\"process\"");
	expect('{');
	key("\"pid\"");
	if ((uint64_t)number() != expected.pid)
		strange("the workload's pid");
	expect(',');
	key("\"comm\"");
	expect_text(expected.comm, comm_length);
	expect('}');
	expect(',');
	key("\"time\"");
	if (text(&time) != TIME_LENGTH || memcmp(time, newest, TIME_LENGTH) < 0)
		strange("a time that is not before the last one's"); /* one thread makes all of them */
	memcpy(newest, time, TIME_LENGTH);
	expect(',');
	key("\"path\"");
	expect_text(expected.path, path_length);
	expect(',');
	key("\"fd\"");
	if (!next_is_null())
		number();
	expect('}');
}

static void read_batch(void)
{
	size_t comm_length = strlen(expected.comm), path_length = strlen(expected.path);
	const char *count;
	struct timespec now;

	at = message;
	expect('{');
	key("\"id\"");
	expect_text("1", 1);
	expect(',');
	key("\"type\"");
	expect_text("next", 4);
	expect(',');
	key("\"payload\"");
	expect('{');
	key("\"data\"");
	expect('{');
	key("\"events\"");
	expect('{');
	key("\"events\"");
	expect('[');
	if (!next_is(']')) {
		do {
			read_event(comm_length, path_length);
			events++;
		} while (next_is(','));
		expect(']');
	}
	expect(',');
	key("\"gap\"");
	if (next_is('{')) {
		/* A loss: the server's counters tell how many, and bench/served.ts asks them. */
		key("\"lost\"");
		text(&count);
		expect(',');
		key("\"dropped\"");
		text(&count);
		expect('}');
	} else if (!next_is_null()) {
		strange("a gap");
	}
	for (int i = 0; i < 4; i++)
		expect('}');
	clock_gettime(CLOCK_REALTIME, &now);
	last_us = now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
	struct pollfd files[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .events = POLLIN } };
	char line[1024];
	int length;

	if (argc != 6)
		fail("listener PORT SESSION PID COMM PATH");
	expected.pid = strtoull(argv[3], NULL, 10);
	expected.comm = argv[4];
	expected.path = argv[5];
	open_socket(atoi(argv[1]));
	length = snprintf(line, sizeof(line), "{\"type\":\"connection_init\"}");
	send_frame(TEXT, line, length);
	receive_message(); /* connection_ack */
	length = snprintf(line, sizeof(line),
			  "{\"id\":\"1\",\"type\":\"subscribe\",\"payload\":{\"query\":\"subscription Events($session: "
			  "ID!) { events(session: $session) { %s } }\",\"variables\":{\"session\":\"%s\"}}}",
			  SELECTION, argv[2]);
	send_frame(TEXT, line, length);
	printf("0\n");
	fflush(stdout);
	files[1].fd = connection;
	for (;;) {
		if (poll(files, 2, -1) < 0)
			fail("poll: %m");
		if (files[1].revents) {
			receive_message();
			read_batch();
		}
		if (files[0].revents) {
			char command[64];

			if (read(STDIN_FILENO, command, sizeof(command)) <= 0)
				return 0;
			printf("%llu %llu\n", (unsigned long long)events, (unsigned long long)last_us);
			fflush(stdout);
		}
	}
}
