/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * cputhrottle: how often, and how long, threads are kept from running since their cgroup has used up its share of the CPU (cpu.max,
 * cpu.cfs_quota_us), by container and process, with histograms.
 *
 * No tracepoint tells of it. But since Linux 6.18 (e1fad12dcb66 "sched/fair: Switch to task based throttle model") a thread is throttled
 * by itself, on its way back to user space, and marked: it gives its CPU away with the mark, and has none when it gets one again. Before,
 * whole run queues were throttled, and nothing in a thread says so.
 */
#include "eunomia.bpf.h"
#include "aggregate.bpf.h"

struct cputhrottle_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	eu_duration_ns quota_ns; /* of the limit that applies at first */
	eu_duration_ns period_ns;
	eu_total count;
	eu_total throttled_ns;
	eu_log2 throttled_histogram_ns;
};
EU_AGGREGATES(cputhrottle);

struct throttle {
	__u64 since_ns; /* 0: it is not throttled, as far as is known */
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct throttle);
} cputhrottle_now SEC(".maps");

static const struct eu_header nobody = {};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct cfs_bandwidth {
	s64 period;
	u64 quota;
};
struct task_group {
	struct task_group *parent;
	struct cfs_bandwidth cfs_bandwidth;
};
struct task_struct___throttled {
	bool throttled;
	struct task_group *sched_task_group;
};
#pragma clang attribute pop

#define GROUPS_MAX 16
#define RUNTIME_INF (~0ULL) /* kernel/sched/sched.h */

static __always_inline bool is_wanted(struct task_struct *task)
{
	return (!eu_where || eu_task_passes(task, task)) && eu_target_holds(task, task);
}

/* The limit of the nearest cgroup that has one: an ancestor's may be the one that is used up. */
static __always_inline void fill_limit(struct cputhrottle_event *total, struct task_struct *task)
{
	struct task_group *group = BPF_CORE_READ((struct task_struct___throttled *)task, sched_task_group);

	total->quota_ns = total->period_ns = EU_NO_DURATION;
	for (int i = 0; i < GROUPS_MAX && group; i++) {
		__u64 quota = BPF_CORE_READ(group, cfs_bandwidth.quota);

		if (quota != RUNTIME_INF) {
			total->quota_ns = quota;
			total->period_ns = BPF_CORE_READ(group, cfs_bandwidth.period);
			return;
		}
		group = BPF_CORE_READ(group, parent);
	}
}

static __always_inline void add(struct cputhrottle_event *total, struct task_struct *task, __u64 ns)
{
	if (!total->count) {
		eu_fill_task(&total->header, task);
		fill_limit(total, task);
	}
	total->count++;
	total->throttled_ns += ns;
	total->throttled_histogram_ns.slots[eu_log2_slot(ns)]++;
}

static __always_inline void begin(struct task_struct *task)
{
	struct throttle *throttle;

	if (!is_wanted(task))
		return;
	throttle = eu_in_task(&cputhrottle_now, task);
	if (throttle)
		throttle->since_ns = bpf_ktime_get_boot_ns();
	else
		eu_count(true);
}

/* Interrupts are off: plain adds are exact. */
static __always_inline void end(struct task_struct *task)
{
	struct throttle *throttle = bpf_task_storage_get(&cputhrottle_now, task, NULL, 0);
	struct cputhrottle_event *total;
	struct eu_aggregate_key key;
	__u64 ns;

	if (!throttle || !throttle->since_ns)
		return;
	ns = eu_since(bpf_ktime_get_boot_ns(), throttle->since_ns);
	throttle->since_ns = 0;
	if (!is_wanted(task))
		return;
	key = eu_aggregate_key(task, 0);
	/* Its header is this task's, and not that of the current one, which gives the CPU away. */
	total = eu_aggregate_for(&key, &nobody);
	if (total) {
		add(total, task, ns);
		return;
	}
	total = eu_reserve(struct cputhrottle_event);
	if (!total)
		return;
	bpf_probe_read_kernel(total, sizeof(*total), &eu_aggregate_zero);
	add(total, task, ns);
	eu_submit(total);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(throttle_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	if (((struct task_struct___throttled *)prev)->throttled)
		begin(prev);
	end(next);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
