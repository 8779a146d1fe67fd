/* Processes, sockets and open files of each kind, for the tests of snapshots. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#define DIE(what)             \
	({                    \
		perror(what); \
		exit(1);      \
	})
#define TRY(call)                   \
	({                          \
		long r_ = (call);   \
		if (r_ < 0)         \
			DIE(#call); \
		r_;                 \
	})
static int is(const char *a, const char *b)
{
	return !strcmp(a, b);
}
static void wait_for_end(void)
{
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
}
static int bound(int type, int protocol, const char *address)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	int is_six = strchr(address, ':') != NULL, fd = TRY(socket(is_six ? AF_INET6 : AF_INET, type, protocol));
	inet_pton(AF_INET, address, &four.sin_addr);
	inet_pton(AF_INET6, address, &six.sin6_addr);
	TRY(is_six ? bind(fd, (void *)&six, sizeof(six)) : bind(fd, (void *)&four, sizeof(four)));
	return fd;
}
static int connected(int type, int to)
{
	struct sockaddr_in6 a;
	socklen_t length = sizeof(a);
	int fd;
	getsockname(to, (void *)&a, &length);
	fd = TRY(socket(a.sin6_family, type, 0));
	TRY(connect(fd, (void *)&a, length));
	return fd;
}
static void unix_listener(const char *path, int length)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = TRY(socket(AF_UNIX, SOCK_STREAM, 0)), to = TRY(socket(AF_UNIX, SOCK_STREAM, 0));
	memcpy(a.sun_path, path, length);
	length += offsetof(struct sockaddr_un, sun_path);
	TRY(bind(fd, (void *)&a, length));
	TRY(listen(fd, 7));
	TRY(connect(to, (void *)&a, length));
	TRY(accept(fd, 0, 0));
}
static void *pause_for_ever(void *unused)
{
	for (;;)
		pause();
}
static void *own_files(void *unused) /* a thread with descriptors of its own */
{
	TRY(unshare(CLONE_FILES));
	dup2(TRY(socket(AF_INET, SOCK_DGRAM, 0)), 900);
	return pause_for_ever(unused);
}
static const char *own_status(void)
{
	static char text[4096];
	int fd = TRY(open("/proc/self/status", O_RDONLY));

	text[TRY(read(fd, text, sizeof(text) - 1))] = 0;
	close(fd);
	return text;
}
static void *two_with_own_files(void *unused)
{
	pthread_t thread;

	TRY(unshare(CLONE_FILES));
	dup2(TRY(socket(AF_INET, SOCK_DGRAM, 0)), 900);
	pthread_create(&thread, NULL, pause_for_ever, NULL);
	while (!strstr(own_status(), "Z (zombie)"))
		usleep(1000);
	wait_for_end();
	exit(0);
}

int main(int argc, char **argv)
{
	const char *what = argv[1];

	if (is(what, "sockets")) { /* PATH */
		struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
		int a, b, c, d, u, pair[2];
		char abstract[] = "\0snap\0shot";
		pthread_t thread;

		TRY(ioctl(TRY(socket(AF_INET, SOCK_DGRAM, 0)), SIOCSIFFLAGS, &lo));
		a = bound(SOCK_STREAM, 0, "127.0.0.1");
		TRY(listen(a, 17));
		b = bound(SOCK_STREAM, 0, "::");
		TRY(listen(b, 18));
		c = connected(SOCK_STREAM, a);
		d = TRY(accept(a, 0, 0));
		for (int i = 0; i < 20; i++) {
			char buffer[999] = {};
			TRY(write(d, buffer, 999));
			TRY(read(c, buffer, 999));
			TRY(write(c, buffer, 9));
			TRY(read(d, buffer, 9));
		}
		TRY(write(d, "12345", 5));
		connected(SOCK_STREAM, b);
		TRY(accept(b, 0, 0));
		connected(SOCK_STREAM, a); /* waits to be accepted */
		u = bound(SOCK_DGRAM, 0, "127.0.0.1");
		bound(SOCK_DGRAM, 0, "::1");
		connected(SOCK_DGRAM, u);
		TRY(socket(AF_INET, SOCK_STREAM, 0));
		TRY(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
		TRY(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
		unix_listener(argv[2], strlen(argv[2]) + 1);
		unix_listener(abstract, sizeof(abstract) - 1);
		TRY(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
		TRY(dup(d));
		pthread_create(&thread, NULL, own_files, NULL);
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			prctl(PR_SET_NAME, "the child");
			close(b);
			pause_for_ever(0);
		}
		wait_for_end();
	} else if (
		is(what,
		   "leaderless")) { /* its first thread has ended; two of its others share descriptors of their own */
		pthread_t thread;

		TRY(dup2(TRY(socket(AF_INET, SOCK_DGRAM, 0)), 800));
		for (int i = 0; i < 3; i++)
			pthread_create(&thread, NULL, pause_for_ever, NULL);
		pthread_create(&thread, NULL, two_with_own_files, NULL);
		pthread_exit(NULL);
	} else if (is(what, "files")) { /* DIRECTORY */
		int fd, pipes[2];

		TRY(chdir(argv[2]));
		fd = TRY(open("regular", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
		TRY(write(fd, "12345", 5));
		fd = TRY(open("removed", O_WRONLY | O_CREAT | O_NONBLOCK, 0600));
		TRY(write(fd, "123", 3));
		TRY(unlink("removed"));
		TRY(symlink("regular", "link"));
		TRY(open("link", O_PATH | O_NOFOLLOW));
		TRY(open(".", O_RDONLY | O_DIRECTORY));
		TRY(open("/dev/null", O_RDWR));
		TRY(open("/proc/self/ns/net", O_RDONLY));
		TRY(pipe(pipes));
		TRY(memfd_create("named", 0));
		TRY(eventfd(0, 0));
		TRY(epoll_create(1));
		TRY(socket(AF_INET, SOCK_DGRAM, 0));
		TRY(dup2(fd, 700));
		wait_for_end();
	} else if (
		is(what,
		   "processes")) { /* COUNT: children that sleep, one that is stopped, one that is a zombie; and threads */
		pthread_t thread;
		int children = atoi(argv[2]);
		pid_t stopped;

		for (int i = 0; i < children; i++)
			if (!fork()) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				prctl(PR_SET_NAME, "sleeper");
				pause_for_ever(0);
			}
		if (!(stopped = fork())) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			prctl(PR_SET_NAME, "stopped");
			raise(SIGSTOP);
			pause_for_ever(0);
		}
		if (!fork()) {
			prctl(PR_SET_NAME, "zombie");
			_exit(0);
		}
		for (int i = 0; i < 4; i++)
			pthread_create(&thread, NULL, pause_for_ever, NULL);
		wait_for_end();
	}
	return 0;
}
