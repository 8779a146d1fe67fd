/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Processes that end, with their last thread. */
#include "peer.bpf.h"

#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 4

struct record {
	struct facts facts;
	__s32 exit_code; /* -1: a signal killed it */
	__u32 signal;
	__u32 core_dumped;
	__u64 lifetime_ns;
};
RECORD(record);

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task, bool group_dead)
{
	struct signal_struct *signal;
	struct record *record;
	int code;

	if (!group_dead || task->flags & PF_KTHREAD || !wanted())
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	BPF_CORE_READ_INTO(&record->facts.comm, task, group_leader, comm);
	signal = task->signal;
	code = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : task->group_leader->exit_code;
	record->signal = code & 0x7f;
	record->core_dumped = !!(code & 0x80);
	record->exit_code = record->signal ? -1 : code >> 8 & 0xff;
	record->lifetime_ns = record->facts.boot_ns - record->facts.start_boot_ns;
	SUBMIT(record);
	return 0;
}
