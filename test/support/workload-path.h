/*
 * Files without an ordinary path. Included by workload.c. Each case prints the descriptor, or -errno, of the open that
 * the test looks for.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#define NR_open_tree 428
#define NR_fsopen 430
#define NR_fsconfig 431
#define NR_fsmount 432
#define OPEN_TREE_CLONE 1

static long report(long value)
{
	value = result(value);
	printf("%ld\n", value);
	fflush(stdout);
	return value;
}

static int copy(const char *from, int to)
{
	char buffer[65536];
	int in = open(from, O_RDONLY);
	ssize_t n;

	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(to, buffer, n) != n)
			return -1;
	return close(in);
}

static int detached(const char *path)
{
	return syscall(NR_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE);
}

/* Runs what a descriptor stands for. */
static void execute(int fd)
{
	char *argv[] = { "program", "exit", "0", NULL };

	syscall(SYS_execveat, fd, "", argv, (char *[]){ NULL }, AT_EMPTY_PATH);
	report(-1);
}

/* A directory below FOLDER so deep that its path has more than 4095 bytes; the working directory is there then. */
static void go_deep(const char *folder)
{
	char name[201];

	memset(name, 'd', 200);
	name[200] = 0;
	if (chdir(folder))
		return;
	for (int i = 0; i < 25; i++) {
		mkdir(name, 0755);
		if (chdir(name))
			return;
	}
}

static void *replace_path(void *buffer)
{
	usleep(30000); /* until the open below waits for a writer */
	strcpy(buffer, "/innocent");
	open((char *)buffer + 256, O_WRONLY);
	return NULL;
}

