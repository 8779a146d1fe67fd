/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * dispatch: runs, at the beginning and the end of a system call, the one program of a session's trackers that looks at this call, and none
 * for most calls. A tracepoint runs all programs that are attached to it, which costs each call of the machine some 80 ns a program.
 * Loaded by src/kernel/dispatch.ts, which puts trackers' programs into the slots of their calls.
 */
#define EU_NO_EVENTS
#include "compat.bpf.h"

#define SUBCALLS 32

/*
 * By number: the architecture's own calls, those of its 32-bit ABI, and those within i386's socketcall. Without BTF types, which the
 * kernel refuses for programs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, EU_NATIVE_CALLS + EU_COMPAT_CALLS + SUBCALLS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} eu_dispatch SEC(".maps");

/* The same ABI as that which the trackers' programs find (eu_match_call, eu_read_call). Returns only where no program is in the slot. */
static __always_inline int dispatch(void *ctx, struct pt_regs *regs, long number)
{
	__u32 nr = eu_call_number(number);

	if (nr >= EU_NATIVE_CALLS)
		return 0;
	if (eu_syscall_is_32bit()) {
		if (nr >= EU_COMPAT_CALLS)
			return 0;
#if defined(__TARGET_ARCH_x86)
		if (nr == EU_I386_socketcall)
			nr = EU_COMPAT_CALLS + ((__u32)regs->bx & (SUBCALLS - 1));
#endif
		nr += EU_NATIVE_CALLS;
	}
	bpf_tail_call(ctx, &eu_dispatch, nr);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(dispatch_enter, struct pt_regs *regs, long nr)
{
	return dispatch(ctx, regs, (int)nr);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(dispatch_exit, struct pt_regs *regs)
{
	return dispatch(ctx, regs, eu_syscall_nr(regs));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
