/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Each table of descriptors once a process. The kernel leaves out a thread that shares the table of its leader (task_seq_get_next,
 * kernel/bpf/task_iter.c). But a leader that has ended has none, and threads may share one that is not the leader's: the kernel tells of
 * these once for each thread.
 */
#ifndef EUNOMIA_DESCRIPTORS_BPF_H
#define EUNOMIA_DESCRIPTORS_BPF_H

#include "snapshot.bpf.h"

struct eu_descriptors {
	__u64 reading; /* of which each has a number of its own */
	__u64 files;
	__u32 pid; /* processes that share a table, as after vfork(2), are told of each */
	__u32 reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct eu_descriptors);
	__type(value, __u32); /* the thread that stands for all who share it */
} eu_tables SEC(".maps");

/* False where another thread of the process has been told of with the same table. */
static __always_inline bool eu_tells_descriptors(const struct bpf_iter_meta *meta, struct task_struct *task)
{
	struct eu_descriptors table = {};
	__u32 *known, tid = task->pid;

	if (task->pid == task->tgid)
		return true;
	table.reading = meta->session_id;
	table.files = (__u64)BPF_CORE_READ(task, files);
	table.pid = task->tgid;
	known = bpf_map_lookup_elem(&eu_tables, &table);
	if (known)
		return *known == tid;
	bpf_map_update_elem(&eu_tables, &table, &tid, BPF_ANY);
	return true;
}

#endif
