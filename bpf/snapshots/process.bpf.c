/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* process: one record for each process, zombies and threads of the kernel too. */
#include "snapshot.bpf.h"
#include "memory.bpf.h"

/* As /proc/PID/stat has it. The schema's ProcessState has the same names. */
enum eu_process_state {
	EU_PROCESS_STATE_RUNNING = 1,
	EU_PROCESS_STATE_SLEEPING,
	EU_PROCESS_STATE_UNINTERRUPTIBLE,
	EU_PROCESS_STATE_STOPPED,
	EU_PROCESS_STATE_TRACED,
	EU_PROCESS_STATE_DEAD,
	EU_PROCESS_STATE_ZOMBIE,
	EU_PROCESS_STATE_PARKED,
	EU_PROCESS_STATE_IDLE,
} __attribute__((packed));

struct process_event {
	struct eu_header header;
	eu_amount resident_bytes;
	eu_amount virtual_bytes;
	__u32 threads;
	__u32 own_pid; /* in its own pid namespace */
	__u32 pid_ns;
	__u32 net_ns;
	enum eu_process_state state;
	bool has_memory; /* else it is a thread of the kernel, or a zombie */
	bool kernel_thread;
	bool executable_deleted; /* known where executable_state is */
	enum eu_path_state executable_state;
	__u8 reserved[3];
	eu_str executable;
};
EU_EVENT(process);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct___state {
	unsigned int __state;
	int exit_state;
};
/* Before Linux 5.14 (2f064a59a11f "sched: Change task_struct::state") */
struct task_struct___old_state {
	volatile long state;
};
struct signal_struct___threads {
	int nr_threads;
};
#pragma clang attribute pop

/* include/linux/sched.h, fs/proc/array.c */
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_REPORT 0x7f
#define TASK_NOLOAD 0x400
#define TASK_IDLE (TASK_UNINTERRUPTIBLE | TASK_NOLOAD)
#define TASK_RTLOCK_WAIT 0x1000
#define TASK_FROZEN 0x8000

static __always_inline enum eu_process_state state_of(struct task_struct *task)
{
	struct task_struct___state *now = (void *)task;
	__u32 exit = BPF_CORE_READ(now, exit_state), state;
	__u32 found = EU_PROCESS_STATE_RUNNING;

	if (bpf_core_field_exists(struct task_struct___state, __state))
		state = BPF_CORE_READ(now, __state);
	else
		state = BPF_CORE_READ((struct task_struct___old_state *)task, state);
	if ((state & TASK_IDLE) == TASK_IDLE && !exit)
		return EU_PROCESS_STATE_IDLE;
	if (state & (TASK_RTLOCK_WAIT | TASK_FROZEN))
		state = TASK_UNINTERRUPTIBLE;
	state = (state | exit) & TASK_REPORT;
	for (int bit = 0; bit < 7; bit++)
		if (state & (1U << bit))
			found = EU_PROCESS_STATE_SLEEPING + bit;
	return found;
}

SEC("iter/task")
int snap_process(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_event *event;
	struct eu_area *area;
	struct mm_struct *mm;
	struct pid *pid;
	struct upid *own;
	__u32 size = sizeof(*event);

	if (!task || task->pid != task->tgid)
		return 0;
	area = eu_snapshot_area();
	if (!area)
		return 0;
	event = (void *)area;
	__builtin_memset(event, 0, sizeof(*event));
	eu_fill_task(&event->header, task);
	pid = BPF_CORE_READ(task, thread_pid);
	own = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	      BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
	event->own_pid = BPF_CORE_READ(own, nr);
	event->pid_ns = BPF_CORE_READ(own, ns, ns.inum);
	event->net_ns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	event->threads = BPF_CORE_READ((struct signal_struct___threads *)task->signal, nr_threads);
	event->state = state_of(task);
	event->kernel_thread = task->flags & PF_KTHREAD;
	mm = BPF_CORE_READ(task, mm);
	if (mm && !event->kernel_thread) { /* a thread of the kernel may borrow one */
		struct file *file = BPF_CORE_READ(mm, exe_file);

		event->has_memory = true;
		event->resident_bytes = eu_rss_bytes(mm, EU_FILE_PAGES) + eu_rss_bytes(mm, EU_ANON_PAGES) +
					eu_rss_bytes(mm, EU_SHMEM_PAGES);
		event->virtual_bytes = BPF_CORE_READ((struct mm_struct___memory *)mm, total_vm) * eu_page_bytes;
		if (file) {
			__u64 ns = (__u64)BPF_CORE_READ(task, nsproxy, mnt_ns);
			struct eu_path path = eu_put_path_seen_from(area, &size, &file->f_path, true, ns);

			event->executable = path.text;
			event->executable_state = path.state;
			event->executable_deleted = path.deleted;
		}
	}
	eu_snapshot_put(ctx->meta, event, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
