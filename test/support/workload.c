/* System calls that Node cannot make, or not alone: one a subcommand. Prints a result or -errno. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* as PID PROGRAM ARGS…: in a child of that pid. Prints "made", or "taken" where another process has the pid; exits as the child does. */
static int run_as(pid_t wanted, char **command)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (unsigned long)&wanted, .set_tid_size = 1 };
	int pid = syscall(SYS_clone3, &args, sizeof(args)), status;

	if (pid == 0)
		_exit(execvp(command[0], command));
	puts(pid == wanted ? "made" : errno == EEXIST ? "taken" : strerror(errno));
	fflush(stdout);
	if (pid < 0)
		return 1;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static long result(long value)
{
	return value < 0 ? -errno : value;
}

/* open|openat|openat2|creat PATH FLAGS MODE */
static long do_open(const char *how, const char *path, long flags, long mode)
{
	struct open_how request = { .flags = flags, .mode = mode };

	if (is(how, "open"))
		return result(syscall(SYS_open, path, flags, mode));
	if (is(how, "creat"))
		return result(syscall(SYS_creat, path, mode));
	if (is(how, "openat"))
		return result(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
	return result(syscall(SYS_openat2, AT_FDCWD, path, &request, sizeof(request)));
}

/* burst PATH COUNT PROCESSES: as fast as it goes, PATH does not exist. */
static void burst(const char *path, long count, long processes)
{
	for (long p = 0; p < processes; p++) {
		if (fork())
			continue;
		for (long i = 0; i < count; i++)
			syscall(SYS_openat, AT_FDCWD, path, 0, 0);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
}

/* count PREFIX COUNT PAUSE_US: opens PREFIX0, PREFIX1, … */
static void count(const char *prefix, long n, long pause_us)
{
	char path[4096];

	for (long i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s%ld", prefix, i);
		syscall(SYS_openat, AT_FDCWD, path, 0, 0);
		if (pause_us)
			usleep(pause_us);
	}
}

static void *wait_and_exit(void *code)
{
	usleep(20000);
	_exit((int)(long)code); /* exit_group */
}

static void *sleep_only(void *unused)
{
	usleep(20000);
	return NULL;
}

/* threads COUNT: they end, then the first one returns; leader-first CODE: the first thread ends before. */
static int threads(long n)
{
	pthread_t list[64];

	for (long i = 0; i < n && i < 64; i++)
		pthread_create(&list[i], NULL, sleep_only, NULL);
	for (long i = 0; i < n && i < 64; i++)
		pthread_join(list[i], NULL);
	return 5;
}

static void leader_first(long code)
{
	pthread_t thread;

	pthread_create(&thread, NULL, wait_and_exit, (void *)code);
	syscall(SYS_exit, 0); /* of this thread alone */
}

static void *open_in_thread(void *path)
{
	prctl(PR_SET_NAME, "second");
	syscall(SYS_openat, AT_FDCWD, path, 0, 0);
	printf("%d\n", (int)syscall(SYS_gettid));
	return NULL;
}

/* connect ADDRESS PORT [BIND_PORT]: blocking */
static long do_connect(const char *address, int port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (strchr(address, ':')) {
		inet_pton(AF_INET6, address, &v6.sin6_addr);
		return result(connect(socket(AF_INET6, SOCK_STREAM, 0), (void *)&v6, sizeof(v6)));
	}
	inet_pton(AF_INET, address, &v4.sin_addr);
	return result(connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&v4, sizeof(v4)));
}

/* serve ADDRESS BYTES_TO_READ BYTES_TO_SEND: prints the port, accepts one, reads, sends, closes. Blocking. */
static long serve(const char *address, long to_read, long to_send)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	int six = strchr(address, ':') != NULL;
	int listener = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	socklen_t length = six ? sizeof(v6) : sizeof(v4);
	struct sockaddr *bound = six ? (void *)&v6 : (void *)&v4;
	static char buffer[65536];
	int fd;

	inet_pton(six ? AF_INET6 : AF_INET, address, six ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr);
	if (bind(listener, bound, length) || listen(listener, 8) || getsockname(listener, bound, &length))
		return -errno;
	printf("%d\n", ntohs(six ? v6.sin6_port : v4.sin_port));
	fflush(stdout);
	fd = accept(listener, NULL, NULL);
	while (to_read > 0) {
		long n = read(fd, buffer, to_read < (long)sizeof(buffer) ? to_read : (long)sizeof(buffer));
		if (n <= 0)
			return -1;
		to_read -= n;
	}
	while (to_send > 0) {
		long n = write(fd, buffer, to_send < (long)sizeof(buffer) ? to_send : (long)sizeof(buffer));
		if (n <= 0)
			return -1;
		to_send -= n;
	}
	close(fd);
	return 0;
}

/* talk ADDRESS PORT BYTES_TO_SEND BYTES_TO_READ [v4mapped]: the other side of serve. */
static long talk(const char *address, int port, long to_send, long to_read)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int six = strchr(address, ':') != NULL;
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	static char buffer[65536];
	char rest;

	inet_pton(six ? AF_INET6 : AF_INET, address, six ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr);
	if (connect(fd, six ? (void *)&v6 : (void *)&v4, six ? sizeof(v6) : sizeof(v4)))
		return -errno;
	while (to_send > 0) {
		long n = write(fd, buffer, to_send < (long)sizeof(buffer) ? to_send : (long)sizeof(buffer));
		if (n <= 0)
			return -1;
		to_send -= n;
	}
	while (to_read > 0) {
		long n = read(fd, buffer, to_read < (long)sizeof(buffer) ? to_read : (long)sizeof(buffer));
		if (n <= 0)
			return -1;
		to_read -= n;
	}
	if (read(fd, &rest, 1) != 0) /* the peer's end */
		return -1;
	close(fd);
	return 0;
}

