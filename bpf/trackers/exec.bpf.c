/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* exec: one event for each execve and execveat, at its end: successful ones in the new image, failed ones in the old. */
#include "eunomia.bpf.h"
#include "argv.bpf.h"
#include "compat.bpf.h"
#include "descriptor_kind.bpf.h"
#include "path.bpf.h"

enum exec_capture {
	EXEC_CAPTURE_FILENAME,
	EXEC_CAPTURE_EXECUTABLE,
	EXEC_CAPTURE_ARGS,
	EXEC_CAPTURE_CWD,
	EXEC_CAPTURE_PARENT_COMM,
	EXEC_CAPTURE_PID_NS,
	EXEC_CAPTURE_NET_NS,
	EXEC_CAPTURE_EXECUTABLE_STATE,
	EXEC_CAPTURE_CWD_STATE,
	EXEC_CAPTURE_DIRECTORY,
	EXEC_CAPTURE_STDIN,
};

struct exec_event {
	struct eu_header header;
	eu_errno errno;
	__u32 pid_ns; /* 0 when not captured, like net_ns */
	__u32 net_ns;
	eu_str parent_comm;
	bool args_truncated; /* argv is longer than 32767 bytes, or part of it could not be read */
	enum eu_path_state executable_state;
	bool executable_deleted; /* known where executable_state is */
	enum eu_path_state cwd_state;
	bool cwd_deleted;              /* known where cwd_state is */
	enum eu_descriptor_kind stdin; /* of the new image; 0: not captured, or the exec failed */
	__u8 reserved[2];
	eu_str filename;   /* as the caller passed it; of a successful execveat, the kernel's "/dev/fd/N/…" */
	eu_str executable; /* of a script, its interpreter; null when the exec failed */
	eu_str cwd;
	eu_str directory; /* where a relative `filename` starts, of an exec that failed */
	eu_strs args;
};
EU_EVENT(exec);
EU_CAPTURES(exec);

EU_SCRATCH(exec);

EU_WHERE_NUMBER(errno);
EU_WHERE_TEXT(filename);
EU_WHERE_TEXT(executable);

#define ARGS_MAX (EU_ARGS_MAX - 1)

const volatile bool failed = true; /* option: failed execs too */

/* Of the process itself: nsproxy has that of its future children, which unshare(2) changes alone. */
static __always_inline __u32 pid_ns(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *last =
		(void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(last, ns, ns.inum);
}

static __always_inline void fill_exec(struct exec_event *event, long ret)
{
	eu_fill(&event->header);
	event->errno = ret;
	event->pid_ns = event->net_ns = 0;
	event->args_truncated = false;
	event->executable_state = event->cwd_state = 0;
	event->executable_deleted = event->cwd_deleted = false;
	event->stdin = 0;
	event->reserved[0] = event->reserved[1] = 0;
	event->parent_comm = event->filename = event->executable = event->cwd = event->directory = event->args = 0;
}

/* Nobody asks for more than the header and whether it failed: a record of a known size is written where the reader finds it. */
static __always_inline bool is_bare(void)
{
	return !eu_control.capture && !(eu_where && (eu_where_filename || eu_where_executable));
}

static __always_inline void output_bare(long ret)
{
	struct exec_event *event = eu_reserve(struct exec_event);

	if (!event)
		return;
	fill_exec(event, ret);
	eu_submit(event);
}

/* What is asked for of all that successful and failed ones have alike; the filename comes first, for the filter may end it there. */
static __always_inline void put_common(struct eu_area *area, __u32 *size, struct task_struct *task)
{
	struct exec_event *event = (void *)area;

	if (eu_captures(EXEC_CAPTURE_PARENT_COMM)) {
		struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);

		event->parent_comm = eu_put_kernel_str(area, size, &parent->comm, EU_COMM_LEN);
	}
	if (eu_captures(EXEC_CAPTURE_PID_NS))
		event->pid_ns = pid_ns(task);
	if (eu_captures(EXEC_CAPTURE_NET_NS))
		event->net_ns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	if (eu_captures(EXEC_CAPTURE_CWD) || eu_captures(EXEC_CAPTURE_CWD_STATE)) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);
		struct eu_path cwd = eu_put_path(area, size, &fs->pwd, eu_captures(EXEC_CAPTURE_CWD));

		event->cwd = cwd.text;
		event->cwd_state = cwd.state;
		event->cwd_deleted = cwd.deleted;
	}
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_done, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct eu_area *area;
	struct exec_event *event;
	__u32 size = sizeof(*event);

	if (!eu_wanted() || (eu_where && !eu_passes(errno, 0)))
		return 0;
	if (is_bare()) {
		output_bare(0);
		return 0;
	}
	area = eu_scratch(exec);
	if (!area)
		return 0;
	event = (void *)area;
	fill_exec(event, 0);
	if (eu_captures(EXEC_CAPTURE_FILENAME))
		event->filename = eu_put_kernel_str(area, &size, BPF_CORE_READ(bprm, filename), EU_PATH_MAX);
	if (eu_where && !eu_passes_text(filename, area, event->filename))
		return 0;
	if (eu_captures(EXEC_CAPTURE_EXECUTABLE) || eu_captures(EXEC_CAPTURE_EXECUTABLE_STATE)) {
		struct file *file = BPF_CORE_READ(task, mm, exe_file);
		struct eu_path executable =
			eu_put_path(area, &size, &file->f_path, eu_captures(EXEC_CAPTURE_EXECUTABLE));

		event->executable = executable.text;
		event->executable_state = executable.state;
		event->executable_deleted = executable.deleted;
	}
	if (eu_where && !eu_passes_text(executable, area, event->executable))
		return 0;
	put_common(area, &size, task);
	if (eu_captures(EXEC_CAPTURE_STDIN))
		event->stdin = eu_descriptor_kind(eu_file(task, 0));
	if (eu_captures(EXEC_CAPTURE_ARGS))
		event->args = eu_put_argv(area, &size, BPF_CORE_READ(task, mm), ARGS_MAX, &event->args_truncated);
	eu_output(area, size);
	return 0;
}

