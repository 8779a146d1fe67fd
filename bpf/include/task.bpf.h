/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Processes that no tracepoint passes: those that the current task names by a number, as ptrace(2) takes it, or by a descriptor.
 *
 * Such a task is an address to the verifier, so that all of it is read by BPF_CORE_READ. The programs run inside of rcu_read_lock
 * (kernel/trace/bpf_trace.c, __bpf_trace_run): a struct pid or a task that is found is not freed before they end.
 */
#ifndef EUNOMIA_TASK_BPF_H
#define EUNOMIA_TASK_BPF_H

#include "eunomia.bpf.h"
#include "file.bpf.h"
#include "header.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct xarray {
	void *xa_head;
};
struct xa_node {
	unsigned char shift;
	void *slots[64];
};
struct idr {
	struct xarray idr_rt;
};
struct pid_namespace___idr {
	struct idr idr;
};
struct pid___tasks {
	struct hlist_head tasks[1];
};
struct task_struct___links {
	struct hlist_node pid_links[1];
};
#pragma clang attribute pop

/* The first task of a struct pid, as a thread (PIDTYPE_PID, include/linux/pid_types.h); 0: it has ended. */
static __always_inline __u64 eu_task_of(struct pid *pid)
{
	__u64 link = (__u64)BPF_CORE_READ((struct pid___tasks *)pid, tasks[0].first);

	return link ? link - bpf_core_field_offset(struct task_struct___links, pid_links) : 0;
}

/* include/linux/xarray.h: xa_is_node */
static __always_inline bool eu_is_xa_node(__u64 entry)
{
	return (entry & 3) == 2 && entry > 4096;
}

#define EU_XA_LEVELS 8 /* of 32 bits, 4 (CONFIG_BASE_SMALL) or 6 a level */

/* What an IDR has at a number, as idr_find() finds it, from the head of its tree: an address, or 0. */
static __always_inline __u64 eu_idr_find(__u64 entry, __u32 number)
{
	__u32 slots = bpf_core_field_size(struct xa_node, slots) / sizeof(void *);
	bool top = true;

	for (int i = 0; i < EU_XA_LEVELS && eu_is_xa_node(entry); i++) {
		struct xa_node *node = (void *)(entry - 2);
		__u32 slot = number >> (BPF_CORE_READ(node, shift) & 31);

		if (top && slot >= slots)
			return 0;
		top = false;
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry), &node->slots[slot & (slots - 1)]);
	}
	/* An entry that is no node is that of number 0. */
	return entry & 3 || (top && number) ? 0 : entry;
}

/* The task of that number in the current task's pid namespace, as find_task_by_vpid() finds it: its address, or 0. */
__attribute__((noinline)) __u64 eu_task_numbered(__u32 number)
{
	struct pid *pid = eu_far(bpf_get_current_task_btf())->thread_pid;
	struct upid *own = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			   BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
	struct pid_namespace *ns = BPF_CORE_READ(own, ns);
	__u64 head = (__u64)BPF_CORE_READ((struct pid_namespace___idr *)ns, idr.idr_rt.xa_head);
	__u64 found = eu_idr_find(head, number);

	return found ? eu_task_of((struct pid *)found) : 0;
}

/*
 * The process of a pidfd, or the first process of a pid namespace that a descriptor stands for: its address, or 0. The former is an
 * inode of pidfs since Linux 6.9 (cb12fd8e0dab "pidfd: add pidfs"), before that an anonymous inode.
 */
__attribute__((noinline)) __u64 eu_task_of_descriptor(__s32 descriptor)
{
	struct file *file = eu_file(bpf_get_current_task_btf(), descriptor);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	const char *name = BPF_CORE_READ(inode, i_sb, s_type, name);
	char type[8] = {}, what[8] = {};

	bpf_probe_read_kernel_str(type, sizeof(type), name);
	if (!bpf_strncmp(type, sizeof(type), "pidfs"))
		return eu_task_of(BPF_CORE_READ(inode, i_private));
	if (!bpf_strncmp(type, 4, "anon")) {
		bpf_probe_read_kernel_str(what, sizeof(what), BPF_CORE_READ(dentry, d_name.name));
		return bpf_strncmp(what, sizeof(what), "[pidfd]") ? 0 : eu_task_of(BPF_CORE_READ(file, private_data));
	}
	if (!bpf_strncmp(type, sizeof(type), "nsfs")) {
		struct ns_common *ns = BPF_CORE_READ(inode, i_private);

		bpf_probe_read_kernel_str(what, sizeof(what), BPF_CORE_READ(ns, ops, name));
		if (!bpf_strncmp(what, sizeof(what), "pid"))
			return (__u64)BPF_CORE_READ(
				(struct pid_namespace *)((void *)ns - bpf_core_field_offset(struct pid_namespace, ns)),
				child_reaper);
	}
	return 0;
}

/* eu_fill of a task at an address; all 0 for none. */
__attribute__((noinline)) int eu_fill_at(struct eu_header *h, __u64 address)
{
	struct task_struct *task = (void *)address;
	struct pid *pid;

	if (!h)
		return 0;
	__builtin_memset(h, 0, sizeof(*h));
	if (!task)
		return 0;
	h->boot_ns = bpf_ktime_get_boot_ns();
	h->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	h->start_boot_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	h->pid = BPF_CORE_READ(task, tgid);
	h->tid = BPF_CORE_READ(task, pid);
	h->ppid = BPF_CORE_READ(task, real_parent, tgid);
	h->uid = BPF_CORE_READ(task, cred, uid.val);
	h->gid = BPF_CORE_READ(task, cred, gid.val);
	h->mount_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	h->tracker = eu_tracker;
	pid = BPF_CORE_READ(task, thread_pid);
	if (BPF_CORE_READ(pid, level)) {
		struct upid *second =
			(void *)pid + bpf_core_field_offset(struct pid, numbers) + bpf_core_type_size(struct upid);
		struct task_struct *init = BPF_CORE_READ(second, ns, child_reaper);

		h->init_pid = BPF_CORE_READ(init, tgid);
		h->init_start = BPF_CORE_READ(init, group_leader, start_boottime) / EU_TICK_NS;
	}
	BPF_CORE_READ_INTO(&h->comm, task, comm);
	return 0;
}

#endif
