/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Keeps a session's set of processes right: adds the descendants of a targeted process, takes out
 * those that have ended, for a pid may be another's after that. Part of every tracker's object, and loaded
 * with one of a session's.
 */
#ifndef EUNOMIA_FOLLOW_BPF_H
#define EUNOMIA_FOLLOW_BPF_H

SEC("tp_btf/sched_process_fork")
int BPF_PROG(follow_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = parent->tgid, to = child->tgid;
	__u8 *mode;
	__u8 follow = EU_PID_FOLLOW;

	if (child->pid != child->tgid)
		return 0; /* a thread */
	mode = bpf_map_lookup_elem(&eu_pids, &from);
	if (mode && *mode == EU_PID_FOLLOW)
		bpf_map_update_elem(&eu_pids, &to, &follow, BPF_ANY);
	return 0;
}

/* Attached last, so that a tracker on the same tracepoint still finds the process in its target. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(follow_exit, struct task_struct *task)
{
	__u32 pid = task->tgid;

	if (eu_far(task)->signal->live.counter == 0)
		bpf_map_delete_elem(&eu_pids, &pid);
	return 0;
}

#endif
