/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * System calls at their exit: number and arguments out of pt_regs. Registers keep the
 * arguments until the return to user space, so that one hook at exit sees both.
 *
 * The hook runs for each system call on the machine. A tracker rejects by `ret`, then by
 * eu_syscall_nr (one load), and only then asks eu_syscall_is_32bit, whose calls have other
 * numbers and other registers (compat.bpf.h).
 */
#ifndef EUNOMIA_SYSCALL_BPF_H
#define EUNOMIA_SYSCALL_BPF_H

#include "record.bpf.h"

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
	unsigned long r10, r9, r8, bp, bx, ax, cx, dx, si, di, orig_ax;
};
#pragma clang attribute pop

#define EU_NR_open 2
#define EU_NR_connect 42
#define EU_NR_accept 43
#define EU_NR_execve 59
#define EU_NR_creat 85
#define EU_NR_openat 257
#define EU_NR_accept4 288
#define EU_NR_open_by_handle_at 304
#define EU_NR_execveat 322
#define EU_NR_openat2 437

#define EU_TS_COMPAT 2 /* arch/x86/include/asm/thread_info.h: a 32-bit system call is running */

/*
 * Its lower half alone: the kernel drops the upper one (3e5e7f7736b0 "x86/entry: Reverse arguments to
 * do_syscall_64()", Linux 5.13), the register keeps it.
 */
static __always_inline long eu_syscall_nr(struct pt_regs *regs)
{
	return (int)regs->orig_ax;
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
#define eu_arg5(r) eu_load((r)->r8)

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

/* asm-generic/unistd.h; open and creat are not there, and have a number of ours */
#define EU_NR_open 1024
#define EU_NR_creat 1025
#define EU_NR_openat 56
#define EU_NR_connect 203
#define EU_NR_accept 202
#define EU_NR_execve 221
#define EU_NR_accept4 242
#define EU_NR_execveat 281
#define EU_NR_open_by_handle_at 265
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
#define eu_arg5(r) eu_load((r)->regs[4])

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

#endif
