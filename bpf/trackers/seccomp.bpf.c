/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * seccomp: one event for each system call that a seccomp filter refuses.
 *
 * The kernel asks the filter before it tells of the call's beginning (syscall_trace_enter(), kernel/entry/common.c, and
 * arch/arm64/kernel/ptrace.c), and tells of its end in any case: a refused call ends without having begun. So a call's beginning is
 * remembered, of tasks with a filter alone. Where the filter kills, the task's mode is SECCOMP_MODE_DEAD since Linux 5.17 (495ac3069a66
 * "seccomp: Invalidate seccomp mode to catch death failures").
 */
#include "eunomia.bpf.h"
#include "callset.bpf.h"
#include "each_call.bpf.h"
#include "stack.bpf.h"

enum seccomp_capture {
	SECCOMP_CAPTURE_STACK,
};

enum seccomp_action {
	SECCOMP_ACTION_ERRNO = 1,
	SECCOMP_ACTION_ERRNO_OR_USER_NOTIF,
	SECCOMP_ACTION_TRAP,
	SECCOMP_ACTION_KILL_THREAD,
	SECCOMP_ACTION_KILL_PROCESS,
	SECCOMP_ACTION_STRICT,
} __attribute__((packed));

struct seccomp_event {
	struct eu_header header;
	__s32 nr;
	eu_errno errno;
	__s64 ret; /* as user space gets it; of ERRNO and ERRNO_OR_USER_NOTIF */
	__u64 arg0;
	__u64 arg1;
	__u64 arg2;
	__u64 arg3;
	__u64 arg4;
	__u64 arg5;
	enum eu_abi abi;
	eu_stack stack;
	enum seccomp_action action;
	bool traced;
	__u8 reserved[6];
};
EU_EVENT(seccomp);
EU_CAPTURES(seccomp);

EU_SCRATCH(seccomp);

EU_WHERE_NUMBER(nr);
EU_WHERE_NUMBER(call);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(action);

const volatile __u32 actions = 0; /* option: bits 1 << action; 0 is all */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct notification;
struct seccomp_filter {
	struct seccomp_filter *prev;
	struct notification *notif;
};
struct seccomp {
	int mode;
	struct seccomp_filter *filter;
};
struct task_struct___seccomp {
	struct seccomp seccomp;
	unsigned int ptrace;
};
struct kernel_siginfo {
	int si_code;
};
struct thread_info___work {
	unsigned long syscall_work;
};
struct task_struct___work {
	struct thread_info___work thread_info;
};
#pragma clang attribute pop

/* include/linux/thread_info.h */
enum syscall_work_bit {
	SYSCALL_WORK_BIT_SYSCALL_EMU = 3,
};

/* include/linux/seccomp.h, include/uapi/asm-generic/siginfo.h and signal.h */
#define SECCOMP_MODE_DEAD 3 /* SECCOMP_MODE_FILTER + 1, in kernel/seccomp.c */
#define SYS_SECCOMP 1
#define SIGKILL 9
#define SIGSYS 31
#define SEND_SIG_NOINFO ((void *)0)
#define SEND_SIG_PRIV ((void *)1)
#define TIF_SYSCALL_EMU (1UL << 12) /* arch/arm64/include/asm/thread_info.h */
#define FILTERS_MAX 64 /* that are asked for a supervisor; each has at least one instruction of 32768 in all */

/* Of a task with a filter, since the tracker is there. */
struct call_state {
	bool seen; /* it has ended a call: the first to end may have begun before that could be seen, or be the fork that made the task */
	bool begun; /* the call that it is in was let through, or is told of already */
	bool emulated; /* is_emulated(), when it ended a call last: so the next one is, though its tracer lets go of it meanwhile */
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call_state);
} states SEC(".maps");

static __always_inline int mode_of(struct task_struct *task)
{
	return ((struct task_struct___seccomp *)task)->seccomp.mode;
}

/* PTRACE_SYSEMU: the tracer skips each call, before a filter is asked. */
static __always_inline bool is_emulated(struct task_struct *task)
{
	if (bpf_core_field_exists(struct thread_info___work, syscall_work))
		return ((struct task_struct___work *)task)->thread_info.syscall_work >>
			       bpf_core_enum_value(enum syscall_work_bit, SYSCALL_WORK_BIT_SYSCALL_EMU) &
		       1;
#if defined(__TARGET_ARCH_arm64)
	return ((struct task_struct___arm64 *)task)->thread_info.flags & TIF_SYSCALL_EMU;
#endif
	return false;
}

/* Can one of its filters have passed the call to a supervisor? */
static __always_inline bool is_supervised(struct task_struct *task)
{
	struct seccomp_filter *filter = BPF_CORE_READ((struct task_struct___seccomp *)task, seccomp.filter);

	for (int i = 0; i < FILTERS_MAX && filter; i++) {
		if (BPF_CORE_READ(filter, notif))
			return true;
		filter = BPF_CORE_READ(filter, prev);
	}
	return false;
}

static __always_inline void fill_args(struct seccomp_event *event, struct pt_regs *regs, bool compat)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		event->arg0 = (__u32)eu_load(regs->bx);
		event->arg1 = (__u32)eu_load(regs->cx);
		event->arg2 = (__u32)eu_load(regs->dx);
		event->arg3 = (__u32)eu_load(regs->si);
		event->arg4 = (__u32)eu_load(regs->di);
		event->arg5 = (__u32)eu_load(regs->bp);
		return;
	}
	event->arg5 = eu_load(regs->r9);
