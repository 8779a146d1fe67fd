/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* signal: one event for each signal that is generated, and for each system call that fails to send one. */
#include "eunomia.bpf.h"
#include "calls.bpf.h"

/* include/trace/events/signal.h: TRACE_SIGNAL_*, plus 1 */
enum signal_result {
	SIGNAL_RESULT_DELIVERED = 1,
	SIGNAL_RESULT_IGNORED,
	SIGNAL_RESULT_ALREADY_PENDING,
	SIGNAL_RESULT_QUEUE_FULL,
	SIGNAL_RESULT_INFO_LOST,
} __attribute__((packed));

enum signal_handler {
	SIGNAL_HANDLER_DEFAULT = 1,
	SIGNAL_HANDLER_IGNORE,
	SIGNAL_HANDLER_FUNCTION,
} __attribute__((packed));

/* The object's own numbers of the calls that send signals; src/trackers/signal.ts has them by name. */
enum signal_call {
	SIGNAL_CALL_KILL = 1,
	SIGNAL_CALL_TKILL,
	SIGNAL_CALL_TGKILL,
	SIGNAL_CALL_RT_SIGQUEUEINFO,
	SIGNAL_CALL_RT_TGSIGQUEUEINFO,
	SIGNAL_CALL_PIDFD_SEND_SIGNAL,
} __attribute__((packed));

struct signal_event {
	struct eu_header header; /* of the sender; where no process sent it, of the target */
	struct eu_header target; /* all 0 where the call failed: nobody is known */
	eu_errno errno;          /* of a call that failed */
	__u32 signal;            /* 0: a failed call that would have sent none */
	__s32 code;              /* si_code */
	__u32 sender_pid;        /* that of the header, where `sent` */
	__s32 requested_pid;     /* of a failed call: as passed */
	enum signal_result signal_result;
	enum signal_handler handler;
	enum signal_call signal_call; /* that failed */
	bool sent;                    /* by the process of the header */
	bool to_thread;
	__u8 reserved[3];
};
EU_EVENT(signal);

EU_WHERE_NUMBER(signal);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(target_pid);

const volatile bool noise = false; /* option: SIGCHLD, and SIGURG to the sender's own process, too */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernel_siginfo {
	int si_code;
};
struct sigaction {
	void *sa_handler;
};
struct k_sigaction {
	struct sigaction sa;
};
struct sighand_struct {
	struct k_sigaction action[1];
};
struct task_struct___signal {
	struct sighand_struct *sighand;
};
#pragma clang attribute pop

/* include/uapi/asm-generic/signal.h and siginfo.h, include/linux/sched/signal.h, include/linux/sched.h */
#define SIGCHLD 17
#define SIGURG 23
#define MAX_SIGNAL 64
#define SI_USER 0
#define SI_QUEUE -1
#define SI_TKILL -6
#define SI_KERNEL 0x80
#define SEND_SIG_NOINFO ((void *)0)
#define SEND_SIG_PRIV ((void *)1)

/* Which argument of a call is the signal's number. */
static __always_inline __u32 signal_argument(__u32 call)
{
	return call == SIGNAL_CALL_TGKILL || call == SIGNAL_CALL_RT_TGSIGQUEUEINFO ? 2 : 1;
}

/*
 * Is the current task in a call that sends this signal? A sender writes si_code itself (rt_sigqueueinfo(2)), so that
 * the code alone could hide it behind a timer. A timer's interrupt of such a call with the same number would be
 * mistaken, and nothing else.
 */
static __always_inline bool is_sending(struct task_struct *current, __u32 signal)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(current);
	struct eu_matched_call call = eu_match_call(eu_syscall_nr(regs));
	unsigned long args[EU_CALL_ARGS];

	if (!call.value)
		return false;
	eu_read_args(regs, call.narrow, args);
	return (__u32)(signal_argument(call.value) == 2 ? args[2] : args[1]) == signal;
}

