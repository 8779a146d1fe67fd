/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* exit: one event for each process that ends, when its last thread does. Kernel threads are no processes here. */
#include "eunomia.bpf.h"
#include "last_thread.bpf.h"

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

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct task_struct *leader;
	struct exit_event *event;
	__u64 start;
	int code;

	if (task->flags & PF_KTHREAD)
		return 0;
	leader = eu_far(task)->group_leader;
	start = leader->start_boottime;
	if (!eu_is_last(ctx, task, start))
		return 0;
	code = eu_exit_code(task);
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
