// SPDX-License-Identifier: Apache-2.0
/*
 * Makes calls that the open tracker is hooked to. Commands come as lines on standard input, so that one process (one pid
 * to filter by) serves a whole ladder of rates:
 *
 *   KIND paced RATE MS    RATE calls a second for MS milliseconds, in bursts at absolute times at most 1 ms apart
 *   KIND free CALLS       as many calls, in slices, as fast as they go
 *
 * KIND is `opened` (open of a path that exists, and the close of what it gave), `refused` (openat of that path with
 * flags that the kernel refuses at once, EINVAL: the cheapest call that makes an event, so that tracers are the bound),
 * `executed` (a child that executes /bin/true with two dozen arguments, and its end), `connected` (a TCP connection over
 * loopback, accepted, and closed at both ends), `signalled` (SIGCONT to itself, which does nothing), `removed` (unlink of a
 * path that does not exist), `unmounted` (umount of one), `bound` (a UDP socket that is made, bound to loopback and closed),
 * `asked` (a DNS query over loopback, and its response: four calls), `empowered` (capset of the capabilities that it has),
 * `greeted` (a ClientHello over a new TCP connection), `cached` and `fetched` (pread of 4 KiB of a file from memory and, with
 * O_DIRECT, from its disk), `exchanged` (a byte over a TCP connection and back), `flooded` (a datagram to a UDP socket of its
 * own whose buffer is full), `misdialled` (connect to a Unix domain socket that does not exist), `sought` (msgget of a key
 * that nothing has), `switched` (a byte to another process on the same CPU and back), `tuned` (a write of the value that
 * vm/swappiness has), `probed` (access to /dev/kmsg), `trivial` (getppid) or, of a process for these alone,
 * `forbidden` (acct, which a seccomp filter of its own refuses) and `permitted` (getppid, which that filter allows).
 *
 * A `paced` that cannot keep up makes all its calls none the less, later. The answer is one line: the calls made, the
 * nanoseconds that they took, and (`free`) the median over the slices of what a thousand calls take, which tells what a call
 * costs also where other processes take the CPU away. The end of standard input ends it.
 *
 *   workload [--cpu N] [--priority N] [--path PATH]
 *
 * --priority: of a real-time process, which other processes do not interrupt.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000ULL
#define BURST_NS 500000ULL
#define SLICES_MAX 100000

static const char *path = "/dev/null";

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * BILLION + t.tv_nsec;
}

static void sleep_until(uint64_t at)
{
	struct timespec t = { .tv_sec = at / BILLION, .tv_nsec = at % BILLION };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void opened(void)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		fail(path);
	close(fd);
}

static void refused(void)
{
	/* fs/open.c, build_open_flags: O_TMPFILE without write access */
	if (syscall(SYS_openat, AT_FDCWD, path, O_TMPFILE | O_RDONLY, 0600) >= 0) {
		fprintf(stderr, "workload: the kernel opens what it should refuse\n");
		exit(1);
	}
}

/* As long as the command lines of compilers and of Java are. */
static void executed(void)
{
	static char *argv[26] = { "/bin/true" };
	pid_t child;

	for (int i = 1; i < 25; i++)
		argv[i] = "--an-argument-of-a-program=/usr/lib/with/a/path/in/it";
	child = vfork();
	if (child < 0)
		fail("vfork");
	if (child == 0) {
		execv("/bin/true", argv);
		_exit(127);
	}
	if (waitpid(child, NULL, 0) != child)
		fail("waitpid");
}

/* A TCP connection over loopback, on which the client says `hello` if there is one. */
static void connection(const unsigned char *hello, size_t hello_bytes)
{
	static struct sockaddr_in address = { .sin_family = AF_INET };
	static int listener = -1;
	const struct linger at_once = { .l_onoff = 1 }; /* no TIME_WAIT: ports would run out */
	socklen_t length = sizeof(address);
	int client, server;

	if (listener < 0) {
		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		listener = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(listener, (void *)&address, sizeof(address)) || listen(listener, 16) ||
		    getsockname(listener, (void *)&address, &length))
			fail("listening");
	}
	client = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(client, (void *)&address, sizeof(address)))
		fail("connect");
	server = accept(listener, NULL, NULL);
	if (server < 0)
		fail("accept");
	if (hello && send(client, hello, hello_bytes, 0) < 0)
		fail("send");
	setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(client);
	close(server);
}

static void connected(void)
{
	connection(NULL, 0);
}

static void greeted(void)
{
	/* RFC 8446, 4.1.2: one cipher suite, and the server's name. */
	static unsigned char hello[71] = { 0x16, 3, 1, 0, 66, 1, 0, 0, 62, 3, 3 };
	static const unsigned char rest[] = "\0\0\2\x13\1\1\0\0\x13\0\0\0\xf\0\xd\0\0\nbench.test";

	memcpy(hello + 43, rest, sizeof(rest) - 1);
	connection(hello, sizeof(hello));
}

