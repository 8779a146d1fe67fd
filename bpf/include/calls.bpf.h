/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Trackers of some system calls, chosen by name. src/tracker/watched-calls.ts translates the names to numbers of each ABI, so that a
 * tracker's program has no numbers of calls: `eu_call_of` returns the tracker's own value for a call.
 */
#ifndef EUNOMIA_CALLS_BPF_H
#define EUNOMIA_CALLS_BPF_H

#include "compat.bpf.h"

/* The tracker's values by number: first those of the architecture's own calls, then those of its 32-bit ABI. 0: not watched. */
const volatile __u16 eu_calls[EU_NATIVE_CALLS + EU_COMPAT_CALLS] = {};

struct eu_matched_call {
	__u32 value;        /* 0: not watched */
	bool narrow;        /* arguments and the pointers behind them have 32 bits */
	bool narrow_memory; /* only the latter do: x32 */
};

/* Most calls end here after two loads: the number is of no call that is watched, in whichever ABI. */
static __always_inline struct eu_matched_call eu_match_call(long number)
{
	struct eu_matched_call call = {};
	__u32 nr = eu_call_number(number);
	__u16 native, compat;

	if (nr >= EU_COMPAT_CALLS) {
		if (nr < EU_NATIVE_CALLS && eu_calls[nr] && !eu_syscall_is_32bit()) {
			call.value = eu_calls[nr];
			call.narrow_memory = true;
		}
		return call;
	}
	native = eu_calls[nr];
	compat = eu_calls[EU_NATIVE_CALLS + nr];
	if (!native && !compat)
		return call;
	if (eu_syscall_is_32bit()) {
		call.value = compat;
		call.narrow = call.narrow_memory = true;
	} else {
		call.value = native;
		call.narrow_memory = (__u32)number != nr;
	}
	return call;
}

#define EU_CALL_ARGS 5

/* The arguments of the call that the current task is in. */
static __always_inline void eu_read_args(struct pt_regs *regs, bool narrow, unsigned long args[EU_CALL_ARGS])
{
#if defined(__TARGET_ARCH_x86)
	if (narrow) {
		args[0] = (__u32)eu_load(regs->bx);
		args[1] = (__u32)eu_load(regs->cx);
		args[2] = (__u32)eu_load(regs->dx);
		args[3] = (__u32)eu_load(regs->si);
		args[4] = (__u32)eu_load(regs->di);
		return;
	}
#endif
	args[0] = eu_arg1(regs);
	args[1] = eu_arg2(regs);
	args[2] = eu_arg3(regs);
	args[3] = eu_arg4(regs);
	args[4] = eu_arg5(regs);
}

#endif
