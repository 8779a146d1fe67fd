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

/* `area` has the record at offset 0, and a __u64 `taken`. */
#define EU_AREAS_OF(name, area)                   \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1);           \
		__type(key, __u32);               \
		__type(value, area);              \
	} eu_areas_##name SEC(".maps")
#define EU_AREAS(name) EU_AREAS_OF(name, struct eu_claimed)

static __always_inline void *eu_claim_from(void *areas, __u32 taken_at)
{
	__u32 first = bpf_get_smp_processor_id() * EU_AREAS_PER_CPU;

	for (__u32 i = 0; i < EU_AREAS_PER_CPU; i++) {
		__u32 index = first + i;
		void *area = bpf_map_lookup_elem(areas, &index);

		if (area && !__sync_val_compare_and_swap((__u64 *)(area + taken_at), 0, 1))
			return area;
	}
	return NULL;
}

/* An area of this CPU; NULL (counted as lost) if all are taken. Whoever claims one releases it. */
#define eu_claim_of(name, area_type)                                                                        \
	({                                                                                                  \
		area_type *eu_area = eu_claim_from(&eu_areas_##name, __builtin_offsetof(area_type, taken)); \
		if (!eu_area)                                                                               \
			eu_count(true);                                                                     \
		eu_area;                                                                                    \
	})
#define eu_claim(name) eu_claim_of(name, struct eu_claimed)

#define eu_release(area) __sync_val_compare_and_swap(&(area)->taken, 1, 0)

/* Copies the first `size` bytes of the record into the ring, or counts them as lost. */
static __always_inline void eu_output_claimed(struct eu_claimed *area, __u32 size)
{
	size &= EU_AREA_RECORD_MAX - 1;
	eu_count(bpf_ringbuf_output(&eu_ring, area->record, size, eu_wakeup(size)) != 0);
}

#endif