#else
	event->arg5 = eu_load(regs->regs[5]);
#endif
	event->arg0 = eu_arg1(regs);
	event->arg1 = eu_arg2(regs);
	event->arg2 = eu_arg3(regs);
	event->arg3 = eu_arg4(regs);
	event->arg4 = eu_arg5(regs);
}

static __always_inline void fill(struct seccomp_event *event, struct task_struct *task, struct pt_regs *regs,
				 __u32 action, long ret)
{
	bool compat = eu_task_is_32bit(task);
	long nr = eu_syscall_nr(regs);

	eu_fill(&event->header);
	event->nr = eu_call_number(nr);
	event->errno = eu_is_error(ret) ? ret : 0;
	event->ret = ret;
	event->abi = eu_call_abi(nr, compat);
	event->stack = 0;
	event->action = action;
	event->traced = ((struct task_struct___seccomp *)task)->ptrace;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
	fill_args(event, regs, compat);
}

/* `has_stack`: the task's memory is still there. */
static __always_inline void report(struct task_struct *task, struct pt_regs *regs, __u32 action, long ret,
				   bool has_stack)
{
	bool compat = eu_task_is_32bit(task);
	long nr = eu_syscall_nr(regs);
	struct seccomp_event *event;

	if (actions && !(actions >> action & 1))
		return;
	if (!eu_call_may_pass(nr) || !eu_call_passes(nr, compat))
		return;
	if (eu_where && (!eu_passes(action, action) || !eu_passes(errno, eu_is_error(ret) ? -ret : 0)))
		return;
	if (!eu_wanted())
		return;
	if (has_stack && eu_captures(SECCOMP_CAPTURE_STACK)) {
		__u32 size = sizeof(*event);
		struct eu_area *area = eu_scratch(seccomp);

		if (!area)
			return;
		event = (void *)area;
		fill(event, task, regs, action, ret);
		event->stack = eu_put_stack(area, &size, regs);
		eu_output(area, size);
		return;
	}
	event = eu_reserve(struct seccomp_event);
	if (!event)
		return;
	fill(event, task, regs, action, ret);
	eu_submit(event);
}

/* Before the program at the exit, so that it is attached before that one: else a call's beginning could be missed. */
EU_EACH_CALL(enter, seccomp_enter, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_state *state;

	if (!mode_of(task))
		return;
	state = eu_in_task(&states, task);
	if (state)
		state->begun = true;
}

EU_EACH_CALL(exit, seccomp_exit, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_state *state;
	int mode = mode_of(task);
	bool emulated;
	__u32 action;

	/* A process that is killed is told of by its signal. */
	if (!mode || mode == SECCOMP_MODE_DEAD)
		return;
	state = eu_in_task(&states, task);
	if (!state)
		return;
	emulated = state->emulated;
	state->emulated = is_emulated(task);
	if (state->begun || !state->seen) {
		state->begun = false;
		state->seen = true;
		return;
	}
	if (eu_syscall_nr(regs) < 0 || emulated || state->emulated) /* a tracer has skipped it */
		return;
	action = SECCOMP_ACTION_ERRNO;
	if (is_supervised(task)) {
		if (eu_user_ret(ret) != ret) /* a signal came while the supervisor decided: the call begins anew */
			return;
		action = SECCOMP_ACTION_ERRNO_OR_USER_NOTIF;
	}
	report(task, regs, action, eu_user_ret(ret), true);
}

/* A process that is killed or trapped gets its signal before the call ends. */
SEC("tp_btf/signal_generate")
int BPF_PROG(seccomp_signal, int number, struct kernel_siginfo *info, struct task_struct *target)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call_state *state;

	if (number != SIGSYS || task != target || !mode_of(task))
		return 0;
	/* Never a load through `info`: it may be 0 or 1 (SEND_SIG_NOINFO, SEND_SIG_PRIV). */
	if (info == SEND_SIG_NOINFO || info == SEND_SIG_PRIV || BPF_CORE_READ(info, si_code) != SYS_SECCOMP)
		return 0;
	state = eu_in_task(&states, task);
	/* In a call that has begun: it sends itself the signal (rt_sigqueueinfo), with what code it likes. */
	if (!state || state->begun)
		return 0;
	state->begun = true;
	report(task, (void *)bpf_task_pt_regs(task),
	       mode_of(task) == SECCOMP_MODE_DEAD ? SECCOMP_ACTION_KILL_PROCESS : SECCOMP_ACTION_TRAP, 0, true);
	return 0;
}

/* A thread that is killed alone gets no signal, and its call does not end. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(seccomp_died, struct task_struct *task)
{
	struct call_state *state;

	if (mode_of(task) != SECCOMP_MODE_DEAD)
		return 0;
	state = bpf_task_storage_get(&states, task, NULL, 0);
	if (state && state->begun)
		return 0;
	report(task, (void *)bpf_task_pt_regs(task),
	       (task->exit_code & 0x7f) == SIGKILL ? SECCOMP_ACTION_STRICT : SECCOMP_ACTION_KILL_THREAD, 0, false);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