static void exchanged(void)
{
	static struct sockaddr_in address = { .sin_family = AF_INET };
	static int client = -1, server;
	const int on = 1;
	socklen_t length = sizeof(address);
	char byte = 0;

	if (client < 0) {
		int listener = socket(AF_INET, SOCK_STREAM, 0);

		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		client = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(listener, (void *)&address, sizeof(address)) || listen(listener, 1) ||
		    getsockname(listener, (void *)&address, &length) ||
		    connect(client, (void *)&address, sizeof(address)))
			fail("connecting");
		server = accept(listener, NULL, NULL);
		close(listener);
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	if (write(client, &byte, 1) != 1 || read(server, &byte, 1) != 1 || write(server, &byte, 1) != 1 ||
	    read(client, &byte, 1) != 1)
		fail("exchange");
}

static void sought(void)
{
	if (msgget(0x7fffff01, 0) != -1)
		fail("sought");
}

static void misdialled(void)
{
	static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/null/of/no/socket" };
	static int fd = -1;

	if (fd < 0)
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (void *)&address, sizeof(address)) == 0) {
		fprintf(stderr, "workload: connected to what is not there\n");
		exit(1);
	}
}

static void flooded(void)
{
	static struct sockaddr_in address = { .sin_family = AF_INET };
	static int sending = -1;
	const int least = 1;
	socklen_t length = sizeof(address);
	char byte = 0;

	if (sending < 0) {
		int full = socket(AF_INET, SOCK_DGRAM, 0);

		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		sending = socket(AF_INET, SOCK_DGRAM, 0);
		if (setsockopt(full, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)) ||
		    bind(full, (void *)&address, sizeof(address)) || getsockname(full, (void *)&address, &length) ||
		    connect(sending, (void *)&address, sizeof(address)))
			fail("connecting");
		for (int i = 0; i < 100; i++)
			send(sending, &byte, 1, 0);
	}
	if (send(sending, &byte, 1, 0) != 1)
		fail("send");
}

static int temporary(int flags)
{
	char name[] = "/var/tmp/eunomia-bench-XXXXXX";
	static const char block[4096];
	int fd = mkstemp(name), again;

	if (fd < 0 || write(fd, block, sizeof(block)) != sizeof(block) || fsync(fd))
		fail(name);
	again = open(name, O_RDONLY | flags);
	if (again < 0)
		fail(name);
	unlink(name);
	close(fd);
	return again;
}

static void pread_of(int fd)
{
	static char block[4096] __attribute__((aligned(4096)));

	if (pread(fd, block, sizeof(block), 0) != sizeof(block))
		fail("pread");
}

static void cached(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = temporary(0);
	pread_of(fd);
}

static void fetched(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = temporary(O_DIRECT);
	pread_of(fd);
}

static void switched(void)
{
	static int there[2] = { -1 }, back[2];
	char byte = 0;

	if (there[0] < 0) {
		pid_t child;

		if (pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
			fail("pipe");
		child = fork();
		if (child < 0)
			fail("fork");
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
				;
			_exit(0);
		}
	}
	if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
		fail("pipe");
}

static void signalled(void)
{
	if (kill(getpid(), SIGCONT))
		fail("kill");
}

static void removed(void)
{
	if (unlink("/dev/null/of/no/such/file") == 0) {
		fprintf(stderr, "workload: removed what is not there\n");
		exit(1);
	}
}

static void unmounted(void)
{
	if (umount2("/dev/null/of/no/such/mount", 0) == 0) {
		fprintf(stderr, "workload: unmounted what is not there\n");
		exit(1);
	}
}

static void bound(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (void *)&address, sizeof(address)))
		fail("bind");
	close(fd);
}

static void asked(void)
{
	static unsigned char message[] = "\0\1\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0";
	static struct sockaddr_in server = { .sin_family = AF_INET }, client;
	static int asking = -1, answering;
	socklen_t length = sizeof(client);

	message[sizeof(message) - 1] = 1; /* in place of its NUL: the class */
	if (asking < 0) {
		server.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 76);
		server.sin_port = htons(53);
		asking = socket(AF_INET, SOCK_DGRAM, 0);
		answering = socket(AF_INET, SOCK_DGRAM, 0);
		if (bind(answering, (void *)&server, sizeof(server)) ||
		    connect(asking, (void *)&server, sizeof(server)))
			fail("binding port 53");
	}
	message[2] = 1;
	if (send(asking, message, sizeof(message), 0) < 0 ||
	    recvfrom(answering, message, sizeof(message), 0, (void *)&client, &length) < 0)
		fail("query");
	message[2] = 0x81;
	if (sendto(answering, message, sizeof(message), 0, (void *)&client, length) < 0 ||
	    recv(asking, message, sizeof(message), 0) < 0)
		fail("response");
}

static void empowered(void)
{
	static struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	static struct __user_cap_data_struct sets[2];

	if (!sets[0].permitted && syscall(SYS_capget, &head, sets))
		fail("capget");
	if (syscall(SYS_capset, &head, sets))
		fail("capset");
}

