/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * System calls of other ABIs than the architecture's own: their numbers are of another table, their arguments in other
 * registers, and their pointers may have 32 bits. Any program can make them: on x86-64 by int 0x80 (i386) or with a bit in
 * the number (x32, where the kernel has it), on arm64 only a 32-bit program.
 *
 * A tracker of some calls rejects most others by eu_may_… (the number alone, no load), and then reads the call.
 */
#ifndef EUNOMIA_COMPAT_BPF_H
#define EUNOMIA_COMPAT_BPF_H

#include "syscall.bpf.h"

/* The schema's SyscallAbi has the same names. */
enum eu_abi {
	EU_ABI_X86_64 = 1,
	EU_ABI_I386,
	EU_ABI_X32,
	EU_ABI_ARM64,
	EU_ABI_ARM,
};

/* One call. `nr` is the architecture's own number of it (EU_NR_…), or EU_NR_none: of no call that trackers look for. */
struct eu_call {
	long nr;
	bool narrow;        /* arguments and the pointers behind them have 32 bits */
	bool narrow_memory; /* only the latter do: x32 */
	unsigned long args[4];
};

#define EU_NR_none (-2)

/* Numbers of calls are below these; src/tracker/watched-calls.ts has the same ones. */
#define EU_NATIVE_CALLS 576 /* x32 has calls of its own up to 547 */
#define EU_COMPAT_CALLS 512

#if defined(__TARGET_ARCH_x86)

#define EU_X32_BIT 0x40000000 /* arch/x86/include/uapi/asm/unistd.h: __X32_SYSCALL_BIT */

#define EU_X32_execve 520
#define EU_X32_execveat 545

#define EU_I386_open 5
#define EU_I386_creat 8
#define EU_I386_execve 11
#define EU_I386_socketcall 102
#define EU_I386_openat 295
#define EU_I386_open_by_handle_at 342
#define EU_I386_execveat 358
#define EU_I386_connect 362
#define EU_I386_accept4 364
#define EU_I386_openat2 437

/* The number without x32's bit, and the ABI that it is of. */
static __always_inline __u32 eu_call_number(long nr)
{
	return (__u32)nr & ~EU_X32_BIT;
}
static __always_inline enum eu_abi eu_call_abi(long nr, bool compat)
{
	return compat ? EU_ABI_I386 : nr & EU_X32_BIT ? EU_ABI_X32 : EU_ABI_X86_64;
}

/* include/uapi/linux/net.h */
#define EU_SYS_CONNECT 3
#define EU_SYS_ACCEPT 5
#define EU_SYS_ACCEPT4 18

/* i386's socket calls in one: the sub-call's number, and its arguments in memory. */
static __always_inline void eu_read_socketcall(struct pt_regs *regs, struct eu_call *call)
{
	__u32 which = (__u32)eu_load(regs->bx), args[3] = {};

	call->nr = which == EU_SYS_CONNECT                             ? EU_NR_connect
		   : which == EU_SYS_ACCEPT || which == EU_SYS_ACCEPT4 ? EU_NR_accept
								       : EU_NR_none;
	if (call->nr == EU_NR_none)
		return;
	bpf_probe_read_user(args, sizeof(args), (void *)(unsigned long)(__u32)eu_load(regs->cx));
	call->args[0] = args[0];
	call->args[1] = args[1];
	call->args[2] = args[2];
}

static __always_inline long eu_native_of_i386(__u32 nr)
{
	switch (nr) {
	case EU_I386_open: return EU_NR_open;
	case EU_I386_creat: return EU_NR_creat;
	case EU_I386_execve: return EU_NR_execve;
	case EU_I386_openat: return EU_NR_openat;
	case EU_I386_open_by_handle_at: return EU_NR_open_by_handle_at;
	case EU_I386_execveat: return EU_NR_execveat;
	case EU_I386_connect: return EU_NR_connect;
	case EU_I386_accept4: return EU_NR_accept4;
	case EU_I386_openat2: return EU_NR_openat2;
	default: return EU_NR_none;
	}
}

