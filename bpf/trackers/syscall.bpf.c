/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * syscall: one event for each system call, at its exit. What never exits has none (exit, exit_group), nor has
 * rt_sigreturn, which on x86 wipes its own number. `nr` is of the table that `abi` tells.
 */
#include "eunomia.bpf.h"
#include "callset.bpf.h"
#include "each_call.bpf.h"
#include "stack.bpf.h"

enum syscall_capture {
	SYSCALL_CAPTURE_DURATION_NS,
	SYSCALL_CAPTURE_STACK,
};

struct syscall_event {
	struct eu_header header;
	__s32 nr;
	eu_errno errno;
	__s64 ret;                  /* as user space gets it */
	eu_duration_ns duration_ns; /* EU_NO_DURATION: not captured, or its entry was not seen */
	enum eu_abi abi;
	eu_stack stack; /* of a call that was refused */
};
EU_EVENT(syscall);
EU_CAPTURES(syscall);

EU_SCRATCH(syscall);

EU_WHERE_NUMBER(nr);
EU_WHERE_NUMBER(call);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(ret);

const volatile bool failed_only = false; /* option: only calls that fail */

static __always_inline void fill_call(struct syscall_event *event, long nr, bool compat, long ret, __u64 start)
{
	eu_fill(&event->header);
	event->nr = eu_call_number(nr);
	event->abi = eu_call_abi(nr, compat);
	event->stack = 0;
	event->errno = eu_is_error(ret) ? ret : 0;
	event->ret = ret;
	event->duration_ns = start ? event->header.boot_ns - start : EU_NO_DURATION;
}

/* Serves the duration alone: attached only while someone wants it (src/trackers/syscall.ts). */
EU_EACH_CALL(enter, syscall_enter, long nr)
{
	struct task_struct *task;
	bool compat;

	if (!eu_captures(SYSCALL_CAPTURE_DURATION_NS) || !eu_call_may_pass(nr))
		return;
	task = bpf_get_current_task_btf();
	compat = eu_task_is_32bit(task);
	if (eu_call_passes(nr, compat) && eu_syscall_wanted(task))
		eu_syscall_begin(task, eu_call_key(nr, compat));
}

EU_EACH_CALL(exit, syscall_exit, long ret)
{
	long nr = eu_syscall_nr(regs);
	bool unwanted = failed_only && !eu_is_error(ret);
	bool where = eu_where, compat;
	struct syscall_event *event;
	struct task_struct *task;
	__u64 start = 0;

	/* An unwanted end takes its beginning with it none the less, lest a call without one takes it for its own. */
	if (unwanted && !eu_captures(SYSCALL_CAPTURE_DURATION_NS))
		return;
	if (!eu_call_may_pass(nr))
		return;
	task = bpf_get_current_task_btf();
	compat = eu_task_is_32bit(task);
	if (!eu_call_passes(nr, compat) || !eu_syscall_wanted(task))
		return;
	if (eu_captures(SYSCALL_CAPTURE_DURATION_NS))
		start = eu_syscall_began(task, eu_call_key(nr, compat));
	ret = eu_user_ret(ret);
	if (unwanted || (where && (!eu_passes(errno, eu_is_error(ret) ? -ret : 0) || !eu_passes(ret, ret))))
		return;
	if (eu_captures(SYSCALL_CAPTURE_STACK) && eu_is_refusal(ret)) {
		__u32 size = sizeof(*event);
		struct eu_area *area = eu_scratch(syscall);

		if (!area)
			return;
		event = (void *)area;
		fill_call(event, nr, compat, ret, start);
		event->stack = eu_put_stack(area, &size, regs);
		eu_output(area, size);
		return;
	}
	event = eu_reserve(struct syscall_event);
	if (!event)
		return;
	fill_call(event, nr, compat, ret, start);
	eu_submit(event);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
