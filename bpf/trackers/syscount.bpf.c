/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * syscount: system calls counted by container, process and call (and what some are asked to do), with their errors, total duration
 * and a histogram of durations. Counts what the tracker syscall has events of, at the same hooks.
 */
#include "eunomia.bpf.h"
#include "callset.bpf.h"
#include "each_call.bpf.h"
#include "calls.bpf.h"
#include "aggregate.bpf.h"

struct syscount_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	__s32 nr;
	__u32 argument; /* of calls in eu_calls */
	enum eu_abi abi;
	bool has_argument;
	__u8 reserved[6];
	eu_total count;
	eu_total errors;
	eu_total duration_ns;          /* of the calls in duration_histogram_ns */
	eu_log2 duration_histogram_ns; /* of calls whose entry was seen */
};
struct syscount_key {
	struct eu_aggregate_key base;
	__u32 argument;
	__u32 reserved;
};
EU_AGGREGATES_BY(syscount, struct syscount_key);

EU_WHERE_NUMBER(nr);
EU_WHERE_NUMBER(call);

const volatile bool latency = false; /* option: durations too */
const volatile bool arguments =
	false; /* option: apart by the argument whose place, from 1, is the value of the call in eu_calls */

EU_EACH_CALL(enter, syscount_enter, long nr)
{
	struct task_struct *task;
	bool compat;

	if (!eu_call_may_pass(nr))
		return;
	task = bpf_get_current_task_btf();
	compat = eu_task_is_32bit(task);
	if (eu_call_passes(nr, compat) && eu_syscall_wanted(task))
		eu_syscall_begin(task, eu_call_key(nr, compat));
}

struct argument {
	bool exists;
	__u32 value; /* the kernel takes 32 bits of each of these arguments */
};

/* What the call is asked to do. Registers hold the arguments until it returns. */
static __always_inline struct argument argument_of(struct pt_regs *regs, long nr)
{
	unsigned long args[EU_CALL_ARGS];
	struct eu_matched_call call;

	if (!arguments)
		return (struct argument){};
	call = eu_match_call(nr);
	if (!call.value)
		return (struct argument){};
	eu_read_args(regs, call.narrow, args);
	return (struct argument){ .exists = true, .value = call.value == 1 ? args[0] : args[1] };
}

/* Both hooks run with preemption off (include/trace/bpf_probe.h, before 6.13 include/linux/tracepoint.h): plain adds are exact. */
static __always_inline void add(struct syscount_event *total, struct task_struct *task, long nr, bool compat, long ret,
				struct argument argument)
{
	__u64 began = latency ? eu_syscall_began(task, eu_call_key(nr, compat)) : 0;

	total->nr = eu_call_number(nr);
	total->abi = eu_call_abi(nr, compat);
	total->argument = argument.value;
	total->has_argument = argument.exists;
	total->count++;
	if (eu_is_error(ret))
		total->errors++;
	if (began) {
		__u64 ns = bpf_ktime_get_boot_ns() - began;

		total->duration_ns += ns;
		total->duration_histogram_ns.slots[eu_log2_slot(ns)]++;
	}
}

EU_EACH_CALL(exit, syscount_exit, long ret)
{
	long nr = eu_syscall_nr(regs);
	struct syscount_event *total;
	struct task_struct *task;
	struct syscount_key key = {};
	struct argument argument;
	bool compat;

	if (!eu_call_may_pass(nr))
		return;
	task = bpf_get_current_task_btf();
	compat = eu_task_is_32bit(task);
	if (!eu_call_passes(nr, compat) || !eu_syscall_wanted(task))
		return;
	argument = argument_of(regs, nr);
	key.base = eu_aggregate_program_key(task, eu_call_key(nr, compat));
	key.argument = argument.value;
	total = eu_aggregate_of(&key);
	if (total) {
		add(total, task, nr, compat, ret, argument);
		return;
	}
	total = eu_reserve(struct syscount_event);
	if (!total)
		return;
	__builtin_memset(total, 0, sizeof(*total));
	eu_fill(&total->header);
	add(total, task, nr, compat, ret, argument);
	eu_submit(total);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
