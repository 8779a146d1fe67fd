/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Trackers that aggregate in the kernel: instead of an event per occurrence, one record per process and kind of occurrence,
 * which the program adds to and user space takes at an interval, when it asks, and at the end (src/kernel/aggregate.ts).
 *
 * The value of the map is the record itself, `struct NAME_event`. Members of type eu_total and eu_log2 are added up over
 * CPUs, the others are those of the first that was seen, but for an eu_latest_boot_ns.
 *
 * There are two maps. Programs add to one while user space empties the other: it turns eu_control.aggregate_side, waits for an RCU
 * grace period, after which no program is in the old one, and takes its entries out. So nothing is counted twice or lost
 * between two readings, and a process that has ended is gone with the next.
 *
 * The CPU is part of the key, in place of a per-CPU map: as there, no two CPUs write to one value, but memory is used only
 * for CPUs that a process ran on, and a reading is not multiplied by all CPUs that the machine could have
 * (docs/decisions/012-aggregated-in-the-kernel.md). The adds are plain: a program that another of its kind could
 * interrupt on its CPU (softirqs) needs atomic ones.
 */
#ifndef EUNOMIA_AGGREGATE_BPF_H
#define EUNOMIA_AGGREGATE_BPF_H

#include "eunomia.bpf.h"

#define EU_AGGREGATE_ENTRIES 65536

struct eu_aggregate_key {
	__u64 start_and_cpu; /* start_boot_ns of the process << 16 | CPU. User space knows the first two bytes as the CPU. */
	__u64 cgroup_id;
	__u32 pid;
	__u32 what; /* the tracker's own: what happened */
	/*
	 * How many programs the process has executed (self_exec_id), where what one did is not the next one's: the runtime of a
	 * container and its program are one process. Else 0.
	 */
	__u64 program;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct___program {
	__u64 self_exec_id;
};
#pragma clang attribute pop

/* The two maps. `value_type` begins with the record; what is behind it are texts of the record. */
#define EU_AGGREGATE_MAPS(key_type, value_type)            \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_HASH);           \
		__uint(max_entries, EU_AGGREGATE_ENTRIES); \
		__uint(map_flags, BPF_F_NO_PREALLOC);      \
		__type(key, key_type);                     \
		__type(value, value_type);                 \
	} eu_aggregates_0 SEC(".maps"), eu_aggregates_1 SEC(".maps")

/* Declares the two maps. `key_type` begins with a struct eu_aggregate_key: for a tracker whose `what` needs more room. */
#define EU_AGGREGATES_BY(name, key_type)                  \
	EU_EVENT(name);                                   \
	EU_AGGREGATE_MAPS(key_type, struct name##_event); \
	static const struct name##_event eu_aggregate_zero = {}
#define EU_AGGREGATES(name) EU_AGGREGATES_BY(name, struct eu_aggregate_key)

static __always_inline struct eu_aggregate_key eu_aggregate_key(struct task_struct *task, __u32 what)
{
	return (struct eu_aggregate_key){
		.start_and_cpu = eu_far(task)->group_leader->start_boottime << 16 | (__u16)bpf_get_smp_processor_id(),
		.cgroup_id = eu_far(task)->cgroups->dfl_cgrp->kn->id,
		.pid = task->tgid,
		.what = what,
	};
}

/* The same, apart for each program that the process executes. */
static __always_inline struct eu_aggregate_key eu_aggregate_program_key(struct task_struct *task, __u32 what)
{
	struct eu_aggregate_key key = eu_aggregate_key(task, what);

	key.program = EU_READ((struct task_struct___program *)task, self_exec_id);
	return key;
}

/* The same of a process by its header. */
static __always_inline struct eu_aggregate_key eu_aggregate_key_of(const struct eu_header *h, __u32 what)
{
	return (struct eu_aggregate_key){
		.start_and_cpu = h->start_boot_ns << 16 | (__u16)bpf_get_smp_processor_id(),
		.cgroup_id = h->cgroup_id,
		.pid = h->pid,
		.what = what,
	};
}

/*
 * The value of a key in one of the maps, made where there is none; NULL when there is no room. `header` is the process's; NULL for the
 * current task's.
 */
static __always_inline void *eu_aggregate_in(void *map, const void *key, const void *zero,
					     const struct eu_header *header)
{
	struct eu_header *total = bpf_map_lookup_elem(map, key);

	if (total)
		return total;
	if (bpf_map_update_elem(map, key, zero, BPF_NOEXIST))
		return NULL;
	total = bpf_map_lookup_elem(map, key);
	if (total && header)
		*total = *header;
	else if (total)
		eu_fill(total);
	return total;
}

/* The value that this CPU adds to; NULL when there is no room: then it is an event of its own, in the ring. */
#define eu_aggregate_for(key, header)                                                                   \
	(eu_control.aggregate_side ? eu_aggregate_in(&eu_aggregates_1, key, &eu_aggregate_zero, header) \
				   : eu_aggregate_in(&eu_aggregates_0, key, &eu_aggregate_zero, header))
#define eu_aggregate_of(key) eu_aggregate_for(key, NULL)

/* The place of a value in an eu_log2. */
static __always_inline __u32 eu_log2_slot(__u64 value)
{
	__u32 slot = (value > 0xffffffff) << 5;
	__u32 rest = value >> slot, shift;

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