/* The call that the current task is in, by the number in its registers. */
static __always_inline void eu_read_call(struct pt_regs *regs, long nr, struct eu_call *call)
{
	__builtin_memset(call, 0, sizeof(*call));
	if (eu_syscall_is_32bit()) {
		call->narrow = call->narrow_memory = true;
		if ((__u32)nr == EU_I386_socketcall) {
			eu_read_socketcall(regs, call);
			return;
		}
		call->nr = eu_native_of_i386(nr);
		call->args[0] = (__u32)eu_load(regs->bx);
		call->args[1] = (__u32)eu_load(regs->cx);
		call->args[2] = (__u32)eu_load(regs->dx);
		call->args[3] = (__u32)eu_load(regs->si);
		return;
	}
	call->nr = nr;
	if (nr & EU_X32_BIT) {
		__u32 x32 = eu_call_number(nr);

		call->narrow_memory = true;
		call->nr = x32 == EU_X32_execve ? EU_NR_execve : x32 == EU_X32_execveat ? EU_NR_execveat : x32;
	}
	call->args[0] = eu_arg1(regs);
	call->args[1] = eu_arg2(regs);
	call->args[2] = eu_arg3(regs);
	call->args[3] = eu_arg4(regs);
}

/* Can the number be one of these calls, in any ABI? Constants: a few comparisons and no load. */
static __always_inline bool eu_may_open(long nr)
{
	nr = eu_call_number(nr);
	return nr == EU_NR_openat || nr == EU_NR_openat2 || nr == EU_NR_open || nr == EU_NR_creat ||
	       nr == EU_NR_open_by_handle_at || nr == EU_I386_open || nr == EU_I386_creat || nr == EU_I386_openat ||
	       nr == EU_I386_open_by_handle_at;
}
static __always_inline bool eu_may_exec(long nr)
{
	nr = eu_call_number(nr);
	return nr == EU_NR_execve || nr == EU_NR_execveat || nr == EU_I386_execve || nr == EU_I386_execveat ||
	       nr == EU_X32_execve || nr == EU_X32_execveat;
}
static __always_inline bool eu_may_connect(long nr)
{
	nr = eu_call_number(nr);
	return nr == EU_NR_connect || nr == EU_NR_accept || nr == EU_NR_accept4 || nr == EU_I386_socketcall ||
	       nr == EU_I386_connect || nr == EU_I386_accept4;
}

#elif defined(__TARGET_ARCH_arm64)

#define EU_ARM_open 5
#define EU_ARM_creat 8
#define EU_ARM_execve 11
#define EU_ARM_connect 283
#define EU_ARM_accept 285
#define EU_ARM_openat 322
#define EU_ARM_accept4 366
#define EU_ARM_open_by_handle_at 371
#define EU_ARM_execveat 387
#define EU_ARM_openat2 437

static __always_inline __u32 eu_call_number(long nr)
{
	return nr;
}
static __always_inline enum eu_abi eu_call_abi(long nr, bool compat)
{
	return compat ? EU_ABI_ARM : EU_ABI_ARM64;
}

/* arm64 has neither open nor creat: of a 32-bit program they go by numbers that no call has. */
static __always_inline long eu_native_of_arm(__u32 nr)
{
	switch (nr) {
	case EU_ARM_open: return EU_NR_open;
	case EU_ARM_creat: return EU_NR_creat;
	case EU_ARM_execve: return EU_NR_execve;
	case EU_ARM_connect: return EU_NR_connect;
	case EU_ARM_accept: return EU_NR_accept;
	case EU_ARM_openat: return EU_NR_openat;
	case EU_ARM_accept4: return EU_NR_accept4;
	case EU_ARM_open_by_handle_at: return EU_NR_open_by_handle_at;
	case EU_ARM_execveat: return EU_NR_execveat;
	case EU_ARM_openat2: return EU_NR_openat2;
	default: return EU_NR_none;
	}
}

static __always_inline void eu_read_call(struct pt_regs *regs, long nr, struct eu_call *call)
{
	call->narrow = call->narrow_memory = eu_syscall_is_32bit();
	call->nr = call->narrow ? eu_native_of_arm(nr) : nr;
	call->args[0] = eu_arg1(regs);
	call->args[1] = eu_arg2(regs);
	call->args[2] = eu_arg3(regs);
	call->args[3] = eu_arg4(regs);
}

static __always_inline bool eu_may_open(long nr)
{
	return nr == EU_NR_openat || nr == EU_NR_openat2 || nr == EU_NR_open_by_handle_at || nr == EU_ARM_open ||
	       nr == EU_ARM_creat || nr == EU_ARM_openat || nr == EU_ARM_open_by_handle_at;
}
static __always_inline bool eu_may_exec(long nr)
{
	return nr == EU_NR_execve || nr == EU_NR_execveat || nr == EU_ARM_execve || nr == EU_ARM_execveat;
}
static __always_inline bool eu_may_connect(long nr)
{
	return nr == EU_NR_connect || nr == EU_NR_accept || nr == EU_NR_accept4 || nr == EU_ARM_connect ||
	       nr == EU_ARM_accept || nr == EU_ARM_accept4;
}

#endif

#endif