static void trivial(void)
{
	syscall(SYS_getppid);
}

static void tuned(void)
{
	static char value[16];
	static ssize_t length;
	static int fd = -1;

	if (fd < 0) {
		fd = open("/proc/sys/vm/swappiness", O_RDWR);
		length = fd < 0 ? -1 : pread(fd, value, sizeof(value), 0);
	}
	if (length <= 0 || pwrite(fd, value, length, 0) != length)
		fail("vm/swappiness");
}

static void probed(void)
{
	if (access("/dev/kmsg", R_OK))
		fail("/dev/kmsg");
}

/* From the first such call on, for good: what else the process does then is asked of the filter too. */
static void filter(void)
{
	static int has;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* struct seccomp_data: nr */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (has)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		fail("seccomp");
	has = 1;
}

static void forbidden(void)
{
	filter();
	if (syscall(SYS_acct, NULL) == 0) {
		fprintf(stderr, "workload: the filter allows what it should refuse\n");
		exit(1);
	}
}

static void permitted(void)
{
	filter();
	syscall(SYS_getppid);
}

static void answer(uint64_t calls, uint64_t ns, uint64_t median)
{
	printf("%llu %llu %llu\n", (unsigned long long)calls, (unsigned long long)ns, (unsigned long long)median);
	fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void free_running(void (*call)(void), uint64_t slice, uint64_t calls)
{
	static uint64_t slices[SLICES_MAX];
	uint64_t start = now(), before = start, made = 0, count = 0;

	while (made < calls && count < SLICES_MAX) {
		uint64_t after;

		for (uint64_t i = 0; i < slice; i++)
			call();
		after = now();
		made += slice;
		slices[count++] = (after - before) * 1000 / slice;
		before = after;
	}
	qsort(slices, count, sizeof(slices[0]), compare);
	answer(made, before - start, count ? slices[count / 2] : 0);
}

static void paced(void (*call)(void), uint64_t rate, uint64_t ms)
{
	uint64_t start = now(), length = ms * 1000000, made = 0;

	for (uint64_t at = 0; at < length;) {
		at = at + BURST_NS < length ? at + BURST_NS : length;
		for (uint64_t due = (unsigned __int128)at * rate / BILLION; made < due; made++)
			call();
		sleep_until(start + at);
	}
	answer(made, now() - start, 0);
}

static const struct kind {
	const char *name;
	void (*call)(void);
	uint64_t slice; /* calls between two looks at the clock */
} kinds[] = { { "opened", opened, 1000 },       { "refused", refused, 1000 },
	      { "trivial", trivial, 1000 },     { "executed", executed, 10 },
	      { "connected", connected, 10 },   { "signalled", signalled, 1000 },
	      { "removed", removed, 1000 },     { "unmounted", unmounted, 1000 },
	      { "bound", bound, 100 },          { "empowered", empowered, 1000 },
	      { "asked", asked, 100 },          { "greeted", greeted, 10 },
	      { "cached", cached, 1000 },       { "fetched", fetched, 100 },
	      { "switched", switched, 100 },    { "tuned", tuned, 100 },
	      { "probed", probed, 1000 },       { "forbidden", forbidden, 1000 },
	      { "permitted", permitted, 1000 }, { "flooded", flooded, 1000 },
	      { "exchanged", exchanged, 100 },  { "misdialled", misdialled, 1000 },
	      { "sought", sought, 1000 } };

static const struct kind *find(const char *name)
{
	for (size_t i = 0; name && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

int main(int argc, char **argv)
{
	char line[128];

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--path") == 0)
			path = argv[i + 1];
		if (strcmp(argv[i], "--cpu") == 0) {
			cpu_set_t set;

			CPU_ZERO(&set);
			CPU_SET(atoi(argv[i + 1]), &set);
			if (sched_setaffinity(0, sizeof(set), &set) != 0) {
				perror("sched_setaffinity");
				return 1;
			}
		}
		if (strcmp(argv[i], "--priority") == 0) {
			struct sched_param param = { .sched_priority = atoi(argv[i + 1]) };

			if (sched_setscheduler(0, SCHED_FIFO, &param) != 0) {
				perror("sched_setscheduler");
				return 1;
			}
		}
	}
	prctl(PR_SET_TIMERSLACK, 1);
	answer(0, 0, 0); /* ready */
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long a, b;
		const char *rest;
		const struct kind *kind = find(strtok(line, " "));

		rest = strtok(NULL, "\n");
		if (kind && rest && sscanf(rest, "paced %llu %llu", &a, &b) == 2)
			paced(kind->call, a, b);
		else if (kind && rest && sscanf(rest, "free %llu", &a) == 1)
			free_running(kind->call, kind->slice, a);
		else {
			fprintf(stderr, "workload: not a command\n");
			return 1;
		}
	}
	return 0;
}
