/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The session's filter for a process that is known by a header of its: another one than the current task's, or of an earlier moment. */
#ifndef EUNOMIA_HEADER_BPF_H
#define EUNOMIA_HEADER_BPF_H

#include "eunomia.bpf.h"

/*
 * As eu_fill, where the current task may be a worker of io_uring (iou-wrk-…, iou-sqp-…): its own comm says nothing, so that of its
 * process's first thread counts, which users know and filter by.
 */
static __always_inline void eu_uring_fill(struct eu_header *h, struct task_struct *task)
{
	eu_fill(h);
	if (task->flags & PF_IO_WORKER)
		BPF_CORE_READ_INTO(&h->comm, task, group_leader, comm);
}

/* As eu_wanted, where the current task may be a worker (eu_uring_fill). */
static __always_inline bool eu_uring_wanted(struct task_struct *task)
{
	return task->flags & PF_IO_WORKER ? eu_wanted_as(eu_far(task)->group_leader) : eu_wanted();
}

/* What the target says of its cgroup. */
static __always_inline bool eu_cgroup_holds_header(const struct eu_header *h)
{
	__u64 id = h->cgroup_id;
	__u8 *verdict;

	if (!eu_by_cgroup)
		return true;
	verdict = bpf_map_lookup_elem(&eu_cgroups, &id);
	return !verdict || *verdict == EU_KEEP || (*verdict == EU_SKIP_HOST && h->init_pid);
}

/* eu_target_holds of a process by its header. */
static __always_inline bool eu_target_holds_header(const struct eu_header *h)
{
	if (!h->pid)
		return false;
	if (eu_by_pid) {
		__u32 pid = h->pid;

		if (!bpf_map_lookup_elem(&eu_pids, &pid))
			return false;
	}
	if (eu_by_uid) {
		__u32 uid = h->uid;

		if (!bpf_map_lookup_elem(&eu_uids, &uid))
			return false;
	}
	if (eu_by_comm) {
		struct eu_comm comm = {};

		bpf_probe_read_kernel_str(&comm, sizeof(comm), h->comm);
		if (!bpf_map_lookup_elem(&eu_comms, &comm))
			return false;
	}
	return eu_cgroup_holds_header(h);
}

/* eu_task_passes of a process by its header. */
static __always_inline bool eu_header_passes(const struct eu_header *h)
{
	if (eu_where_none)
		return false;
	return eu_passes(pid, h->pid) && eu_passes(tid, h->tid) && eu_passes(uid, h->uid) && eu_passes(gid, h->gid) &&
	       eu_passes_chars(comm, h->comm) && eu_passes(cgroup_id, h->cgroup_id);
}

/* eu_wanted of a process by its header. */
static __always_inline bool eu_header_wanted(const struct eu_header *h)
{
	return (!eu_where || eu_header_passes(h)) && eu_target_holds_header(h);
}

#endif
