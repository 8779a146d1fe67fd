/*
 * Uses of privileges, a subcommand a kind. Each call is a line: its result, or -errno, and then what /proc tells of the process, as
 * "Uid|Gid|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|" and the numbers of its namespaces. The first line is of the start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "narrow.h"

static int is(const char *a, const char *b)
{
	return !strcmp(a, b);
}

static void print_line(long result)
{
	static const char *keys[] = { "Uid",    "Gid",    "CapInh",     "CapPrm", "CapEff",
				      "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp" };
	static const char *spaces[] = { "user", "mnt", "pid_for_children", "net",
					"uts",  "ipc", "cgroup",           "time_for_children" };
	char text[8192] = "", path[64], link[64];
	int fd = open("/proc/thread-self/status", O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	close(fd);
	printf("%ld", result);
	for (int i = 0; n > 0 && i < 9; i++) {
		char key[32], *at;

		snprintf(key, sizeof(key), "\n%s:\t", keys[i]);
		at = strstr(text, key);
		if (at)
			printf("|%.*s", (int)strcspn(at + strlen(key), "\n"), at + strlen(key));
	}
	for (int i = 0; n > 0 && i < 8; i++) {
		snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", spaces[i]);
		n = readlink(path, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = 0;
		printf("|%s", n > 0 ? strchr(link, '[') + 1 : "");
	}
	printf("\n");
	fflush(stdout);
}

#define DO(call)                                            \
	({                                                  \
		long result_ = (call);                      \
		print_line(result_ < 0 ? -errno : result_); \
		result_;                                    \
	})

static void ids(void)
{
	DO(syscall(SYS_setgroups, 0, NULL));
	DO(syscall(SYS_setresgid, 1000, -1, 1001));
	DO(syscall(SYS_setfsgid, 78));
	DO(syscall(SYS_setregid, -1, 1001));
	DO(syscall(SYS_setgid, 1002));
	DO(syscall(SYS_setfsuid, 77));
	DO(syscall(SYS_setreuid, 1000, -1));
	DO(syscall(SYS_setresuid, -1, 1001, -1)); /* effective capabilities go */
	DO(syscall(SYS_setresuid, -1, 0, -1));    /* and come back */
	DO(syscall(SYS_setuid, 1002));            /* for good */
	DO(syscall(SYS_setuid, 0));
}

static void caps(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { { .effective = 1 << CAP_CHOWN | 1 << CAP_NET_ADMIN,
						    .permitted = 1 << CAP_CHOWN | 1 << CAP_NET_ADMIN | 1 << CAP_SETPCAP,
						    .inheritable = 1 << CAP_NET_ADMIN },
						  { .permitted = 1 << (CAP_BPF - 32) } };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = 4, .filter = code };

	prctl(PR_SET_NAME, "privileged"); /* no event */
	DO(prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0));
	DO(prctl(PR_SET_SECUREBITS, 1 << 4 | 1 << 2, 0, 0, 0)); /* KEEP_CAPS, NO_SETUID_FIXUP */
	DO(syscall(SYS_capset, &head, sets));
	DO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0));
	DO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0)); /* not permitted */
	DO(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	DO(syscall(SYS_capset, &head, (void *)8));
	DO(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	DO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	DO(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &filter));
	DO(syscall(SYS_unshare, CLONE_NEWUTS)); /* seccomp refuses it: the call has no entry */
}

static long spawn(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		_exit(0);
	return pid;
}

static long spawn3(unsigned long flags)
{
	unsigned long args[11] = { flags, 0, 0, 0, SIGCHLD };
	long pid = syscall(SYS_clone3, args, sizeof(args));

	if (!pid)
		_exit(0);
	return pid;
}

static const char *parent_uts(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/uts", getppid());
	return path;
}

static void namespaces(void)
{
	DO(syscall(SYS_unshare, CLONE_NEWUTS | CLONE_NEWIPC));
	DO(syscall(SYS_unshare, 1));
	DO(syscall(SYS_unshare, CLONE_FILES));
	DO(syscall(SYS_setns, open(parent_uts(), O_RDONLY), CLONE_NEWUTS));
	DO(syscall(SYS_setns, syscall(SYS_pidfd_open, getppid(), 0), CLONE_NEWIPC));
	DO(syscall(SYS_setns, -1, CLONE_NEWNET));
	if (!fork()) /* no event: no new namespace */
		_exit(0);
	DO(spawn(CLONE_NEWUSER | CLONE_NEWPID));
	DO(spawn(CLONE_NEWNS | CLONE_FS));
	DO(spawn3(CLONE_NEWNET | CLONE_NEWCGROUP));
	DO(spawn3(CLONE_NEWNS | CLONE_FS));
	DO(syscall(SYS_unshare, CLONE_NEWUSER));
	while (wait(NULL) > 0)
		;
}

static void root(const char *folder)
{
	if (chdir(folder) || mkdir("below", 0755))
		exit(3);
	DO(syscall(SYS_chroot, "nowhere"));
	DO(syscall(SYS_pivot_root, "below", "below/old"));
	DO(syscall(SYS_chroot, "below"));
}

static volatile long watched = 0x1234;