/* A failed exec's argv is still the caller's array of pointers. */
struct args_walk {
	struct eu_area *area;
	unsigned long argv;
	__u32 width; /* of its pointers */
	__u32 start;
	__u32 size;
	bool truncated;
};

static long args_step(__u32 index, void *context)
{
	struct args_walk *walk = context;
	unsigned long arg = 0;
	__u32 offset = walk->size & (EU_RECORD_MAX - 1);
	__u32 used = walk->size - walk->start;
	long n;

	if (walk->width == 4 ? bpf_probe_read_user(&arg, 4, (void *)(walk->argv + 4UL * index))
			     : bpf_probe_read_user(&arg, 8, (void *)(walk->argv + 8UL * index))) {
		walk->truncated = true;
		return 1;
	}
	if (!arg)
		return 1;
	/* EU_ARGS_MAX is one more than fits, so that a string that was cut by this is seen below. */
	n = bpf_probe_read_user_str(walk->area->bytes + offset, EU_ARGS_MAX, (void *)arg);
	if (n < 0 || used + n > ARGS_MAX) {
		walk->truncated = true;
		if (n > 0 && used < ARGS_MAX)
			walk->size = walk->start + ARGS_MAX;
		return 1;
	}
	walk->size = offset + n;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(exec_failed, struct pt_regs *regs, long ret)
{
	struct task_struct *task;
	struct eu_area *area;
	struct exec_event *event;
	const char *filename;
	struct eu_call call;
	unsigned long argv;
	__u32 size = sizeof(*event);
	long nr;

	if (ret >= 0 || !failed)
		return 0;
	nr = eu_syscall_nr(regs);
	if (!eu_may_exec(nr))
		return 0;
	eu_read_call(regs, nr, &call);
	if ((call.nr != EU_NR_execve && call.nr != EU_NR_execveat) || !eu_wanted() ||
	    (eu_where && !eu_passes(errno, -ret)))
		return 0;
	if (is_bare()) {
		output_bare(ret);
		return 0;
	}
	area = eu_scratch(exec);
	if (!area)
		return 0;
	task = bpf_get_current_task_btf();
	event = (void *)area;
	fill_exec(event, ret);
	filename = (void *)(call.nr == EU_NR_execve ? call.args[0] : call.args[1]);
	argv = call.nr == EU_NR_execve ? call.args[1] : call.args[2];
	if (eu_captures(EXEC_CAPTURE_FILENAME))
		event->filename = eu_put_user_str(area, &size, filename, EU_PATH_MAX);
	if (eu_where && (!eu_passes_text(filename, area, event->filename) || !eu_passes_text(executable, area, 0)))
		return 0;
	put_common(area, &size, task);
	if (eu_captures(EXEC_CAPTURE_DIRECTORY) && eu_is_relative(area, event->filename, filename))
		event->directory =
			eu_put_directory(area, &size, call.nr == EU_NR_execve ? AT_FDCWD : (__s32)call.args[0]);
	if (eu_captures(EXEC_CAPTURE_ARGS)) {
		struct args_walk walk = {
			.area = area,
			.argv = argv,
			.width = call.narrow_memory ? 4 : 8,
			.start = size,
			.size = size,
		};

		if (argv) /* Linux takes a null argv for an empty one */
			bpf_loop(EU_ARGS_MAX, args_step, &walk, 0);
		event->args = eu_text(walk.start, (walk.size - walk.start) & ARGS_MAX);
		event->args_truncated = walk.truncated;
		size = walk.size;
	}
	eu_output(area, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
