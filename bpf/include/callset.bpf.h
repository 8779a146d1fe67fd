/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Trackers of many system calls: which call it is, whether it is of those that are asked for, and how long it takes. */
#ifndef EUNOMIA_CALLSET_BPF_H
#define EUNOMIA_CALLSET_BPF_H

#include "compat.bpf.h"

/* ---- Which call: its ABI, its number there, and its code, which is one for each name ---- */

/*
 * The codes of calls by number: 512 of the 32-bit ABI, then those of the own numbers 512 to 575, which x32 has for what has another
 * number too. EU_NO_CODE for a number without a name. From src/linux/syscalls.ts, where the names are.
 */
#define EU_OWN_CODES 576
#define EU_NO_CODE 0xffff
const volatile __u16 eu_call_codes[EU_OWN_CODES] = {};

/* src/linux/syscalls.ts makes the same ones: OWN_UNNAMED, COMPAT_UNNAMED. */
static __always_inline __s64 eu_call_code(__u32 nr, bool compat)
{
	__u16 code;

	if (!compat && nr < 512)
		return nr;
	if (!compat && nr >= EU_OWN_CODES)
		return (1LL << 20) + nr;
	if (compat && nr >= 512)
		return (1LL << 40) + nr;
	code = eu_call_codes[nr];
	return code == EU_NO_CODE ? (1LL << 40) + nr : code;
}

/* What tells calls of one process apart in 32 bits: own numbers are below x32's bit. */
static __always_inline __u32 eu_call_key(long nr, bool compat)
{
	return (__u32)nr | (__u32)compat << 31;
}

/* ---- Of which, and of whom not ---- */

const volatile bool eu_by_syscall = false;
/* Bit by code. Words and no array: as constants they vanish into the comparisons. */
const volatile __u64 eu_syscalls_0 = 0, eu_syscalls_1 = 0, eu_syscalls_2 = 0, eu_syscalls_3 = 0;
const volatile __u64 eu_syscalls_4 = 0, eu_syscalls_5 = 0, eu_syscalls_6 = 0, eu_syscalls_7 = 0;
const volatile __u64 eu_syscalls_8 = 0, eu_syscalls_9 = 0, eu_syscalls_10 = 0, eu_syscalls_11 = 0;
const volatile __u64 eu_syscalls_12 = 0, eu_syscalls_13 = 0, eu_syscalls_14 = 0, eu_syscalls_15 = 0;
/* Those without a name from 576 on, and all without a name of the 32-bit ABI. */
const volatile bool eu_syscalls_rest = true;
/* The server's process, or 0. Each batch that it reads makes calls, and an event for each of these would make the next batch. */
const volatile __u32 eu_self = 0;

static __always_inline bool eu_syscall_selected(__s64 code)
{
	__u64 word;

	if (!eu_by_syscall)
		return true;
	switch ((__u64)code >> 6) {
	case 0: word = eu_syscalls_0; break;
	case 1: word = eu_syscalls_1; break;
	case 2: word = eu_syscalls_2; break;
	case 3: word = eu_syscalls_3; break;
	case 4: word = eu_syscalls_4; break;
	case 5: word = eu_syscalls_5; break;
	case 6: word = eu_syscalls_6; break;
	case 7: word = eu_syscalls_7; break;
	case 8: word = eu_syscalls_8; break;
	case 9: word = eu_syscalls_9; break;
	case 10: word = eu_syscalls_10; break;
	case 11: word = eu_syscalls_11; break;
	case 12: word = eu_syscalls_12; break;
	case 13: word = eu_syscalls_13; break;
	case 14: word = eu_syscalls_14; break;
	case 15: word = eu_syscalls_15; break;
	default: return eu_syscalls_rest;
	}
	return word >> (code & 63) & 1;
}

/*
 * Before the ABI is known: a negative number is no call. x86's rt_sigreturn ends with -1, and so does what a tracer has cancelled.
 * In two steps, for most calls of a session with a filter end at the first, which loads nothing.
 */
#define eu_call_may_pass(nr) ((int)(nr) >= 0 && (!eu_where || eu_passes(nr, eu_call_number(nr))))

#define eu_call_passes(number, compat)                                                      \
	({                                                                                  \
		bool eu_pass = true;                                                        \
		if (eu_by_syscall || (eu_where && eu_where_call)) {                         \
			__s64 eu_code = eu_call_code(eu_call_number(number), compat);       \
			eu_pass = eu_syscall_selected(eu_code) && eu_passes(call, eu_code); \
		}                                                                           \
		eu_pass;                                                                    \
	})

static __always_inline bool eu_syscall_of_self(struct task_struct *task)
{
	return eu_self && task->tgid == eu_self;
}

/* Not our own call, and of the session's target. */
static __always_inline bool eu_syscall_wanted(struct task_struct *task)
{
	return !eu_syscall_of_self(task) && eu_wanted();
}

/* ---- How long a call takes: eu_syscall_begin at its entry, eu_syscall_began at its exit ---- */

/*
 * When the task's call under way began. In the task itself: a call may end on another CPU, a thread that executes a
 * program takes another tid, and what is left of a call without an end goes with the task. Since Linux 5.12
 * (a10787e6d58c "bpf: Enable task local storage for tracing programs").
 */
struct eu_syscall_start {
	__u64 boot_ns; /* 0: taken */
	__u64 call;    /* eu_call_key */
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct eu_syscall_start);
} eu_starts SEC(".maps");

static __always_inline void eu_syscall_begin(struct task_struct *task, __u32 call)
{
	struct eu_syscall_start *start = eu_in_task(&eu_starts, task);

	if (!start)
		return;
	start->call = call;
	start->boot_ns = bpf_ktime_get_boot_ns();
}

/*
 * When the call that ends now began, or 0. Not each end has a beginning: a call that seccomp refuses ends without one
 * (kernel/entry/common.c), a new child returns from its parent's fork, and a rt_sigreturn leaves its own behind. So does
 * a call during which the hook at entry is detached; it is told by its time when that hook is there again.
 */
static __always_inline __u64 eu_syscall_began(struct task_struct *task, __u32 call)
{
	struct eu_syscall_start *start = bpf_task_storage_get(&eu_starts, task, NULL, 0);
	__u64 boot_ns;

	if (!start || start->call != call)
		return 0;
	boot_ns = start->boot_ns;
	start->boot_ns = 0;
	return boot_ns < eu_control.hooked_ns ? 0 : boot_ns;
}

#endif