static void trace(void)
{
	struct iovec local, remote = { (void *)&watched, sizeof(watched) };
	long word = 0x5678;
	int status;
	pid_t child = fork();

	if (!child)
		for (;;)
			pause();
	local = (struct iovec){ &word, sizeof(word) };
	DO(syscall(SYS_process_vm_writev, child, &local, 1UL, &remote, 1UL, 0UL));
	DO(syscall(SYS_process_vm_readv, child, &local, 1UL, &remote, 1UL, 0UL));
	DO(syscall(SYS_process_vm_readv, 4000000, &local, 1UL, &remote, 1UL, 0UL));
	DO(syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, child, 0), 1, 0));
	DO(ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC));
	ptrace(PTRACE_INTERRUPT, child, 0, 0); /* routine, as are PEEKDATA and CONT */
	waitpid(child, &status, 0);
	errno = 0;
	ptrace(PTRACE_PEEKDATA, child, &watched, 0);
	DO(ptrace(PTRACE_POKEDATA, child, &watched, 1));
	DO(ptrace(PTRACE_DETACH, child, 0, SIGUSR1));
	DO(ptrace(PTRACE_ATTACH, 4000000, 0, 0));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	child = fork();
	if (!child) {
		DO(ptrace(PTRACE_TRACEME, 0, 0, 0));
		_exit(0);
	}
	waitpid(child, &status, 0);
}

static void rest(void)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 3, .map_name = "counts"
	};
	struct bpf_insn exits[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0 },
				    { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr program = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
				   .insns = (unsigned long)exits,
				   .insn_cnt = 2,
				   .license = (unsigned long)"GPL",
				   .prog_name = "nothing" };
	union bpf_attr pin = { .pathname = (unsigned long)"/no/such/pin" };
	struct perf_event_attr counter = { .type = PERF_TYPE_SOFTWARE,
					   .size = sizeof(counter),
					   .config = PERF_COUNT_SW_CPU_CLOCK };

	DO(syscall(SYS_memfd_create, "secret", 1 | 2));
	DO(syscall(SYS_memfd_create, (void *)8, 0));
	DO(syscall(SYS_userfaultfd, 1 | O_CLOEXEC));
	DO(syscall(SYS_keyctl, 1, "eunomia-ring"));
	DO(syscall(SYS_add_key, "user", "eunomia:key", ".", 1UL, -3));
	DO(syscall(SYS_request_key, "user", "eunomia:none", NULL, 0));
	DO(syscall(SYS_keyctl, 7, -3));
	DO(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map)));
	DO(syscall(SYS_bpf, BPF_PROG_LOAD, &program, sizeof(program)));
	DO(syscall(SYS_bpf, BPF_OBJ_GET, &pin, sizeof(pin)));
	DO(syscall(SYS_init_module, "", 0UL, "a=1"));
	DO(syscall(SYS_finit_module, open("/etc/hostname", O_RDONLY), "b=2", 1));
	DO(syscall(SYS_delete_module, "no_such_module", O_NONBLOCK));
	DO(syscall(SYS_kexec_load, 0UL, 0UL, NULL, 1UL << 20));
	DO(syscall(SYS_kexec_file_load, -1, -1, 4UL, "run", 1UL << 20));
	DO(syscall(SYS_perf_event_open, &counter, getppid(), -1, -1, 8UL));
#ifdef __x86_64__
	DO(syscall(SYS_iopl, 0));
	DO(syscall(SYS_ioperm, 0UL, 1UL, 0));
#endif
}

#ifdef __x86_64__
static void compat(void)
{
	DO(old(310, CLONE_NEWUTS, 0, 0)); /* unshare */
	DO(old(172, PR_CAPBSET_DROP, CAP_SYS_BOOT, 0));
	DO(old(208, -1, 1000, -1));  /* setresuid32 */
	DO(old(164, -1, 0, 0xffff)); /* setresuid, of 16 bits */
	DO(old(26, 16, 4000000, 0)); /* ptrace */
}
#endif

/* enter PID: joins the pid namespace of a process by its descriptor; trace PID: attaches to it, and lets it go. */
static void other(const char *what, pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	if (is(what, "enter")) {
		DO(syscall(SYS_setns, open(path, O_RDONLY), CLONE_NEWPID));
	} else {
		DO(ptrace(PTRACE_SEIZE, pid, 0, 0));
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (is(what, "burst")) { /* COUNT PROCESSES: none succeeds */
		for (int i = 0; i < atoi(argv[3]); i++)
			if (!fork()) {
				for (int n = 0; n < atoi(argv[2]); n++)
					syscall(SYS_unshare, 1);
				_exit(0);
			}
		while (wait(NULL) > 0)
			;
		return 0;
	}
	print_line(0);
	if (is(what, "ids"))
		ids();
	else if (is(what, "caps"))
		caps();
	else if (is(what, "namespaces"))
		namespaces();
	else if (is(what, "root"))
		root(argv[2]);
	else if (is(what, "trace"))
		trace();
	else if (is(what, "rest"))
		rest();
	else if (argc > 2 && (is(what, "enter") || is(what, "seize")))
		other(what, atoi(argv[2]));
#ifdef __x86_64__
	else if (is(what, "compat"))
		compat();
#endif
	else
		return 2;
	return 0;
}
