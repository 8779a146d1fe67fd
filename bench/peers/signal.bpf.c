/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Signals that are generated, and calls that fail to send one. SIGCHLD is left out, and SIGURG to oneself. */
#include "peer.bpf.h"

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

#define SIGCHLD 17
#define SIGURG 23
#define SI_KERNEL 0x80
#define PF_KTHREAD 0x00200000

struct record {
	struct facts facts;  /* of the sender; where no process sent it, of the target */
	struct facts target; /* all 0 of a call that failed */
	__s32 error;
	__u32 signal;
	__s32 code;
	__s32 requested_pid; /* of a call that failed */
	__u32 call;          /* that failed: its number */
	__s32 result;
	__u32 handler; /* 1 default, 2 ignore, 3 a function */
	__u32 sent, to_thread;
};
RECORD(record);

static __always_inline void fill_target(struct facts *facts, struct task_struct *task, __u64 now)
{
	facts->boot_ns = now;
	facts->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	facts->start_boot_ns = task->group_leader->start_boottime;
	facts->pid = task->tgid;
	facts->tid = task->pid;
	facts->ppid = task->real_parent->tgid;
	facts->uid = task->cred->uid.val;
	facts->gid = task->cred->gid.val;
	facts->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	BPF_CORE_READ_INTO(&facts->comm, task, comm);
}

static __always_inline __u32 handler_of(struct task_struct *task, __u32 signal)
{
	struct sighand_struct *sighand = BPF_CORE_READ((struct task_struct___signal *)task, sighand);
	__u64 at = bpf_core_type_size(struct k_sigaction) * (signal - 1);
	void *handler = NULL;

	bpf_probe_read_kernel(&handler, sizeof(handler), (void *)sighand->action + at);
	return !handler ? 1 : handler == (void *)1 ? 2 : 3;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(signal_sent, int signal, struct kernel_siginfo *info, struct task_struct *target, int group, int result)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct record *record;
	int code = 0;
	bool sent;

	if (signal == SIGCHLD)
		return 0;
	if (info == (void *)1)
		code = SI_KERNEL;
	else if (info)
		code = BPF_CORE_READ(info, si_code);
	sent = code <= 0 && !(current->flags & PF_KTHREAD);
	if (signal == SIGURG && sent && current->tgid == target->tgid)
		return 0;
	if (target_pid && target->tgid != target_pid && (!sent || current->tgid != target_pid))
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	fill_target(&record->target, target, record->facts.boot_ns);
	if (!sent)
		record->facts = record->target;
	record->error = 0;
	record->signal = signal;
	record->code = code;
	record->requested_pid = 0;
	record->call = 0;
	record->result = result;
	record->handler = handler_of(target, signal);
	record->sent = sent;
	record->to_thread = !group;
	SUBMIT(record);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(signal_failed, struct pt_regs *regs, long ret)
{
	struct record *record;
	__u32 signal;
	__s32 pid;

	if (ret >= 0)
		return 0;
	switch (NR(regs)) {
	case __NR_kill:
	case __NR_tkill:
	case __NR_rt_sigqueueinfo:
	case __NR_pidfd_send_signal:
		pid = ARG1(regs);
		signal = ARG2(regs);
		break;
	case __NR_tgkill:
	case __NR_rt_tgsigqueueinfo:
		pid = ARG2(regs);
		signal = ARG3(regs);
		break;
	default: return 0;
	}
	if (!wanted())
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	__builtin_memset(&record->target, 0, sizeof(record->target));
	record->error = error_of(ret);
	record->signal = signal;
	record->code = 0;
	record->requested_pid = pid;
	record->call = NR(regs);
	record->result = 0;
	record->handler = 0;
	record->sent = true;
	record->to_thread = NR(regs) == __NR_tkill || NR(regs) == __NR_tgkill || NR(regs) == __NR_rt_tgsigqueueinfo;
	SUBMIT(record);
	return 0;
}
