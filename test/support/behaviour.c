/*
 * What the built-in rules look for, done for real. Under its own name the first argument is a subcommand. Under any other name it does what
 * follows "do", or nothing: it stands for programs that a test cannot bring along (nmap, sudo, nginx).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char *const nobody[] = { NULL };

static int connected_from(const char *own, const char *address, int port)
{
	struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, own, &from.sin_addr);
	bind(fd, (struct sockaddr *)&from, sizeof(from));
	inet_pton(AF_INET, address, &to.sin_addr);
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) ? (close(fd), -1) : fd;
}

static int connected(const char *address, int port)
{
	return connected_from("0.0.0.0", address, port);
}

static int listening(int port)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&own, sizeof(own)) || listen(fd, 8))
		return -1;
	return fd;
}

/* Runs a program and waits for it. */
static int spawn(char **argv)
{
	pid_t pid = fork();

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	return 0;
}

/* A copy of this program's file. */
static int copied(int to)
{
	static char buffer[1 << 16];
	int from = open("/proc/self/exe", O_RDONLY);

	for (ssize_t n; (n = read(from, buffer, sizeof(buffer))) > 0;)
		if (write(to, buffer, n) != n)
			return -1;
	close(from);
	return 0;
}

static struct sockaddr_un named(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
	return name;
}

/* A child that waits until it is killed. */
static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	usleep(20000);
	return pid;
}

static long memory[4] = { 1, 2, 3, 4 };

/* A question about a name; sends it to 127.0.0.1:53. */
static void ask(int fd, const char *name, int type)
{
	unsigned char message[512] = { 0x12, 0x34, 1, 0, 0, 1 };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(53),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int at = 12;

	for (const char *label = name; *label;) {
		int n = strcspn(label, ".");

		message[at++] = n;
		memcpy(message + at, label, n);
		at += n;
		label += n + (label[n] == '.');
	}
	at++;
	message[at + 1] = type;
	message[at + 3] = 1;
	at += 4;
	sendto(fd, message, at, 0, (struct sockaddr *)&to, sizeof(to));
}

static int answering(int count)
{
	struct sockaddr_in own = { .sin_family = AF_INET,
				   .sin_port = htons(53),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	unsigned char message[512];

	if (bind(fd, (struct sockaddr *)&own, sizeof(own)))
		return 1;
	for (int i = 0; i < count; i++) {
		struct sockaddr_in from;
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(fd, message, sizeof(message), 0, (struct sockaddr *)&from, &size);

		message[2] |= 0x80;
		message[3] = 0x83;
		sendto(fd, message, n, 0, (struct sockaddr *)&from, size);
	}
	return 0;
}

static int setcaps(uint32_t effective)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	syscall(SYS_capget, &header, data);
	data[0].effective = effective & data[0].permitted;
	data[1].effective = 0;
	return syscall(SYS_capset, &header, data);
}

static int pass(int argc, char **argv)
{
	int sending = !strcmp(argv[0], "send"), fd = socket(AF_UNIX, SOCK_STREAM, 0), listener = fd, file;
	struct sockaddr_un name = named(argv[1]);
	char byte = 'x', control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	if (!sending) {
		for (int i = 0; connect(fd, (struct sockaddr *)&name, sizeof(name)) && i < 500; i++)
			usleep(10000);
		return recvmsg(fd, &message, 0) < 0;
	}
	unlink(argv[1]);
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) || listen(fd, 1))
		return 1;
	chmod(argv[1], 0777);
	fd = accept(listener, NULL, NULL);
	file = open("/proc/self/exe", O_RDONLY);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &file, sizeof(file));
	sendmsg(fd, &message, 0);
	usleep(200000);
	return 0;
}