/* give-up: a connect that nobody answers (the listener's backlog is full), closed while under way. Prints the port. */
static int give_up(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int pending;

	if (bind(listener, (void *)&at, length) || listen(listener, 0) || getsockname(listener, (void *)&at, &length))
		return 1;
	if (connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&at, length))
		return 1;
	pending = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(pending, (void *)&at, length) == 0 || errno != EINPROGRESS)
		return 1;
	usleep(20000);
	close(pending);
	printf("%d\n", ntohs(at.sin_port));
	return 0;
}

#include "workload-path.h"

/* Connects that name no address, or one of another family; prints the errno of each. As in `no-address` of tcp.test.ts. */
static int no_address(void)
{
	struct sockaddr_in v4 = { .sin_family = 99, .sin_port = htons(80) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(81),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in bound = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd;

#define NO_ADDRESS(family, address, length) \
	printf("%ld\n", result(connect(fd = socket(family, SOCK_STREAM, 0), (void *)(address), length)))
	NO_ADDRESS(AF_INET, &v4, sizeof(v4)); /* a family that there is not */
	NO_ADDRESS(AF_INET6, &v6, 8);         /* too short for an address */
	NO_ADDRESS(AF_INET, 8, 16);           /* memory that cannot be read */
	NO_ADDRESS(AF_INET, &v6, sizeof(v6)); /* IPv6 through an IPv4 socket */
	v4.sin_family = AF_INET;
	v4.sin_addr.s_addr = htonl(INADDR_BROADCAST);
	NO_ADDRESS(AF_INET, &v4, sizeof(v4)); /* an address that is known and refused */
	fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, and no peer named */
	if (bind(fd, (void *)&bound, sizeof(bound)))
		return 1;
	printf("%ld\n", result(connect(fd, (void *)8, 16)));
	return 0;
}

static void crash(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &unlimited);
	abort();
}

/* Called by the test of uprobes. */
__attribute__((noinline)) int eunomia_probed(int n)
{
	__asm__ volatile("" ::: "memory");
	return n + 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long a = argc > 3 ? strtol(argv[3], NULL, 0) : 0;
	long b = argc > 4 ? strtol(argv[4], NULL, 0) : 0;
	long c = argc > 5 ? strtol(argv[5], NULL, 0) : 0;

	if (argc > 4 && (is(what, "open") || is(what, "openat") || is(what, "openat2") || is(what, "creat")))
		return printf("%ld\n", do_open(what, argv[2], a, b)), 0;
	if (argc > 4 && is(what, "burst"))
		return burst(argv[2], a, b), 0;
	if (argc > 4 && is(what, "count"))
		return count(argv[2], a, b), 0;
	if (argc > 2 && is(what, "exit"))
		return atoi(argv[2]);
	if (argc > 2 && is(what, "kill"))
		return kill(getpid(), atoi(argv[2])), pause();
	if (is(what, "give-up"))
		return give_up();
	if (is(what, "crash"))
		crash();
	if (argc > 2 && is(what, "threads"))
		return threads(atoi(argv[2]));
	if (argc > 2 && is(what, "leader-first"))
		leader_first(atoi(argv[2]));
	if (argc > 2 && is(what, "thread-open")) {
		pthread_t thread;
		pthread_create(&thread, NULL, open_in_thread, argv[2]);
		return pthread_join(thread, NULL);
	}
	if (argc > 2 && is(what, "execve"))
		return execve(argv[2], argv + 2, (char *[]){ NULL }), printf("%d\n", -errno), 0;
	if (argc > 2 && is(what, "execveat"))
		return syscall(SYS_execveat, open(argv[2], O_PATH), "", argv + 2, (char *[]){ NULL }, AT_EMPTY_PATH),
		       printf("%d\n", -errno), 0;
	if (argc > 3 && is(what, "connect"))
		return printf("%ld\n", do_connect(argv[2], a)), 0;
	if (argc > 4 && is(what, "serve"))
		return serve(argv[2], a, b) != 0;
	if (argc > 5 && is(what, "talk"))
		return talk(argv[2], a, b, c) != 0;
	if (argc > 2 && is(what, "probed")) {
		for (int i = 0; i < atoi(argv[2]); i++)
			eunomia_probed(i);
		return 0;
	}
	if (argc > 3 &&
	    is(what,
	       "bind-open")) { /* FROM TO: in a mount namespace of its own, FROM is mounted on TO, and TO/file opened */
		char path[4096];

		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount(argv[2], argv[3], NULL, MS_BIND, NULL))
			return printf("%d\n", -errno), 1;
		snprintf(path, sizeof(path), "%s/file", argv[3]);
		return printf("%ld\n", do_open("openat", path, O_RDONLY, 0)), 0;
	}
	if (argc > 3 && is(what, "path")) /* path CASE ARGUMENT: see path.h */
		return path_case(argv[2], argv[3]);
	if (is(what, "no-address"))
		return no_address();
	if (argc > 3 && is(what, "as"))
		return run_as(atoi(argv[2]), argv + 3);
	if (argc > 2 && is(what, "gate")) { /* starts the rest of its arguments once it can read a line */
		char line[16];

		if (!fgets(line, sizeof(line), stdin))
			return 1;
		return execvp(argv[2], argv + 2);
	}
	fprintf(stderr, "workload: what is \"%s\"?\n", what);
	return 2;
}
