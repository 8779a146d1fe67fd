/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Programs that look at each system call, at its beginning (enter) or end (exit).
 *
 * Each program that is attached there costs every call of the machine some 70 ns, however little it does. Of several of a session only
 * the first is attached, and each goes on to the next by a tail call (docs/decisions/151-chain-at-system-calls.md). EU_EACH_CALL is the
 * only way to define one, so that no way out of its code leaves the others out.
 */
#ifndef EUNOMIA_EACH_CALL_BPF_H
#define EUNOMIA_EACH_CALL_BPF_H

#include "syscall.bpf.h"

#define EU_CHAIN 4 /* src/kernel/chain.ts has the same number */

/*
 * The session's programs of a hook, by their places but the first, which is attached. Two maps: the kernel takes programs of one
 * hook alone into one. Without BTF types, which it refuses for programs.
 */
struct eu_chain_of {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, EU_CHAIN);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
};
struct eu_chain_of eu_chain_enter SEC(".maps");
struct eu_chain_of eu_chain_exit SEC(".maps");

/* This object's places; EU_CHAIN: in no chain, and what goes on to others vanishes. */
const volatile __u32 eu_chain_enter_at = EU_CHAIN;
const volatile __u32 eu_chain_exit_at = EU_CHAIN;

/* On to the next program that is there. By constant places, so that the kernel makes it a jump. */
#define eu_chain_next(ctx, hook)                                        \
	({                                                              \
		__u32 eu_at = eu_chain_##hook##_at;                     \
		if (eu_at < 1)                                          \
			bpf_tail_call_static(ctx, &eu_chain_##hook, 1); \
		if (eu_at < 2)                                          \
			bpf_tail_call_static(ctx, &eu_chain_##hook, 2); \
		if (eu_at < 3)                                          \
			bpf_tail_call_static(ctx, &eu_chain_##hook, 3); \
	})

/* EU_EACH_CALL(exit, syscount_exit, long ret) { … }: `regs` are there, and what the hook passes beside them. */
#define EU_EACH_CALL(hook, name, value)                                       \
	static __always_inline void name##_look(struct pt_regs *regs, value); \
	SEC("tp_btf/sys_" #hook)                                              \
	int BPF_PROG(name, struct pt_regs *eu_regs, long eu_value)            \
	{                                                                     \
		name##_look(eu_regs, eu_value);                               \
		eu_chain_next(ctx, hook);                                     \
		return 0;                                                     \
	}                                                                     \
	static __always_inline void name##_look(struct pt_regs *regs, value)

#endif
