/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Programs that are executed, and attempts that fail. As libbpf-tools' execsnoop has it, the record is put together in per-CPU memory, and
 * as much of it is copied into the ring as there are arguments.
 */
#include "peer.bpf.h"

#define ARGS_MAX 8192
#define ARGS_OF_FAILED 60 /* as many as execsnoop reads */

/* What descriptor 0 is */
enum kind {
	CLOSED = 1,
	REGULAR,
	DEVICE,
	TERMINAL,
	PIPE,
	INET_SOCKET,
	UNIX_SOCKET,
	OTHER,
};

struct record {
	struct facts facts;
	__s32 error;
	__u32 pid_ns, net_ns, stdin;
	char parent_comm[16], filename[TEXT];
	struct path_text executable, cwd, directory;
	__u32 args_truncated, args_size;
	char args[2 * ARGS_MAX]; /* twice, so that the verifier believes in a masked length */
};
RECORD(record);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct record);
} scratch SEC(".maps");

static __always_inline __u32 kind_of(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_path.dentry, d_inode);
	__u32 major = BPF_CORE_READ(inode, i_rdev) >> 20;
	struct socket *socket;
	__u16 family;

	if (!file)
		return CLOSED;
	switch (BPF_CORE_READ(inode, i_mode) & 0170000) {
	case 0100000:
	case 0040000: return REGULAR;
	case 0010000: return PIPE;
	case 0060000: return DEVICE;
	case 0020000: return major == 4 || major == 5 || (major >= 136 && major < 144) ? TERMINAL : DEVICE;
	case 0140000:
		socket = BPF_CORE_READ(file, private_data);
		family = BPF_CORE_READ(socket, sk, __sk_common.skc_family);
		return family == AF_INET || family == AF_INET6 ? INET_SOCKET : family == AF_UNIX ? UNIX_SOCKET : OTHER;
	}
	return OTHER;
}

static __always_inline __u32 pid_ns_of(struct task_struct *task)
{
	struct pid *pid = task->thread_pid;
	struct upid *last = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			    BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(last, ns, ns.inum);
}

static __always_inline struct record *begin(struct task_struct *task, long ret)
{
	struct record *record;
	__u32 zero = 0;

	record = bpf_map_lookup_elem(&scratch, &zero);
	if (!record)
		return NULL;
	fill(&record->facts);
	record->error = error_of(ret);
	record->pid_ns = pid_ns_of(task);
	record->net_ns = task->nsproxy->net_ns->ns.inum;
	BPF_CORE_READ_INTO(&record->parent_comm, task, real_parent, group_leader, comm);
	put_path(&record->cwd, &task->fs->pwd);
	no_path(&record->executable);
	no_path(&record->directory);
	record->stdin = 0;
	record->args_truncated = record->args_size = 0;
	return record;
}

static __always_inline void output(struct record *record)
{
	if (bpf_ringbuf_output(&ring, record, offsetof(struct record, args) + (record->args_size & (ARGS_MAX - 1)),
			       BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&lost, 1);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_done, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct record *record;
	unsigned long length;

	if (!wanted())
		return 0;
	record = begin(task, 0);
	if (!record)
		return 0;
	bpf_probe_read_kernel_str(record->filename, TEXT, bprm->filename);
	put_path(&record->executable, &task->mm->exe_file->f_path);
	record->stdin = kind_of(file_of(0));
	length = task->mm->arg_end - task->mm->arg_start;
	if (length > ARGS_MAX - 1) {
		length = ARGS_MAX - 1;
		record->args_truncated = 1;
	}
	if (!bpf_probe_read_user(record->args, length & (ARGS_MAX - 1), (void *)task->mm->arg_start))
		record->args_size = length;
	output(record);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exec_failed, struct pt_regs *regs, long ret)
{
	const char *const *argv, *arg;
	struct record *record;
	__s32 directory = AT_FDCWD;
	__u32 size = 0;

	if (ret >= 0 || (NR(regs) != __NR_execve && NR(regs) != __NR_execveat) || !wanted())
		return 0;
	record = begin(bpf_get_current_task_btf(), ret);
	if (!record)
		return 0;
	if (NR(regs) == __NR_execve) {
		read_text(record->filename, (void *)ARG1(regs));
		argv = (void *)ARG2(regs);
	} else {
		directory = ARG1(regs);
		read_text(record->filename, (void *)ARG2(regs));
		argv = (void *)ARG3(regs);
	}
	put_directory(&record->directory, record->filename, directory);
	for (int i = 0; i < ARGS_OF_FAILED; i++) {
		long n;

		if (bpf_probe_read_user(&arg, sizeof(arg), argv + i) || !arg)
			break;
		n = bpf_probe_read_user_str(record->args + (size & (ARGS_MAX - 1)), ARGS_MAX, arg);
		if (n < 0 || size + n > ARGS_MAX - 1) {
			record->args_truncated = 1;
			break;
		}
		size += n;
	}
	record->args_size = size;
	output(record);
	return 0;
}
