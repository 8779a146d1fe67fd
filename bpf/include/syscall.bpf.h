/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * System calls at their exit: number and arguments out of pt_regs. Registers keep the
 * arguments until the return to user space, so that one hook at exit sees both.
 *
 * The hook runs for each system call on the machine. A tracker rejects by `ret`, then by
 * eu_syscall_nr (one load), and only then asks eu_syscall_is_32bit, whose calls have other
 * numbers and other registers and are not decoded.
 */
#ifndef EUNOMIA_SYSCALL_BPF_H
#define EUNOMIA_SYSCALL_BPF_H

#include "eunomia.bpf.h"

/*
 * One load of one register. Else the compiler merges the loads of branches into one through a pointer
 * that it computes, which the verifier refuses where one branch's pointer is to other memory.
 */
#define eu_load(field)                          \
	({                                      \
		unsigned long eu_value = field; \
		barrier_var(eu_value);          \
		eu_value;                       \
	})

#if defined(__TARGET_ARCH_x86)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct thread_info {
	u32 status;
};
struct task_struct___x86 {
	struct thread_info thread_info;
};
struct pt_regs {
	unsigned long r10, r9, r8, ax, cx, dx, si, di, orig_ax;
};
#pragma clang attribute pop

#define EU_NR_open 2
#define EU_NR_connect 42
#define EU_NR_accept 43
#define EU_NR_execve 59
#define EU_NR_creat 85
#define EU_NR_openat 257
#define EU_NR_accept4 288
#define EU_NR_execveat 322
#define EU_NR_openat2 437

#define EU_TS_COMPAT 2 /* arch/x86/include/asm/thread_info.h: a 32-bit system call is running */

static __always_inline long eu_syscall_nr(struct pt_regs *regs)
{
	return (long)regs->orig_ax;
}
static __always_inline bool eu_syscall_is_32bit(void)
{
	struct task_struct___x86 *task = (void *)bpf_get_current_task_btf();

	return task->thread_info.status & EU_TS_COMPAT;
}
/* The same for a hook that has the task already. */
static __always_inline bool eu_task_is_32bit(struct task_struct *task)
{
	return ((struct task_struct___x86 *)task)->thread_info.status & EU_TS_COMPAT;
}
#define eu_arg1(r) eu_load((r)->di)
#define eu_arg2(r) eu_load((r)->si)
#define eu_arg3(r) eu_load((r)->dx)
#define eu_arg4(r) eu_load((r)->r10)

#elif defined(__TARGET_ARCH_arm64)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
};
struct thread_info {
	unsigned long flags;
};
struct task_struct___arm64 {
	struct thread_info thread_info;
};
#pragma clang attribute pop

/* asm-generic/unistd.h; open and creat do not exist there */
#define EU_NR_open (-2)
#define EU_NR_creat (-2)
#define EU_NR_openat 56
#define EU_NR_connect 203
#define EU_NR_accept 202
#define EU_NR_execve 221
#define EU_NR_accept4 242
#define EU_NR_execveat 281
#define EU_NR_openat2 437

#define EU_TIF_32BIT (1UL << 22) /* arch/arm64/include/asm/thread_info.h */

static __always_inline long eu_syscall_nr(struct pt_regs *regs)
{
	return regs->syscallno;
}
static __always_inline bool eu_syscall_is_32bit(void)
{
	struct task_struct___arm64 *task = (void *)bpf_get_current_task_btf();

	return task->thread_info.flags & EU_TIF_32BIT;
}
static __always_inline bool eu_task_is_32bit(struct task_struct *task)
{
	return ((struct task_struct___arm64 *)task)->thread_info.flags & EU_TIF_32BIT;
}
#define eu_arg1(r) eu_load((r)->orig_x0)
#define eu_arg2(r) eu_load((r)->regs[1])
#define eu_arg3(r) eu_load((r)->regs[2])
#define eu_arg4(r) eu_load((r)->regs[3])

#else
#error "Eunomia knows the system call registers of x86 and arm64; add yours here"
#endif

/* ---- What a call returns ---- */

/* include/linux/err.h: the last 4095 values are errors, also where others are addresses (mmap). */
static __always_inline bool eu_is_error(long ret)
{
	return (unsigned long)ret >= (unsigned long)-4095;
}