/* Did the current task send it, or is it a stranger that a timer or the kernel interrupted? */
static __always_inline bool is_sender(struct task_struct *current, struct task_struct *target, __u32 signal, int code)
{
	if (current->flags & PF_KTHREAD)
		return false;
	if (code == SI_USER || code == SI_TKILL || code == SI_QUEUE)
		return true;
	if (signal == SIGCHLD && code > 0 && code < SI_KERNEL) /* CLD_*: about a child, mostly by itself */
		return eu_far(current)->real_parent->tgid == target->tgid;
	return is_sending(current, signal);
}

static __always_inline enum signal_handler handler_of(struct task_struct *target, __u32 signal)
{
	struct sighand_struct *sighand = BPF_CORE_READ((struct task_struct___signal *)target, sighand);
	__u64 action = bpf_core_type_size(struct k_sigaction) * (signal - 1);
	void *handler = NULL;

	if (!sighand || bpf_probe_read_kernel(&handler, sizeof(handler),
					      (void *)sighand->action + action +
						      bpf_core_field_offset(struct k_sigaction, sa.sa_handler)))
		return 0;
	return !handler               ? SIGNAL_HANDLER_DEFAULT
	       : handler == (void *)1 ? SIGNAL_HANDLER_IGNORE
				      : SIGNAL_HANDLER_FUNCTION;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(signal_sent, int number, struct kernel_siginfo *info, struct task_struct *target, int group, int result)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct signal_event *event;
	__u32 signal = number;
	int code = SI_USER;
	bool sent;

	if (signal == SIGCHLD && !noise)
		return 0;
	if (eu_where && (!eu_passes(signal, signal) || !eu_passes(errno, 0) || !eu_passes(target_pid, target->tgid)))
		return 0;
	/* Never a load through `info`: it may be one of these two. */
	if (info == SEND_SIG_PRIV)
		code = SI_KERNEL;
	else if (info != SEND_SIG_NOINFO)
		code = BPF_CORE_READ(info, si_code);
	sent = is_sender(current, target, signal, code);
	if (!noise && signal == SIGURG && sent && current->tgid == target->tgid)
		return 0;
	if (sent ? !eu_wanted_either(current, target) : !eu_wanted_either(target, target))
		return 0;
	event = eu_reserve(struct signal_event);
	if (!event)
		return 0;
	eu_fill_task(&event->target, target);
	if (sent)
		eu_fill(&event->header);
	else
		event->header = event->target;
	event->errno = 0;
	event->signal = signal;
	event->code = code;
	event->requested_pid = 0;
	event->signal_result = result + 1;
	event->handler = signal && signal <= MAX_SIGNAL ? handler_of(target, signal) : 0;
	event->signal_call = 0;
	event->sent = sent;
	event->sender_pid = current->tgid;
	event->to_thread = !group;
	event->reserved[0] = event->reserved[1] = event->reserved[2] = 0;
	eu_submit(event);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(signal_failed, struct pt_regs *regs, long ret)
{
	struct signal_event *event;
	struct eu_matched_call call;
	unsigned long args[EU_CALL_ARGS];
	__u32 signal;

	if (!eu_is_error(ret))
		return 0;
	call = eu_match_call(eu_syscall_nr(regs));
	if (!call.value)
		return 0;
	eu_read_args(regs, call.narrow, args);
	signal = signal_argument(call.value) == 2 ? args[2] : args[1];
	if (eu_where && (!eu_passes(signal, signal) || !eu_passes(errno, -ret) || !eu_passes(target_pid, 0)))
		return 0;
	if (!eu_wanted())
		return 0;
	event = eu_reserve(struct signal_event);
	if (!event)
		return 0;
	eu_fill(&event->header);
	__builtin_memset(&event->target, 0, sizeof(event->target));
	event->errno = ret;
	event->signal = signal;
	event->code = 0;
	event->requested_pid =
		call.value == SIGNAL_CALL_TGKILL || call.value == SIGNAL_CALL_RT_TGSIGQUEUEINFO ? args[1] : args[0];
	event->signal_result = 0;
	event->handler = 0;
	event->signal_call = call.value;
	event->sent = true;
	event->sender_pid = event->header.pid;
	event->to_thread = call.value == SIGNAL_CALL_TKILL || signal_argument(call.value) == 2;
	event->reserved[0] = event->reserved[1] = event->reserved[2] = 0;
	eu_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
