/**
 * sysv KEY | wait | mq NAME: calls of each kind; each prints what it did, as "OPERATION result", and what the kernel says of the segment.
 * pass HOW FILE: a child sends FILE and a pipe to its parent, which says which numbers they got: HOW is call, many (sendmmsg and recvmmsg),
 * twice (two control messages), datagram (unconnected), connected or uring. attach KEY: creates a segment, which a child attaches.
 * flood COUNT: so many failing calls. bad: descriptors that are not open. narrow KEY: by int 0x80.
 */
export const ipcSource = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "narrow.h"
#include "uring.h"
static long say(const char *operation, long result)
{
	printf("%s %ld\\n", operation, result < 0 ? -(long)errno : result);
	fflush(stdout);
	return result;
}
struct message { long type; char text[32]; };
static void sysv(int key)
{
	struct message m = { 7, "hello" };
	struct sembuf operations[] = { { 2, 5, 0 }, { 2, -1, SEM_UNDO }, { 0, 0, IPC_NOWAIT } };
	struct shmid_ds about;
	int id;
	void *at;
	say("SHM_GET", shmget(key, 100, 0600));
	id = say("SHM_GET", shmget(key, 12345, IPC_CREAT | IPC_EXCL | 0640));
	at = shmat(id, NULL, SHM_RDONLY);
	say("SHM_ATTACH", at == (void *)-1 ? -1 : 0);
	say("SHM_CONTROL", shmctl(id, IPC_STAT, &about));
	fprintf(stderr, "");
	printf("segment %d %u %lu %d\\n", id, about.shm_perm.__key, about.shm_segsz, about.shm_cpid);
	say("SHM_DETACH", shmdt(at));
	say("SHM_DETACH", shmdt(at));
	say("SHM_CONTROL", shmctl(id, IPC_RMID, NULL));
	say("SHM_ATTACH", shmat(id, NULL, 0) == (void *)-1 ? -1 : 0);
	id = say("MSG_GET", msgget(key, IPC_CREAT | 0600));
	say("MSG_SEND", msgsnd(id, &m, 5, 0));
	m.type = 0;
	say("MSG_RECEIVE", msgrcv(id, &m, 32, 0, MSG_NOERROR));
	say("MSG_RECEIVE", msgrcv(id, &m, 32, 3, IPC_NOWAIT));
	say("MSG_CONTROL", msgctl(id, IPC_RMID, NULL));
	id = say("SEM_GET", semget(key, 3, IPC_CREAT | 0600));
	say("SEM_CONTROL", semctl(id, 1, SETVAL, 9));
	say("SEM_CONTROL", semctl(id, 1, GETVAL));
	say("SEM_OPERATE", semop(id, operations, 3));
	say("SEM_CONTROL", semctl(id, 0, IPC_RMID));
}
static void waits(void)
{
	int set = semget(IPC_PRIVATE, 1, 0600), queue = msgget(IPC_PRIVATE, 0600);
	struct sembuf take = { 0, -1, 0 };
	struct timespec limit = { 0, 200000000 };
	struct message m;
	printf("%d %d\\n", set, queue);
	say("SEM_OPERATE", semtimedop(set, &take, 1, &limit));
	semctl(set, 0, IPC_RMID);
	if (!fork()) { usleep(200000); _exit(msgctl(queue, IPC_RMID, NULL)); }
	say("MSG_RECEIVE", msgrcv(queue, &m, 32, 0, 0));
	wait(NULL);
}
static void mq(const char *name)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 64 };
	struct timespec soon;
	char text[64];
	unsigned priority;
	int fd;
	say("MQ_OPEN", mq_open(name, O_RDWR));
	fd = say("MQ_OPEN", mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr));
	say("MQ_SEND", mq_send(fd, "hello", 5, 3));
	say("MQ_RECEIVE", mq_receive(fd, text, 64, &priority));
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 200000000;
	if (soon.tv_nsec >= 1000000000) { soon.tv_nsec -= 1000000000; soon.tv_sec++; }
	say("MQ_RECEIVE", mq_timedreceive(fd, text, 64, NULL, &soon));
	say("MQ_NOTIFY", mq_notify(fd, &(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 }));
	say("MQ_NOTIFY", mq_notify(0, NULL));
	say("MQ_UNLINK", mq_unlink(name));
	say("MQ_UNLINK", mq_unlink(name));
}
static struct cmsghdr *put_fds(struct msghdr *h, struct cmsghdr *c, const int *fds, int n)
{
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	h->msg_controllen += CMSG_SPACE(n * sizeof(int));
	return (void *)c + CMSG_SPACE(n * sizeof(int));
}
static char control[2][256];
static struct iovec vec[2] = { { "x", 1 }, { "y", 1 } };
static char got[2];
static struct iovec into[2] = { { got, 1 }, { got + 1, 1 } };
static void say_fds(struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		for (int i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
			printf("received %d\\n", ((int *)CMSG_DATA(c))[i]);
}
static int pass(const char *how, const char *file)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(a.sun_family) + 20;
	struct mmsghdr h[2] = {};
	int s[2], fds[2], ends[2], uring = !strcmp(how, "uring"), many = !strcmp(how, "many"), n;
	int datagram = !strcmp(how, "datagram"), listener;
	fds[0] = open(file, O_RDONLY);
	if (pipe(ends)) return 2;
	fds[1] = ends[0];
	snprintf(a.sun_path + 1, 20, "ipc-%d", getpid());
	for (int i = 0; i < 2; i++) {
		h[i].msg_hdr.msg_control = control[i];
		h[i].msg_hdr.msg_iovlen = 1;
	}
	if (datagram) {
		s[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
		s[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
		if (bind(s[0], (void *)&a, size)) return 3;
	} else if (!strcmp(how, "connected")) {
		listener = socket(AF_UNIX, SOCK_STREAM, 0);
		if (bind(listener, (void *)&a, size) || listen(listener, 1)) return 3;
	} else if (socketpair(AF_UNIX, many ? SOCK_SEQPACKET : SOCK_STREAM, 0, s)) return 3;
	fflush(stdout);
	if (!fork()) {
		struct cmsghdr *next = (void *)control[0];
		if (!strcmp(how, "connected")) {
			s[1] = socket(AF_UNIX, SOCK_STREAM, 0);
			if (connect(s[1], (void *)&a, size)) _exit(4);
		}
		if (datagram) { h[0].msg_hdr.msg_name = &a; h[0].msg_hdr.msg_namelen = size; }
		h[0].msg_hdr.msg_iov = &vec[0];
		h[1].msg_hdr.msg_iov = &vec[1];
		if (many) {
			put_fds(&h[0].msg_hdr, (void *)control[0], &fds[0], 1);
			put_fds(&h[1].msg_hdr, (void *)control[1], &fds[1], 1);
		} else if (!strcmp(how, "twice")) {
			next = put_fds(&h[0].msg_hdr, next, &fds[0], 1);
			put_fds(&h[0].msg_hdr, next, &fds[1], 1);
		} else {
			put_fds(&h[0].msg_hdr, next, fds, 2);
		}
		if (uring) {
			if (set_up(8, 0)) _exit(5);
			n = go((struct io_uring_sqe){ .opcode = IORING_OP_SENDMSG, .fd = s[1], .addr = (long)&h[0].msg_hdr, .len = 1 });
		} else n = many ? sendmmsg(s[1], h, 2, 0) : sendmsg(s[1], &h[0].msg_hdr, MSG_NOSIGNAL);
		printf("sender %d %d %d %d\\n", getpid(), n, fds[0], fds[1]);
		fflush(stdout);
		_exit(n < 1);
	}
	if (!strcmp(how, "connected")) s[0] = accept(listener, NULL, NULL);
	if (datagram) s[1] = -1;
	wait(&n);
	if (n) return 6;
	for (int i = 0; i < 2; i++) { h[i].msg_hdr.msg_controllen = sizeof(control[i]); h[i].msg_hdr.msg_iov = &into[i]; }
	if (uring) {
		if (set_up(8, 0)) return 7;
		n = go((struct io_uring_sqe){ .opcode = IORING_OP_RECVMSG, .fd = s[0], .addr = (long)&h[0].msg_hdr, .len = 1 });
	} else n = many ? recvmmsg(s[0], h, 2, 0, NULL) : recvmsg(s[0], &h[0].msg_hdr, MSG_CMSG_CLOEXEC);
	printf("receiver %d %d\\n", getpid(), n);
	say_fds(&h[0].msg_hdr);
	if (many) say_fds(&h[1].msg_hdr);
	return n < 1;
}
static int attach(int key)
{
	int id = shmget(key, 4096, IPC_CREAT | 0600);
	printf("%d\\n", id);
	fflush(stdout);
	if (!fork()) { void *at = shmat(id, NULL, 0); printf("%d\\n", getpid()); fflush(stdout); shmdt(at); _exit(0); }
	wait(NULL);
	return shmctl(id, IPC_RMID, NULL);
}
static int bad(void)
{
	struct msghdr h = { .msg_control = control[0], .msg_iov = &vec[0], .msg_iovlen = 1 };
	int s[2], fds[2] = { 0, 999 };
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	put_fds(&h, (void *)control[0], fds, 2);
	return say("FD_SEND", sendmsg(s[0], &h, 0)) != -1;
}
static int narrow(int key)
{
	int id, *words = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	struct { int type; char text[8]; } *m = (void *)(words + 100);
	id = say("MSG_GET", old(117, 13, key, IPC_CREAT | 0600, 0, 0));
	m->type = 5;
	say("MSG_SEND", old(117, 11, id, 3, 0, (long)m));
	words[0] = (long)m;
	words[1] = 5;
	say("MSG_RECEIVE", old(117, 12, id, 8, 0, (long)words));
	say("MSG_CONTROL", old(117, 14, id, IPC_RMID | 0x100, 0, 0));
	return 0;
}
/* 20 messages, each of which carries one descriptor behind very many control messages that are none of the kernel's. */
static void padded(void)
{
	enum { MESSAGES = 20, PADDING = 8000 };
	static char control[PADDING * CMSG_SPACE(0) + CMSG_SPACE(sizeof(int))];
	struct cmsghdr *c = (void *)control;
	struct mmsghdr h[MESSAGES] = {};
	int s[2];
	for (int i = 0; i < PADDING; i++, c = (void *)c + CMSG_SPACE(0)) {
		c->cmsg_len = CMSG_LEN(0);
		c->cmsg_level = 12345;
	}
	c->cmsg_len = CMSG_LEN(sizeof(int));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	for (int i = 0; i < MESSAGES; i++) {
		h[i].msg_hdr.msg_iov = &vec[0];
		h[i].msg_hdr.msg_iovlen = 1;
		h[i].msg_hdr.msg_control = control;
		h[i].msg_hdr.msg_controllen = sizeof(control);
	}
	if (!socketpair(AF_UNIX, SOCK_STREAM, 0, s)) printf("sent %d\\n", sendmmsg(s[1], h, MESSAGES, 0));
}
/* The message is where the process has never looked: its page comes when the kernel reads it. */
static void unread(void)
{
	struct msghdr h = { .msg_iov = &vec[0], .msg_iovlen = 1, .msg_control = control[0] };
	struct msghdr in = { .msg_iov = into, .msg_iovlen = 1, .msg_control = control[1], .msg_controllen = sizeof(control[1]) };
	int s[2], file = memfd_create("message", 0);
	put_fds(&h, (void *)control[0], &file, 1);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s) || write(file, &h, sizeof(h)) != sizeof(h)) return;
	printf("%d ", (int)sendmsg(s[1], mmap(0, sizeof(h), PROT_READ, MAP_PRIVATE, file, 0), 0));
	printf("%d\\n", (int)recvmsg(s[0], &in, 0));
}
int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(argv[1], "sysv")) sysv(atoi(argv[2]));
	else if (!strcmp(argv[1], "wait")) waits();
	else if (!strcmp(argv[1], "mq")) mq(argv[2]);
	else if (!strcmp(argv[1], "pass")) return pass(argv[2], argv[3]);
	else if (!strcmp(argv[1], "attach")) return attach(atoi(argv[2]));
	else if (!strcmp(argv[1], "bad")) return bad();
	else if (!strcmp(argv[1], "padded")) padded();
	else if (!strcmp(argv[1], "unread")) unread();
	else if (!strcmp(argv[1], "narrow")) return narrow(atoi(argv[2]));
	else if (!strcmp(argv[1], "flood")) for (int i = atoi(argv[2]); i > 0; i--) msgget(0x7fffff01, 0);
	return 0;
}
`;
