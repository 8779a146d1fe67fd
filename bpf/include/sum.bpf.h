/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Trackers that sum in the kernel: no event for each happening, but one record for each process and kind of happening,
 * which the program adds to and user space takes at an interval, when it asks, and at the end (src/kernel/sum.ts).
 *
 * The value of the map is the record itself, `struct NAME_event`. Members of type eu_sum and eu_log2 are added up over
 * CPUs, the others are those of the first that was seen.
 *
 * There are two maps. Programs add to one while user space empties the other: it turns eu_control.sum_side, waits for an RCU
 * grace period, after which no program is in the old one, and takes its entries out. So nothing is counted twice or lost
 * between two readings, and a process that has ended is gone with the next.
 *
 * The CPU is part of the key, in place of a per-CPU map: as there, no two CPUs write to one value, but memory is used only
 * for CPUs that a process ran on, and a reading is not multiplied by all CPUs that the machine could have
 * (docs/decisions/012-sums.md). The adds are plain: a program that another of its kind could interrupt on its CPU (softirqs) needs atomic ones.
 */
#ifndef EUNOMIA_SUM_BPF_H
#define EUNOMIA_SUM_BPF_H

#include "eunomia.bpf.h"

#define EU_SUM_ENTRIES 65536

struct eu_sum_key {
	__u64 start_and_cpu; /* start_boot_ns of the process << 16 | CPU. User space knows the first two bytes as the CPU. */
	__u64 cgroup_id;
	__u32 pid;
	__u32 what; /* the tracker's own: what happened */
};

/* Declares the two maps, and what a value begins with. */
#define EU_SUMS(name)                                     \
	EU_EVENT(name);                                   \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_HASH);          \
		__uint(max_entries, EU_SUM_ENTRIES);      \
		__uint(map_flags, BPF_F_NO_PREALLOC);     \
		__type(key, struct eu_sum_key);           \
		__type(value, struct name##_event);       \
	} eu_sums_0 SEC(".maps"), eu_sums_1 SEC(".maps"); \
	static const struct name##_event eu_sum_zero = {}

static __always_inline struct eu_sum_key eu_sum_key(struct task_struct *task, __u32 what)
{
	return (struct eu_sum_key){
		.start_and_cpu = task->group_leader->start_boottime << 16 | (__u16)bpf_get_smp_processor_id(),
		.cgroup_id = task->cgroups->dfl_cgrp->kn->id,
		.pid = task->tgid,
		.what = what,
	};
}

/* The value of a key in one of the maps, made where there is none; NULL when there is no room. */
static __always_inline void *eu_sum_in(void *sums, const struct eu_sum_key *key, const void *zero)
{
	struct eu_header *sum = bpf_map_lookup_elem(sums, key);

	if (sum)
		return sum;
	if (bpf_map_update_elem(sums, key, zero, BPF_NOEXIST))
		return NULL;
	sum = bpf_map_lookup_elem(sums, key);
	if (sum)
		eu_fill(sum);
	return sum;
}

/* The value that this CPU adds to; NULL when there is no room: then it is an event of its own, in the ring. */
#define eu_sum_of(key) \
	(eu_control.sum_side ? eu_sum_in(&eu_sums_1, key, &eu_sum_zero) : eu_sum_in(&eu_sums_0, key, &eu_sum_zero))

/* The place of a duration in an eu_log2. */
static __always_inline __u32 eu_log2_slot(__u64 ns)
{
	__u32 slot = (ns > 0xffffffff) << 5;
	__u32 rest = ns >> slot, shift;

	shift = (rest > 0xffff) << 4;
	rest >>= shift;
	slot |= shift;
	shift = (rest > 0xff) << 3;
	rest >>= shift;
	slot |= shift;
	shift = (rest > 0xf) << 2;
	rest >>= shift;
	slot |= shift;
	shift = (rest > 0x3) << 1;
	rest >>= shift;
	slot |= shift;
	slot |= rest >> 1;
	return slot < EU_LOG2_SLOTS ? slot : EU_LOG2_SLOTS - 1;
}

#endif
