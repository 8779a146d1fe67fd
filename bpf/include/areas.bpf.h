/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory in which a program of a cgroup puts a record of variable length together. Such a program may be interrupted on its CPU by another
 * run of itself: by a softirq, and by another task where the kernel is preemptible (it only disables migration; a program on a
 * tracepoint disables preemption). So a CPU has several areas, and a run claims one. Where all are taken, the event counts as lost.
 */
#ifndef EUNOMIA_AREAS_BPF_H
#define EUNOMIA_AREAS_BPF_H

#include "eunomia.bpf.h"

#define EU_AREAS_PER_CPU 4 /* src/kernel/object.ts has it, which sizes the map */
#define EU_AREA_RECORD_MAX 8192
#define EU_AREA_INPUT_MAX 4096

struct eu_claimed {
	__u8 record[EU_AREA_RECORD_MAX];   /* at offset 0, as in struct eu_area */
	__u8 input[2 * EU_AREA_INPUT_MAX]; /* what the record is made from; the slack keeps masked offsets inside */
	/*
	 * Of loops: what the verifier loads from memory it does not know, so that one iteration stands for all; numbers that it
	 * knows, on the stack, are new in each.
	 */
	__u32 state[8];
	__u64 taken;
};

#define EU_AREAS(name)                            \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1);           \
		__type(key, __u32);               \
		__type(value, struct eu_claimed); \
	} eu_areas_##name SEC(".maps")

static __always_inline struct eu_claimed *eu_claim_from(void *areas)
{
	__u32 first = bpf_get_smp_processor_id() * EU_AREAS_PER_CPU;

	for (__u32 i = 0; i < EU_AREAS_PER_CPU; i++) {
		__u32 index = first + i;
		struct eu_claimed *area = bpf_map_lookup_elem(areas, &index);

		if (area && !__sync_val_compare_and_swap(&area->taken, 0, 1))
			return area;
	}
	return NULL;
}

/* An area of this CPU; NULL (counted as lost) if all are taken. Whoever claims one releases it. */
#define eu_claim(name)                                                        \
	({                                                                    \
		struct eu_claimed *eu_area = eu_claim_from(&eu_areas_##name); \
		if (!eu_area)                                                 \
			eu_count(true);                                       \
		eu_area;                                                      \
	})

static __always_inline void eu_release(struct eu_claimed *area)
{
	__sync_val_compare_and_swap(&area->taken, 1, 0);
}

/* Copies the first `size` bytes of the record into the ring, or counts them as lost. */
static __always_inline void eu_output_claimed(struct eu_claimed *area, __u32 size)
{
	size &= EU_AREA_RECORD_MAX - 1;
	eu_count(bpf_ringbuf_output(&eu_ring, area->record, size, eu_wakeup(size)) != 0);
}

#endif