static int path_case(const char *what, const char *argument)
{
	char path[4096];

	if (is(what, "detached")) /* DIRECTORY: opens DIRECTORY/file through a detached clone of DIRECTORY */
		return report(openat(detached(argument), "file", O_RDONLY)) < 0;
	if (is(what, "detached-cwd")) { /* DIRECTORY: runs /bin/true with the clone as working directory */
		if (fchdir(detached(argument)))
			return 1;
		return execl("/bin/true", "true", NULL);
	}
	if (is(what, "detached-exec")) /* FILE */
		execute(detached(argument));
	if (is(what, "fsmount")) { /* NAME: makes a file of this name on a new tmpfs that is mounted nowhere */
		int context = syscall(NR_fsopen, "tmpfs", 0), mount;

		syscall(NR_fsconfig, context, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0);
		mount = syscall(NR_fsmount, context, 0, 0);
		return report(openat(mount, argument, O_CREAT | O_WRONLY, 0600)) < 0;
	}
	if (is(what, "unmounted")) { /* DIRECTORY: opens a file of a tmpfs on it that was unmounted lazily */
		int directory;

		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("none", argument, "tmpfs", 0, NULL))
			return report(-1) < 0;
		directory = open(argument, O_RDONLY | O_DIRECTORY);
		umount2(argument, MNT_DETACH);
		return report(openat(directory, "file", O_CREAT | O_WRONLY, 0600)) < 0;
	}
	if (is(what,
	       "escaped")) { /* DIRECTORY: opens a file that was moved out of the directory that a bind mount shows */
		char from[4096], to[4096];
		int directory;

		snprintf(from, sizeof(from), "%s/inside", argument);
		snprintf(path, sizeof(path), "%s/mount", argument);
		mkdir(from, 0755);
		mkdir(path, 0755);
		snprintf(to, sizeof(to), "%s/inside/moved", argument);
		mkdir(to, 0755);
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount(from, path, NULL, MS_BIND, NULL))
			return report(-1) < 0;
		snprintf(from, sizeof(from), "%s/mount/moved", argument);
		directory = open(from, O_RDONLY | O_DIRECTORY);
		snprintf(from, sizeof(from), "%s/outside", argument);
		if (rename(to, from))
			return report(-1) < 0;
		return report(openat(directory, "file", O_CREAT | O_WRONLY, 0600)) < 0;
	}
	if (is(what,
	       "other-namespace")) { /* FILE: opens it through /proc/PID/root of a child in a mount namespace of its own */
		int ready[2], n;
		pid_t child;
		char byte;

		if (pipe(ready))
			return 1;
		child = fork();
		if (!child) {
			unshare(CLONE_NEWNS);
			n = write(ready[1], "x", 1);
			pause();
			_exit(n);
		}
		n = read(ready[0], &byte, 1);
		snprintf(path, sizeof(path), "/proc/%d/root%s", child, argument);
		n = report(open(path, O_RDONLY));
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		return n < 0;
	}
	if (is(what, "chroot")) { /* DIRECTORY: opens /file below it */
		if (chroot(argument) || chdir("/"))
			return report(-1) < 0;
		return report(open("/file", O_RDONLY)) < 0;
	}
	if (is(what, "pivot-root")) { /* DIRECTORY: makes a tmpfs there the root and opens /file in it */
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("none", argument, "tmpfs", 0, NULL) || chdir(argument))
			return report(-1) < 0;
		if (syscall(SYS_pivot_root, ".", ".") &&
		    (mount(".", "/", NULL, MS_MOVE, NULL) || chroot("."))) /* an initramfs cannot be pivoted */
			return report(-1) < 0;
		umount2(".", MNT_DETACH);
		if (chdir("/"))
			return report(-1) < 0;
		return report(open("/file", O_CREAT | O_WRONLY, 0600)) < 0;
	}
	if (is(what, "memfd")) { /* NAME: makes one, and opens it once more */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", (int)syscall(SYS_memfd_create, argument, 0));
		return report(open(path, O_RDONLY)) < 0;
	}
	if (is(what, "memfd-exec")) { /* FILE: runs a copy of it in memory */
		int fd = syscall(SYS_memfd_create, "hidden", MFD_CLOEXEC);

		if (copy(argument, fd))
			return 1;
		execute(fd);
	}
	if (is(what, "deleted-exec")) { /* FILE: runs it once it has no name any more */
		int fd = open(argument, O_PATH | O_CLOEXEC);

		unlink(argument);
		execute(fd);
	}
	if (is(what, "pipe")) {
		int ends[2];

		if (pipe(ends))
			return 1;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
		return report(open(path, O_RDONLY)) < 0;
	}
	if (is(what, "deep")) { /* DIRECTORY */
		go_deep(argument);
		return report(open("leaf", O_CREAT | O_WRONLY, 0600)) < 0;
	}
	if (is(what, "deep-exec")) {
		go_deep(argument);
		return execl("/bin/true", "true", NULL);
	}
	if (is(what, "relative")) { /* DIRECTORY: fails to open and to execute what is not in it */
		int directory = open(argument, O_RDONLY | O_DIRECTORY);

		report(openat(directory, "no-such", O_RDONLY));
		report(openat(directory, "/no-such/absolute", O_RDONLY));
		report(openat(9999, "no-such/descriptor", O_RDONLY));
		report(openat(directory, (char *)8, O_RDONLY));
		syscall(SYS_execveat, directory, "no-such-program", (char *[]){ "x", NULL }, (char *[]){ NULL }, 0);
		report(-1);
		if (chdir(argument))
			return 1;
		execl("./no-such-either", "x", NULL);
		report(-1);
		return report(open("no-such-here", O_RDONLY)) >= 0;
	}
	if (is(what, "replaced")) { /* FIFO: its path is another one when the open ends */
		static char buffer[512];
		pthread_t thread;
		int fd;

		strcpy(buffer, argument);
		strcpy(buffer + 256, argument);
		pthread_create(&thread, NULL, replace_path, buffer);
		fd = syscall(SYS_openat, AT_FDCWD, buffer, O_RDONLY, 0);
		pthread_join(thread, NULL);
		return report(fd) < 0;
	}
	if (is(what,
	       "openat2")) { /* PATH: with flags beyond 32 bits, with resolve flags, with a `how` that cannot be read */
		struct open_how how = { .flags = 1ULL << 40 | O_PATH };

		report(syscall(SYS_openat2, AT_FDCWD, argument, &how, sizeof(how)));
		how.flags = O_PATH | O_NOFOLLOW;
		how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
		report(syscall(SYS_openat2, AT_FDCWD, argument, &how, sizeof(how)));
		how.resolve = 1ULL << 45;
		report(syscall(SYS_openat2, AT_FDCWD, argument, &how, sizeof(how)));
		report(syscall(SYS_openat2, AT_FDCWD, argument, 8, sizeof(how)));
		return 0;
	}
	return 2;
}
