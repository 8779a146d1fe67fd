/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * syscall: one event for each system call, at its exit. What never exits has none (exit, exit_group), nor has
 * rt_sigreturn, which on x86 wipes its own number; 32-bit calls have other numbers and are left out.
 */
#define EU_SYSCALL_SET
#include "eunomia.bpf.h"
#include "syscall.bpf.h"

enum syscall_capture {
	SYSCALL_CAPTURE_DURATION_NS,
};

struct syscall_event {
	struct eu_header header;
	__s32 nr;
	eu_errno errno;
	__s64 ret;                  /* as user space gets it */
	eu_duration_ns duration_ns; /* EU_NO_DURATION: not captured, or its entry was not seen */
};
EU_EVENT(syscall);
EU_CAPTURES(syscall);

const volatile bool failed_only = false; /* option: only calls that fail */

/* include/uapi/linux/bpf.h */
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1

/*
 * When the task's call under way began. In the task itself: a call may end on another CPU, a thread that executes a
 * program takes another tid, and what is left of a call without an end goes with the task. Since Linux 5.12
 * (a10787e6d58c "bpf: Enable task local storage for tracing programs").
 */
struct start {
	__u64 boot_ns; /* 0: taken */
	__s64 nr;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct start);
} starts SEC(".maps");

/*
 * When the call that ends now began, or 0. Not each end has a beginning: a call that seccomp refuses ends without one
 * (kernel/entry/common.c), a new child returns from its parent's fork, and a rt_sigreturn leaves its own behind.
 */
static __always_inline __u64 take_start(struct task_struct *task, long nr)
{
	struct start *start = bpf_task_storage_get(&starts, task, NULL, 0);
	__u64 boot_ns;

	if (!start || start->nr != nr)
		return 0;
	boot_ns = start->boot_ns;
	start->boot_ns = 0;
	return boot_ns;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(syscall_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task;
	struct start *start;

	if (!eu_captures(SYSCALL_CAPTURE_DURATION_NS) || !eu_syscall_selected(nr))
		return 0;
	task = bpf_get_current_task_btf();
	if (eu_syscall_of_self(task) || eu_task_is_32bit(task) || !eu_wanted())
		return 0;
	start = bpf_task_storage_get(&starts, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!start)
		return 0;
	start->nr = nr;
	start->boot_ns = bpf_ktime_get_boot_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(syscall_exit, struct pt_regs *regs, long ret)
{
	long nr = eu_syscall_nr(regs);
	bool unwanted = failed_only && !eu_is_error(ret);
	struct syscall_event *event;
	struct task_struct *task;
	__u64 start = 0;

	/* An unwanted end takes its beginning with it none the less, lest a call without one takes it for its own. */
	if (unwanted && !eu_captures(SYSCALL_CAPTURE_DURATION_NS))
		return 0;
	if (!eu_syscall_selected(nr))
		return 0;
	task = bpf_get_current_task_btf();
	if (eu_syscall_of_self(task) || eu_task_is_32bit(task) || !eu_wanted())
		return 0;
	if (eu_captures(SYSCALL_CAPTURE_DURATION_NS))
		start = take_start(task, nr);
	if (unwanted)
		return 0;
	event = eu_reserve(struct syscall_event);
	if (!event)
		return 0;
	eu_fill(&event->header);
	ret = eu_user_ret(ret);
	event->nr = nr;
	event->errno = eu_is_error(ret) ? ret : 0;
	event->ret = ret;
	event->duration_ns = start ? event->header.boot_ns - start : EU_NO_DURATION;
	eu_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
