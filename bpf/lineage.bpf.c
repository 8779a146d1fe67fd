/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * lineage: one event for each process that is forked, executes a program, is renamed or ends, so that user space has a table of
 * processes with their parents. Threads are left out. Not a tracker: the table of processes reads it (src/graph/).
 */
#include "eunomia.bpf.h"
#include "argv.bpf.h"
#include "last_thread.bpf.h"
#include "path.bpf.h"
#include "task.bpf.h"

enum lineage_step {
	LINEAGE_STEP_FORK = 1,
	LINEAGE_STEP_EXEC,
	LINEAGE_STEP_RENAME,
	LINEAGE_STEP_EXIT,
} __attribute__((packed));

struct lineage_event {
	struct eu_header header; /* of the process, after the step; tid is not told */
	__u64 parent_start_ns;   /* start_boottime of the process `ppid` */
	__s32 exit_code;         /* of EXIT, as wait(2) has it */
	enum lineage_step step;
	enum eu_path_state executable_state;
	enum eu_path_state cwd_state;
	bool executable_deleted;
	eu_str executable; /* of EXEC, as all that follows */
	eu_str cwd;
	eu_strs args;
	bool cwd_deleted;
	bool args_truncated;
	__u8 reserved[2];
};
EU_EVENT(lineage);

EU_SCRATCH(lineage);

/* The table keeps so much of argv. */
#define ARGS_MAX 4095

static __always_inline void fill(struct lineage_event *event, struct task_struct *task, enum lineage_step step)
{
	eu_fill_at(&event->header, eu_address(task));
	event->parent_start_ns = BPF_CORE_READ(task, real_parent, group_leader, start_boottime);
	event->exit_code = 0;
	event->step = step;
	event->executable_state = event->cwd_state = 0;
	event->executable_deleted = event->cwd_deleted = event->args_truncated = false;
	event->executable = event->cwd = event->args = 0;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(lineage_fork, struct task_struct *parent, struct task_struct *child)
{
	struct lineage_event *event;

	if (child->pid != child->tgid)
		return 0; /* a thread */
	event = eu_reserve(struct lineage_event);
	if (!event)
		return 0;
	fill(event, child, LINEAGE_STEP_FORK);
	eu_submit(event);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(lineage_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct lineage_event *event;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct file *file = BPF_CORE_READ(mm, exe_file);
	struct eu_path executable, cwd;
	struct eu_area *area;
	__u32 size = sizeof(*event);

	area = eu_scratch(lineage);
	if (!area)
		return 0;
	event = (void *)area;
	fill(event, task, LINEAGE_STEP_EXEC);
	executable = eu_put_path(area, &size, &file->f_path, true);
	event->executable = executable.text;
	event->executable_state = executable.state;
	event->executable_deleted = executable.deleted;
	cwd = eu_put_path(area, &size, &fs->pwd, true);
	event->cwd = cwd.text;
	event->cwd_state = cwd.state;
	event->cwd_deleted = cwd.deleted;

	event->args = eu_put_argv(area, &size, mm, ARGS_MAX, &event->args_truncated);
	eu_output(area, size);
	return 0;
}

/* By prctl or /proc/PID/comm, of its first thread: that is what a process is called. An exec tells the name it gives. */
SEC("tp_btf/task_rename")
int BPF_PROG(lineage_rename, struct task_struct *task, const char *comm)
{
	struct lineage_event *event;

	if (task->pid != task->tgid || BPF_CORE_READ_BITFIELD_PROBED(task, in_execve))
		return 0;
	event = eu_reserve(struct lineage_event);
	if (!event)
		return 0;
	fill(event, task, LINEAGE_STEP_RENAME);
	__builtin_memset(event->header.comm, 0, EU_COMM_LEN);
	bpf_probe_read_kernel_str(event->header.comm, EU_COMM_LEN, comm);
	eu_submit(event);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(lineage_exit, struct task_struct *task)
{
	struct task_struct *leader = eu_far(task)->group_leader;
	struct lineage_event *event;

	if (!eu_is_last(ctx, task, leader->start_boottime))
		return 0;
	event = eu_reserve(struct lineage_event);
	if (!event)
		return 0;
	fill(event, task, LINEAGE_STEP_EXIT);
	BPF_CORE_READ_INTO(&event->header.comm, leader, comm);
	event->exit_code = eu_exit_code(task);
	eu_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
