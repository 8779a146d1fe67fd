/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Snapshots: what there is now, of all namespaces below the reader's pid namespace. An iterator's program runs once for each task or
 * open file while somebody reads the iterator (Documentation/bpf/bpf_iterators.rst), so that nothing happens between two readings.
 *
 * A record is written behind a struct eu_frame, each at a multiple of 8. What does not fit in the reader's buffer any more the kernel
 * takes back and runs again at the next read(2) (kernel/bpf/bpf_iter.c, bpf_seq_read): no record is lost or cut.
 */
#ifndef EUNOMIA_SNAPSHOT_BPF_H
#define EUNOMIA_SNAPSHOT_BPF_H

#include "record.bpf.h"

/* src/kernel/snapshot.ts reads it. */
struct eu_frame {
	__u32 length; /* of the record, without what fills it up to a multiple of 8 */
	__u32 reserved;
};

/* What the kernel buffers between two reads is 8 pages, and a record has to fit in it. */
#define EU_SNAPSHOT_MAX 16384

/* One: the kernel thread reads an object's iterator by one reader at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eu_area);
} eu_snapshot SEC(".maps");

static __always_inline struct eu_area *eu_snapshot_area(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&eu_snapshot, &zero);
}

/* Hands the first `size` bytes of the record to the reader. */
static __always_inline void eu_snapshot_put(struct bpf_iter_meta *meta, const void *record, __u32 size)
{
	struct eu_frame frame = { .length = size };

	size = ((size + 7) & ~7U) & (EU_SNAPSHOT_MAX - 1);
	bpf_seq_write(meta->seq, &frame, sizeof(frame));
	bpf_seq_write(meta->seq, record, size);
}

#endif
