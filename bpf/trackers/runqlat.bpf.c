/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * runqlat: how long threads that can run wait for a CPU, by container, process and name of the thread, with histograms.
 *
 * A wait begins when a thread is woken, or loses its CPU while it could go on, and ends when it gets one. Its beginning is kept in the
 * thread: a wait may end on another CPU, and nothing is left of a thread that ends.
 *
 * The tracepoint has this form since Linux 5.18 (fa2c3254d7cf "sched/tracing: Don't re-read p->state when emitting sched_switch event").
 * Storage of a task and entries of a map are made under the lock of a run queue: kernels before 6.4 were not tried with that.
 */
#include "eunomia.bpf.h"
#include "aggregate.bpf.h"

struct runqlat_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	eu_total count;
	eu_total preemptions; /* of these, the waits of threads that had lost their CPU */
	eu_total wait_ns;
	eu_log2 wait_histogram_ns;
};
EU_AGGREGATES(runqlat);

struct wait {
	__u64 since_ns; /* 0: it does not wait, as far as is known */
	__u64 switches; /* how often the thread had given a CPU away by then */
	bool preempted;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct wait);
} runqlat_waits SEC(".maps");

static const struct eu_header nobody = {};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct___scheduled {
	int on_cpu;
	unsigned long nvcsw, nivcsw;
};
#pragma clang attribute pop

static __always_inline __u64 switches_of(struct task_struct *task)
{
	struct task_struct___scheduled *scheduled = (void *)task;

	return scheduled->nvcsw + scheduled->nivcsw;
}

/* False of one whose end was not seen: the thread has run since. */
static __always_inline bool is_under_way(const struct wait *wait, struct task_struct *task)
{
	return wait->since_ns && wait->switches == switches_of(task);
}

/*
 * Waits of one process under several names are apart: a process waits before it executes a program, which changes its name, and threads of
 * a program have names.
 */
static __always_inline __u32 name_hash(struct task_struct *task)
{
	__u64 hash = ((__u64 *)task->comm)[0] * 0x9e3779b97f4a7c15ULL;

	hash = (hash ^ hash >> 32 ^ ((__u64 *)task->comm)[1]) * 0x9e3779b97f4a7c15ULL;
	return hash >> 32;
}

static __always_inline bool is_wanted(struct task_struct *task)
{
	return (!eu_where || eu_task_passes(task, task)) && eu_target_holds(task, task);
}

static __always_inline void begin(struct task_struct *task, bool preempted)
{
	struct wait *wait;

	/* A CPU that is idle runs a thread that has no number, and does not wait. */
	if (!task->pid || !is_wanted(task))
		return;
	wait = eu_in_task(&runqlat_waits, task);
	if (!wait) {
		eu_count(true);
		return;
	}
	/* Woken while it waits already: it lost its CPU on the way to sleep. */
	if (is_under_way(wait, task))
		return;
	wait->since_ns = bpf_ktime_get_boot_ns();
	wait->switches = switches_of(task);
	wait->preempted = preempted;
}

/* A thread that is woken on its way to sleep goes on running, and waits for nothing. */
static __always_inline void wake(struct task_struct *task)
{
	struct task_struct___scheduled *scheduled = (void *)task;

	/* A kernel for one CPU may not have it. */
	if (!bpf_core_field_exists(struct task_struct___scheduled, on_cpu) || !scheduled->on_cpu)
		begin(task, false);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(runq_wakeup, struct task_struct *task)
{
	wake(task);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(runq_wakeup_new, struct task_struct *task)
{
	wake(task);
	return 0;
}

static __always_inline void add(struct runqlat_event *total, struct task_struct *task, __u64 ns, bool preempted)
{
	if (!total->count)
		eu_fill_task(&total->header, task);
	total->count++;
	if (preempted)
		total->preemptions++;
	total->wait_ns += ns;
	total->wait_histogram_ns.slots[eu_log2_slot(ns)]++;
}

/* Interrupts are off: plain adds are exact. */
static __always_inline void end(struct task_struct *task)
{
	struct wait *wait = bpf_task_storage_get(&runqlat_waits, task, NULL, 0);
	struct runqlat_event *total;
	struct eu_aggregate_key key;
	__u64 ns;

	if (!wait || !is_under_way(wait, task))
		return;
	ns = eu_since(bpf_ktime_get_boot_ns(), wait->since_ns);
	wait->since_ns = 0;
	if (!is_wanted(task))
		return;
	key = eu_aggregate_key(task, name_hash(task));
	/* Its header is this task's, and not that of the current one, which gives the CPU away. */
	total = eu_aggregate_for(&key, &nobody);
	if (total) {
		add(total, task, ns, wait->preempted);
		return;
	}
	total = eu_reserve(struct runqlat_event);
	if (!total)
		return;
	__builtin_memset(total, 0, sizeof(*total));
	add(total, task, ns, wait->preempted);
	eu_submit(total);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(runq_switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	/* It was taken off its CPU (in any state), or gave it up for a moment (sched_yield). */
	if (preempt || !prev_state)
		begin(prev, true);
	end(next);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
