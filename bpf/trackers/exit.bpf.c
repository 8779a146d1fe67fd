/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* exit: one event for each process that ends, when its last thread does. Kernel threads are no processes here. */
#include "eunomia.bpf.h"

struct exit_event {
	struct eu_header header; /* tid is the last thread's; comm the process's, its first thread's */
	__s32 exit_code;         /* 0 to 255, as passed to exit(2); -1 when a signal killed it */
	__u32 signal;            /* that killed it, or 0 */
	bool core_dumped;
	__u8 reserved[7];
	eu_duration_ns lifetime_ns; /* since the fork */
};
EU_EVENT(exit);

EU_WHERE_NUMBER(exit_code);
EU_WHERE_NUMBER(signal);

const volatile bool failed_only = false; /* option: only exit_code != 0 or a signal */

/* The kernel's numbers: include/linux/sched.h, include/linux/sched/signal.h. */
#define SIGNAL_GROUP_EXIT 4

/*
 * Before Linux 6.16 (3e816361e94a "sched/tracepoints: Move and extend the sched_process_exit() tracepoint"
 * brought `group_dead`) only signal->live tells, which two threads that end at once can both find at 0. The
 * first one leaves the process's start time here.
 */
#define REPORTED 1024
static __u64 reported[REPORTED];

static __always_inline bool is_last(unsigned long long *ctx, struct task_struct *task, __u64 start)
{
	if (bpf_core_field_exists(struct trace_event_raw_sched_process_exit, group_dead))
		return (bool)ctx[1];
	if (task->signal->live.counter)
		return false;
	return __sync_lock_test_and_set(&reported[task->tgid & (REPORTED - 1)], start) != start;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct task_struct *leader;
	struct signal_struct *signal;
	struct exit_event *event;
	__u64 start;
	int code;

	if (task->flags & PF_KTHREAD)
		return 0;
	leader = eu_far(task)->group_leader;
	start = leader->start_boottime;
	if (!is_last(ctx, task, start))
		return 0;
	signal = eu_far(task)->signal;
	/* As wait(2) decides: exit_group(2) and fatal signals end all threads; else the first thread's code is the process's. */
	code = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : leader->exit_code;
	if (failed_only && !(code & 0xffff))
		return 0;
	if (eu_where && (!eu_passes(signal, code & 0x7f) || !eu_passes(exit_code, code & 0x7f ? -1 : code >> 8 & 0xff)))
		return 0;
	if (!eu_wanted())
		return 0;
	event = eu_reserve(struct exit_event);
	if (!event)
		return 0;
	eu_fill(&event->header);
	BPF_CORE_READ_INTO(&event->header.comm, leader, comm);
	event->signal = code & 0x7f;
	event->core_dumped = code & 0x80;
	event->exit_code = event->signal ? -1 : code >> 8 & 0xff;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
	event->lifetime_ns = event->header.boot_ns - start;
	eu_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
