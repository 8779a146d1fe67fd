/* Mounts, in a mount namespace of its own. Prints each call's result, or -errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "narrow.h"
#define DO(call)                                            \
	({                                                  \
		long r_ = call;                             \
		printf("%ld ", r_ < 0 ? (long)-errno : r_); \
		r_;                                         \
	})
struct attributes {
	unsigned long long set, cleared, propagation, userns;
};
static int is(const char *a, const char *b)
{
	return !strcmp(a, b);
}
static long move_mount_(int from, const char *a, int to, const char *b, int flags)
{
	return syscall(429, from, a, to, b, flags);
}
static long setattr_(int fd, const char *path, int flags, struct attributes *a)
{
	return syscall(442, fd, path, flags, a, sizeof(*a));
}
static int new_tmpfs(const char *name)
{
	int fs = syscall(430, "tmpfs", 0);
	syscall(431, fs, 1, "source", name, 0);
	syscall(431, fs, 6, NULL, NULL, 0);
	return syscall(432, fs, 0, 0);
}
int main(int argc, char **argv)
{
	const char *names[] = { "a", "b", "c", "d", "root", "root/old" };
	struct attributes set = { .set = 0x1 | 0x8, .propagation = 1 << 20 }, clear = { .cleared = 0x8 };
	char text[64];
	int fd;
	if (is(argv[1], "burst")) { /* COUNT PROCESSES: none succeeds */
		for (int i = 0; i < atoi(argv[3]); i++)
			if (!fork()) {
				for (int n = 0; n < atoi(argv[2]); n++)
					umount2("/no/such/mount", 0);
				_exit(0);
			}
		while (wait(NULL) > 0)
			;
		return 0;
	}
	if (unshare(CLONE_NEWNS) || chdir(argv[2]))
		return 3;
	for (int i = 0; i < 6; i++)
		mkdir(names[i], 0755);
	DO(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	if (is(argv[1], "plain")) {
		DO(mount("mine", "a", "tmpfs", MS_NOSUID | MS_NODEV, "size=1M"));
		DO(mount("a", "b", NULL, MS_BIND, NULL));
		DO(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID, "size=2M"));
		DO(mount("b", "c", NULL, MS_MOVE, NULL));
		snprintf(text, sizeof(text), "/proc/self/fd/%d", open("b", O_PATH));
		DO(mount("via", text, "tmpfs", 0xc0ed0000UL | MS_RDONLY, NULL));
		DO(umount2("b", MNT_DETACH | UMOUNT_NOFOLLOW));
		DO(umount2("nowhere", 0));
		DO(mount("x", "a", "nosuchfs", 0, NULL));
		DO(mount("x", (void *)8, "tmpfs", 0, NULL));
		DO(mount("root", "root", NULL, MS_BIND, NULL));
		DO(syscall(SYS_pivot_root, "root", "root/old"));
	} else if (is(argv[1], "new")) {
		DO(move_mount_(new_tmpfs("fresh"), "", AT_FDCWD, "b", 4));
		DO(setattr_(AT_FDCWD, "b", 0x8000, &set));
		fd = open("b", O_PATH);
		DO(setattr_(fd, "", 0x1000, &clear));
		DO(setattr_(AT_FDCWD, "b", 0, (void *)8));
		fd = open("c", O_PATH);
		DO(move_mount_(syscall(428, AT_FDCWD, "b", 1), "", fd, "", 0x44));
		DO(move_mount_(AT_FDCWD, "c", AT_FDCWD, "d", 0));
#ifdef __x86_64__
	} else if (is(argv[1], "compat")) {
		char *low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		strcpy(low, "a");
		DO(mount("mine", "a", "tmpfs", 0, NULL));
		DO(old(22, (long)low, -1));
		DO(mount("mine", "a", "tmpfs", 0, NULL));
		DO(old(52, (long)low, MNT_DETACH));
#endif
	}
	return 0;
}
