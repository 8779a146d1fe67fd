/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * capability: checks of capabilities, counted by container, process, capability, result, system call and depth of the user namespace. There
 * is one for most of what the kernel does for a process: too many for an event each.
 *
 * The tracepoint is there since Linux 6.14 (5467e8bce4a0 "capability: add a tracepoint to cap_capable").
 */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "callset.bpf.h"
#include "aggregate.bpf.h"

struct capability_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	__s32 nr;                /* -1: in no system call */
	enum eu_abi abi;
	__u8 capability;
	bool granted;
	__u8 user_ns_level;         /* of the namespace that it was needed in */
	__u8 process_user_ns_level; /* of the process's own */
	__u8 reserved[4];
	eu_total count;
};
EU_AGGREGATES(capability);

EU_WHERE_NUMBER(capability);
EU_WHERE_NUMBER(granted);
EU_WHERE_NUMBER(nr);
EU_WHERE_NUMBER(user_ns_level);

const volatile __u64 capabilities = 0;   /* option: bits 1 << capability; 0 is all */
const volatile bool denied_only = false; /* option: only checks that fail */
const volatile bool memory = false;      /* option: those of the allocation of memory too */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct user_namespace {
	int level;
};
struct cred___spaces {
	struct user_namespace *user_ns;
};
struct task_struct___traced {
	unsigned int ptrace;
};
#pragma clang attribute pop

#define CAP_SYS_ADMIN 21
#define CLONE_ANY_NS 0x7e020000UL /* include/uapi/linux/sched.h */
#define NO_CALL (-1)

/* Of a watched call, in the table of src/trackers/capability.ts: it allocates memory; clone and clone3 may do more. */
enum call {
	CALL_ALLOCATES = 1,
	CALL_CLONE,
	CALL_CLONE3,
};

/*
 * The number of the system call that the task is in, or NO_CALL. Where an exception has entered the kernel (a page fault, an
 * interrupt), the register of the number has an error code, which could be a number. During a call, and then only, the register of
 * the result has -ENOSYS (arch/x86/entry: PUSH_AND_CLEAR_REGS rax=$-ENOSYS).
 */
static __always_inline long call_of(struct task_struct *task, struct pt_regs *regs)
{
	long nr;

	if (task->flags & PF_KTHREAD)
		return NO_CALL;
	nr = eu_syscall_nr(regs);
#if defined(__TARGET_ARCH_x86)
	if (regs->ax != (unsigned long)-38)
		return NO_CALL;
#endif
	return nr < 0 ? NO_CALL : nr;
}

/*
 * Is it how the kernel asks, for each piece of memory that is reserved, whether it may be overcommitted (cap_vm_enough_memory)? These
 * are nine of ten checks, and say nothing of what a process may do. A page fault that lets a stack grow asks the same outside of calls.
 */
static __always_inline bool is_of_memory(struct task_struct *task, struct pt_regs *regs, long nr, int capability)
{
	struct eu_matched_call call;
	unsigned long args[EU_CALL_ARGS];
	__u64 flags;

	if (capability != CAP_SYS_ADMIN)
		return false;
	/*
	 * A page fault. What runs for io_uring has no call either, and no page faults that need memory for a stack; a traced task may
	 * have lost its -ENOSYS to its tracer.
	 */
	if (nr == NO_CALL)
		return !(task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER)) &&
		       !BPF_CORE_READ((struct task_struct___traced *)task, ptrace);
	call = eu_match_call(nr);
	if (call.value < CALL_CLONE)
		return call.value;
	/* New namespaces need it too. */
	eu_read_args(regs, call.narrow, args);
	flags = args[0];
	if (call.value == CALL_CLONE3 && bpf_probe_read_user(&flags, sizeof(flags), (void *)args[0]))
		return false;
	return !(flags & CLONE_ANY_NS);
}

static __always_inline void add(struct capability_event *total, long nr, bool compat, int capability, int ret,
				int level, int own)
{
	total->nr = nr == NO_CALL ? NO_CALL : (__s32)eu_call_number(nr);
	total->abi = nr == NO_CALL ? 0 : eu_call_abi(nr, compat);
	total->capability = capability;
	total->granted = !ret;
	total->user_ns_level = level;
	total->process_user_ns_level = own;
	__builtin_memset(total->reserved, 0, sizeof(total->reserved));
	total->count++;
}

SEC("tp_btf/cap_capable")
int BPF_PROG(cap_checked, const struct cred *cred, struct user_namespace *needed_in,
	     const struct user_namespace *capable_in, int capability, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct capability_event *total;
	struct eu_aggregate_key key;
	int level, own;
	bool compat;
	__u32 what;
	long nr;

	if (denied_only && !ret)
		return 0;
	if (capabilities && !(capabilities >> (capability & 63) & 1))
		return 0;
	nr = call_of(task, regs);
	if (!memory && is_of_memory(task, regs, nr, capability))
		return 0;
	level = needed_in->level;
	if (eu_where &&
	    (!eu_passes(capability, capability) || !eu_passes(granted, !ret) ||
	     !eu_passes(nr, nr == NO_CALL ? NO_CALL : eu_call_number(nr)) || !eu_passes(user_ns_level, level)))
		return 0;
	if (!eu_syscall_wanted(task))
		return 0;
	own = BPF_CORE_READ((struct cred___spaces *)eu_far(task)->cred, user_ns, level);
	compat = nr != NO_CALL && eu_task_is_32bit(task);
	/* Levels are at most 32 (include/linux/user_namespace.h), numbers of calls below 1024. */
	what = (capability & 63) | !ret << 6 | (level & 63) << 7 | (own & 63) << 13 | compat << 19;
	what |= nr == NO_CALL ? 1 << 20 : (eu_call_number(nr) & 1023) << 21 | (nr != eu_call_number(nr)) << 31;
	key = eu_aggregate_program_key(task, what);
	total = eu_aggregate_of(&key);
	if (total) {
		add(total, nr, compat, capability, ret, level, own);
		return 0;
	}
	total = eu_reserve(struct capability_event);
	if (!total)
		return 0;
	__builtin_memset(total, 0, sizeof(*total));
	eu_fill(&total->header);
	add(total, nr, compat, capability, ret, level, own);
	eu_submit(total);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