/*
 * include/linux/errno.h, ERESTARTSYS to ERESTART_RESTARTBLOCK: the kernel's own "will be restarted, or end as
 * EINTR". User space never sees them; which of both becomes of it is decided after this hook.
 */
static __always_inline long eu_user_ret(long ret)
{
	return ret <= -512 && ret >= -516 ? -4 : ret;
}

/* ---- Trackers of many system calls (EU_SYSCALL_SET): of which, and of whom not ---- */

#ifdef EU_SYSCALL_SET

const volatile bool eu_by_syscall = false;
/* Bit by number. Words and no array: as constants they vanish into the comparisons, and the loader sets scalars. */
const volatile __u64 eu_syscalls_0 = 0, eu_syscalls_1 = 0, eu_syscalls_2 = 0, eu_syscalls_3 = 0;
const volatile __u64 eu_syscalls_4 = 0, eu_syscalls_5 = 0, eu_syscalls_6 = 0, eu_syscalls_7 = 0;
/* Those from 512 on: x32's, and what a later kernel adds. */
const volatile bool eu_syscalls_rest = true;
/* The server's process, or 0. Each batch that it reads makes calls, and an event for each of these would make the next batch. */
const volatile __u32 eu_self = 0;

/* A negative number is no call: x86's rt_sigreturn ends with -1, and so does what a tracer has cancelled. */
static __always_inline bool eu_syscall_selected(long nr)
{
	__u64 word;

	if (nr < 0)
		return false;
	if (!eu_by_syscall)
		return true;
	switch ((__u64)nr >> 6) {
	case 0: word = eu_syscalls_0; break;
	case 1: word = eu_syscalls_1; break;
	case 2: word = eu_syscalls_2; break;
	case 3: word = eu_syscalls_3; break;
	case 4: word = eu_syscalls_4; break;
	case 5: word = eu_syscalls_5; break;
	case 6: word = eu_syscalls_6; break;
	case 7: word = eu_syscalls_7; break;
	default: return eu_syscalls_rest;
	}
	return word >> (nr & 63) & 1;
}

static __always_inline bool eu_syscall_of_self(struct task_struct *task)
{
	return eu_self && task->tgid == eu_self;
}

/* Not our own call, not a 32-bit one, and of the session's target. */
static __always_inline bool eu_syscall_wanted(struct task_struct *task)
{
	return !eu_syscall_of_self(task) && !eu_task_is_32bit(task) && eu_wanted();
}

/* ---- How long a call takes: eu_syscall_begin at its entry, eu_syscall_began at its exit ---- */

/* include/uapi/linux/bpf.h */
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1

/*
 * When the task's call under way began. In the task itself: a call may end on another CPU, a thread that executes a
 * program takes another tid, and what is left of a call without an end goes with the task. Since Linux 5.12
 * (a10787e6d58c "bpf: Enable task local storage for tracing programs").
 */
struct eu_syscall_start {
	__u64 boot_ns; /* 0: taken */
	__s64 nr;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct eu_syscall_start);
} eu_starts SEC(".maps");

static __always_inline void eu_syscall_begin(struct task_struct *task, long nr)
{
	struct eu_syscall_start *start = bpf_task_storage_get(&eu_starts, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!start)
		return;
	start->nr = nr;
	start->boot_ns = bpf_ktime_get_boot_ns();
}

/*
 * When the call that ends now began, or 0. Not each end has a beginning: a call that seccomp refuses ends without one
 * (kernel/entry/common.c), a new child returns from its parent's fork, and a rt_sigreturn leaves its own behind. So does
 * a call during which the hook at entry is detached; it is told by its time when that hook is there again.
 */
static __always_inline __u64 eu_syscall_began(struct task_struct *task, long nr)
{
	struct eu_syscall_start *start = bpf_task_storage_get(&eu_starts, task, NULL, 0);
	__u64 boot_ns;

	if (!start || start->nr != nr)
		return 0;
	boot_ns = start->boot_ns;
	start->boot_ns = 0;
	return boot_ns < eu_control.hooked_ns ? 0 : boot_ns;
}

#endif

#endif