static int act(int argc, char **argv)
{
	const char *what = argv[0], *one = argc > 1 ? argv[1] : "", *two = argc > 2 ? argv[2] : "";
	int fd, status;
	pid_t pid;

#define IS(name) (!strcmp(what, name))
	if (IS("sleep"))
		return usleep(atoi(one) * 1000), 0;
	if (IS("spawn"))
		return spawn(argv + 1);
	if (IS("connect"))
		return connected(one, atoi(two)) < 0;
	if (IS("scan")) {
		for (int i = 0; i < 25; i++)
			connected("127.0.0.1", 20001 + i);
		return 0;
	}
	if (IS("sweep")) {
		for (int i = 0; i < 45; i++) {
			char address[32];

			snprintf(address, sizeof(address), "127.0.1.%d", i + 1);
			connected(address, 22222);
		}
		return 0;
	}
	if (IS("listen"))
		return listening(atoi(one)) < 0;
	if (IS("accept")) { /* PORT, and the address that the other end has */
		fd = listening(atoi(one));
		if (!fork()) {
			prctl(PR_SET_NAME, "peer");
			_exit(connected_from(*two ? two : "127.0.0.1", "127.0.0.1", atoi(one)) < 0);
		}
		return accept(fd, NULL, NULL) < 0;
	}
	if (IS("reverse-shell")) { /* The other end is a child of this program. */
		fd = listening(atoi(one));
		if (fork()) {
			accept(fd, NULL, NULL);
			wait(NULL);
			return 0;
		}
		fd = connected("127.0.0.1", atoi(one));
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		execl("/bin/sh", "sh", "-c", ":", NULL);
	}
	if (IS("memory-program")) {
		fd = memfd_create("payload", MFD_CLOEXEC);
		copied(fd);
		fexecve(fd, (char *[]){ "payload", NULL }, nobody);
	}
	if (IS("deleted-program")) {
		fd = open("/root/gone", O_RDWR | O_CREAT, 0600);
		copied(fd);
		close(fd);
		chmod("/root/gone", 0700);
		fd = open("/root/gone", O_PATH | O_CLOEXEC);
		unlink("/root/gone");
		fexecve(fd, (char *[]){ "gone", NULL }, nobody);
	}
	if (IS("as")) /* PATH, then all of argv */
		execve(one, argv + 2, nobody);
	if (IS("user")) /* a program as user 1000 */
		return setgid(1000) || setuid(1000) || execvp(one, argv + 1);
	if (IS("create"))
		return close(open(one, O_WRONLY | O_CREAT | O_TRUNC, strtol(two, NULL, 8)));
	if (IS("copy")) { /* of this program */
		fd = open(one, O_WRONLY | O_CREAT | O_TRUNC, 0777);
		return copied(fd) || close(fd);
	}
	if (IS("capable-file")) {
		uint32_t value[5] = { htole32(0x02000000), htole32(1 << 13), 0, 0, 0 };

		return setxattr(one, "security.capability", value, sizeof(value), 0);
	}
	if (IS("join")) {
		fd = open("/proc/self/ns/net", O_RDONLY);
		return setns(fd, CLONE_NEWNET);
	}
	if (IS("trace")) {
		pid = sleeper();
		ptrace(PTRACE_ATTACH, pid, 0, 0);
		waitpid(pid, &status, 0);
		return kill(pid, SIGKILL);
	}
	if (IS("trace-me"))
		return ptrace(PTRACE_TRACEME, 0, 0, 0);
	if (IS("write-memory") || IS("read-memory")) {
		struct iovec own = { memory, sizeof(memory) };

		pid = sleeper();
		status = IS("read-memory") ? process_vm_readv(pid, &own, 1, &own, 1, 0)
					   : process_vm_writev(pid, &own, 1, &own, 1, 0);
		kill(pid, SIGKILL);
		return status < 0;
	}
	if (IS("take-descriptor")) {
		pid = sleeper();
		fd = syscall(SYS_pidfd_open, pid, 0);
		status = syscall(SYS_pidfd_getfd, fd, 0, 0);
		kill(pid, SIGKILL);
		return status < 0;
	}
	if (IS("page-faults"))
		return syscall(SYS_userfaultfd, O_CLOEXEC) < 0;
	if (IS("bpf")) {
		union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER };

		return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)) == 0;
	}
	if (IS("module"))
		return syscall(SYS_init_module, memory, sizeof(memory), "") == 0;
	if (IS("remove-module"))
		return syscall(SYS_delete_module, "no_such_module", 0) == 0;
	if (IS("kexec")) /* No kernel takes these flags. */
		return syscall(SYS_kexec_load, 0, 0, NULL, 0xffffL) == 0;
	if (IS("become-root"))
		return prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) || setresuid(1000, 1000, 1000) || seteuid(0);
	if (IS("raise"))
		return setcaps(0) || setcaps(~0U);
	if (IS("uring")) {
		struct io_uring_params params = { 0 };

		return syscall(SYS_io_uring_setup, 4, &params) < 0;
	}
	if (IS("refused")) {
		syscall(SYS_acct, "/no/such");
		syscall(SYS_swapon, NULL, 0);
		syscall(SYS_swapoff, NULL);
		syscall(SYS_quotactl, 0, NULL, 0, NULL);
		syscall(SYS_vhangup);
		syscall(SYS_lookup_dcookie, 0L, NULL, 0L);
		return syscall(SYS_add_key, "user", "no", NULL, 0, 0) >= 0;
	}
	if (IS("raw"))
		return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0;
	if (IS("unix")) {
		struct sockaddr_un name = named(one);

		return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof(name));
	}
	if (IS("send") || IS("receive"))
		return pass(argc, argv);
	if (IS("ask")) { /* NAME TYPE */
		ask(socket(AF_INET, SOCK_DGRAM, 0), one, atoi(two));
		return 0;
	}
	if (IS("tunnel") || IS("guess")) {
		pid = IS("guess") ? fork() : -1;
		if (!pid)
			_exit(answering(35));
		usleep(100000);
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		for (int i = 0; i < (IS("guess") ? 35 : 12); i++) {
			char name[256], reply[512];

			if (IS("guess"))
				snprintf(name, sizeof(name), "qx%dzk.example", i);
			else
				snprintf(name, sizeof(name), "%040d.%040d.t.example", i, i);
			ask(fd, name, 1);
			if (IS("guess"))
				recv(fd, reply, sizeof(reply), 0);
		}
		return 0;
	}
	fprintf(stderr, "what is %s?\n", what);
	return 2;
}

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL,
		   *name = argc > 0 ? (slash ? slash + 1 : argv[0]) : "";

	alarm(60);
	if (strcmp(name, "behaviour"))
		return argc > 2 && !strcmp(argv[1], "do") ? act(argc - 2, argv + 2) : 0;
	return argc > 1 ? act(argc - 1, argv + 1) : 2;
}
