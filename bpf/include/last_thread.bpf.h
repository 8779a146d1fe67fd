/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whether a process ends with the thread that ends: for programs on tp_btf/sched_process_exit, one of them an object. */
#ifndef EUNOMIA_LAST_THREAD_BPF_H
#define EUNOMIA_LAST_THREAD_BPF_H

#include "eunomia.bpf.h"

/* The kernel's number: include/linux/sched/signal.h. */
#define SIGNAL_GROUP_EXIT 4

/*
 * Before Linux 6.16 (3e816361e94a "sched/tracepoints: Move and extend the sched_process_exit() tracepoint"
 * brought `group_dead`) only signal->live tells, which two threads that end at once can both find at 0. The
 * first one leaves the process's start time here.
 */
#define EU_REPORTED 1024
static __u64 eu_reported[EU_REPORTED];

static __always_inline bool eu_is_last(unsigned long long *ctx, struct task_struct *task, __u64 start)
{
	if (bpf_core_field_exists(struct trace_event_raw_sched_process_exit, group_dead))
		return (bool)ctx[1];
	if (task->signal->live.counter)
		return false;
	return __sync_lock_test_and_set(&eu_reported[task->tgid & (EU_REPORTED - 1)], start) != start;
}

/* As wait(2) decides: exit_group(2) and fatal signals end all threads; else the first thread's code is the process's. */
static __always_inline int eu_exit_code(struct task_struct *task)
{
	struct signal_struct *signal = eu_far(task)->signal;

	return signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : eu_far(task)->group_leader->exit_code;
}

#endif
