/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * syscount: system calls counted by container, process and call, with their errors, total duration and a histogram of
 * durations. Counts what the tracker syscall has events of, at the same hooks.
 */
#include "eunomia.bpf.h"
#include "callset.bpf.h"
#include "sum.bpf.h"

struct syscount_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	__s32 nr;
	enum eu_abi abi;
	eu_sum count;
	eu_sum errors;
	eu_sum duration_ns;   /* of the calls in latency_log2 */
	eu_log2 latency_log2; /* of calls whose entry was seen */
};
EU_SUMS(syscount);

EU_WHERE_NUMBER(nr);
EU_WHERE_NUMBER(call);

const volatile bool latency = false; /* option: durations too */

SEC("tp_btf/sys_enter")
int BPF_PROG(syscount_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task;
	bool compat;

	if (!eu_call_may_pass(nr))
		return 0;
	task = bpf_get_current_task_btf();
	compat = eu_task_is_32bit(task);
	if (eu_call_passes(nr, compat) && eu_syscall_wanted(task))
		eu_syscall_begin(task, eu_call_key(nr, compat));
	return 0;
}

/* Both hooks run with preemption off (include/trace/bpf_probe.h, before 6.13 include/linux/tracepoint.h): plain adds are exact. */
static __always_inline void add(struct syscount_event *sum, struct task_struct *task, long nr, bool compat, long ret)
{
	__u64 began = latency ? eu_syscall_began(task, eu_call_key(nr, compat)) : 0;

	sum->nr = eu_call_number(nr);
	sum->abi = eu_call_abi(nr, compat);
	sum->count++;
	if (eu_is_error(ret))
		sum->errors++;
	if (began) {
		__u64 ns = bpf_ktime_get_boot_ns() - began;

		sum->duration_ns += ns;
		sum->latency_log2.slots[eu_log2_slot(ns)]++;
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(syscount_exit, struct pt_regs *regs, long ret)
{
	long nr = eu_syscall_nr(regs);
	struct syscount_event *sum;
	struct task_struct *task;
	struct eu_sum_key key;
	bool compat;

	if (!eu_call_may_pass(nr))
		return 0;
	task = bpf_get_current_task_btf();
	compat = eu_task_is_32bit(task);
	if (!eu_call_passes(nr, compat) || !eu_syscall_wanted(task))
		return 0;
	key = eu_sum_key(task, eu_call_key(nr, compat));
	sum = eu_sum_of(&key);
	if (sum) {
		add(sum, task, nr, compat, ret);
		return 0;
	}
	sum = eu_reserve(struct syscount_event);
	if (!sum)
		return 0;
	__builtin_memset(sum, 0, sizeof(*sum));
	eu_fill(&sum->header);
	add(sum, task, nr, compat, ret);
	eu_submit(sum);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
