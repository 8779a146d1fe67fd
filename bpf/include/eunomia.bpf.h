/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What every tracker's BPF program shares: records (record.bpf.h), the session's ring and
 * filter maps, the capture mask, and the exact count of what was produced and lost.
 */
#ifndef EUNOMIA_BPF_H
#define EUNOMIA_BPF_H

#include "record.bpf.h"

/* ---- Constants that the loader sets before the verifier runs, so that unused branches vanish. ---- */

const volatile bool eu_by_cgroup = false;
const volatile bool eu_by_pid = false;
const volatile bool eu_by_uid = false;
const volatile bool eu_by_comm = false;

/* ---- Memory-mapped: user space writes the mask and reads the counters without a system call. ---- */

#define EU_MAX_CPUS 512
struct eu_counter {
	__u64 produced; /* events that passed the filter */
	__u64 lost;     /* of these, the ring had no room for */
	__u64 tick;     /* eu_tick_boot_ns */
	__u64 tick_ns;
	__u64 unused[4]; /* to a cache line, so that CPUs do not share one */
};
struct eu_control {
	volatile __u64 capture; /* the mask: bit by `enum NAME_capture` */
	/*
	 * 0: each record wakes the reader, who sleeps. Else it looks by itself, and is woken only where so many bytes wait as the lower half
	 * says, once: the upper half is another one at each of its looks. All ones is never.
	 */
	volatile __u64 wake_at;
	volatile __u64 aggregate_side; /* which of the two maps programs add to (aggregate.bpf.h) */
	volatile __u64 hooked_ns;      /* CLOCK_BOOTTIME: when a program that serves a demand was attached last */
	volatile __u64 stack_turn; /* the turn that the last stack was captured in, and how many were (stack.bpf.h) */
	__u64 stack_count;
	volatile __u64 woken_at; /* the `wake_at` that the reader was woken by last */
	__u64 unused[1];
	struct eu_counter counters[EU_MAX_CPUS];
};
/* A section, and so a map, of its own: at offset 0 of `.data.eu_control`. */
struct eu_control eu_control SEC(".data.eu_control") = {};

/* ---- Maps of a session. Trackers of one session share them (bpf_map__reuse_fd). ---- */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} eu_ring SEC(".maps");

/*
 * cgroup id → what becomes of its tasks' events. Events of an unknown cgroup are kept, and user space decides. EU_SKIP_HOST is for
 * cgroups of the host where a session targets containers: a task there may still be in a container that has no cgroup of its own.
 */
enum eu_verdict { EU_SKIP = 0, EU_KEEP = 1, EU_SKIP_HOST = 2 };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u8);
} eu_cgroups SEC(".maps");

/* pid → EU_PID_ONLY or EU_PID_FOLLOW (descendants too; session.bpf.c adds them). */
enum eu_pid_mode { EU_PID_ONLY = 0, EU_PID_FOLLOW = 1 };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} eu_pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} eu_uids SEC(".maps");

struct eu_comm {
	char text[EU_COMM_LEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct eu_comm);
	__type(value, __u8);
} eu_comms SEC(".maps");

/* ---- The session's filter ---- */

#include "where.bpf.h"

EU_WHERE_NUMBER(pid);
EU_WHERE_NUMBER(tid);
EU_WHERE_NUMBER(uid);
EU_WHERE_NUMBER(gid);
EU_WHERE_NUMBER(cgroup_id);
EU_WHERE_TEXT(comm);

/* Can the session's `where` take an event whose header says this of the task? `named`: whose comm counts. */
static __always_inline bool eu_task_passes(struct task_struct *task, struct task_struct *named)
{
	if (eu_where_none)
		return false;
	if (!eu_passes(pid, task->tgid) || !eu_passes(tid, task->pid))
		return false;
	if (!eu_passes(uid, eu_far(task)->cred->uid.val) || !eu_passes(gid, eu_far(task)->cred->gid.val))
		return false;
	if (!eu_passes_chars(comm, named->comm))
		return false;
	return eu_passes(cgroup_id, eu_far(task)->cgroups->dfl_cgrp->kn->id);
}

/* What of the target no call of the task's own changes: a task that it does not hold by its pid or cgroup, it never holds. */
static __always_inline bool eu_target_may_hold(struct task_struct *task)
{
	if (eu_by_pid) {
		__u32 pid = task->tgid;
		if (!bpf_map_lookup_elem(&eu_pids, &pid))
			return false;
	}
	if (eu_by_cgroup) {
		__u64 id = eu_far(task)->cgroups->dfl_cgrp->kn->id;
		__u8 *verdict = bpf_map_lookup_elem(&eu_cgroups, &id);
		if (verdict && (*verdict == EU_SKIP || (*verdict == EU_SKIP_HOST && !eu_far(task)->thread_pid->level)))
			return false;
	}
	return true;
}

/* Does the session's target hold the task? Every kind in use must match. `named`: whose comm counts. */
static __always_inline bool eu_target_holds(struct task_struct *task, struct task_struct *named)
{
	if (!eu_target_may_hold(task))
		return false;
	if (eu_by_uid) {
		__u32 uid = eu_far(task)->cred->uid.val;
		if (!bpf_map_lookup_elem(&eu_uids, &uid))
			return false;
	}
	if (eu_by_comm) {
		struct eu_comm comm = {};

		bpf_probe_read_kernel_str(&comm, sizeof(comm), named->comm);
		if (!bpf_map_lookup_elem(&eu_comms, &comm))
			return false;
	}
	return true;
}

/*
 * Does the session's target hold the current task, and can its `where` take an event of it?
 * `named`: whose comm counts, where that is not the current task's; else NULL.
 */
static __always_inline bool eu_wanted_as(struct task_struct *named)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!named)
		named = task;
	return (!eu_where || eu_task_passes(task, named)) && eu_target_holds(task, named);
}

/*
 * The same of an event of two processes, whose header is of `task` and which has a second header of `second`: the target holds it
 * when it holds one of them.
 */
static __always_inline bool eu_wanted_either(struct task_struct *task, struct task_struct *second)
{
	return (!eu_where || eu_task_passes(task, task)) &&
	       (eu_target_holds(task, task) || eu_target_holds(second, second));
}

static __always_inline bool eu_wanted(void)
{
	return eu_wanted_as(NULL);
}

static __always_inline bool eu_captures(int bit)
{
	return eu_control.capture & (1ULL << bit);
}

static __always_inline struct eu_counter *eu_counter(void)
{
	return &eu_control.counters[bpf_get_smp_processor_id() & (EU_MAX_CPUS - 1)];
}

/*
 * CLOCK_BOOTTIME at the first of this CPU's calls in the kernel's present tick (1 to 10 ms): never late, and early by less than a tick. The
 * clock itself takes longer than a program that adds to a total. For programs that no other on this CPU interrupts.
 */
static __always_inline __u64 eu_tick_boot_ns(void)
{
	struct eu_counter *c = eu_counter();
	__u64 tick = bpf_jiffies64();

	if (c->tick != tick) {
		c->tick = tick;
		c->tick_ns = bpf_ktime_get_boot_ns();
	}
	return c->tick_ns;
}

/* A softirq's program can interrupt another on the same CPU: the adds are atomic, so the counts are exact. */
static __always_inline void eu_count(bool lost)
{
	struct eu_counter *c = eu_counter();

	__sync_fetch_and_add(&c->produced, 1);
	if (lost)
		__sync_fetch_and_add(&c->lost, 1);
}

/* Room for one record of a fixed size, or NULL (counted as lost). Ring memory is not zeroed. */
#define eu_reserve(type)                                                          \
	({                                                                        \
		type *eu_record = bpf_ringbuf_reserve(&eu_ring, sizeof(type), 0); \
		eu_count(!eu_record);                                             \
		eu_record;                                                        \
	})

/*
 * Waking the reader is an interrupt that the CPU sends itself: microseconds, in a virtual machine more than all the rest of a
 * hook. (A reader that keeps up has the ring empty each time, so that by itself each event would wake it: kernel/bpf/ringbuf.c.)
 */
static __always_inline __u64 eu_wakeup(__u32 size)
{
	__u64 wake_at = eu_control.wake_at;

	if (!wake_at)
		return 0;
	if (wake_at == ~0ULL || wake_at == eu_control.woken_at ||
	    bpf_ringbuf_query(&eu_ring, BPF_RB_AVAIL_DATA) + size < (__u32)wake_at)
		return BPF_RB_NO_WAKEUP;
	eu_control.woken_at = wake_at;
	return BPF_RB_FORCE_WAKEUP;
}

#define eu_submit(record) bpf_ringbuf_submit(record, eu_wakeup(0))

/* This CPU's area; NULL (counted as lost) if the loader has made too few. */
#define eu_scratch(name)                                                                    \
	({                                                                                  \
		__u32 eu_cpu = bpf_get_smp_processor_id();                                  \
		struct eu_area *eu_area = bpf_map_lookup_elem(&eu_scratch_##name, &eu_cpu); \
		if (!eu_area)                                                               \
			eu_count(true);                                                     \
		eu_area;                                                                    \
	})

/* Copies the first `size` bytes of `record` into the ring, or counts them as lost. */
static __always_inline void eu_output(void *record, __u32 size)
{
	size &= EU_RECORD_MAX - 1;
	eu_count(bpf_ringbuf_output(&eu_ring, record, size, eu_wakeup(size)) != 0);
}

/* Whether a text of the record passes the rule. Evaluates the copy in the record, since user memory can change between two reads. */
static __always_inline bool eu_text_passes(__u32 rule, const struct eu_area *area, eu_str text)
{
	struct eu_prefix key = { .bits = 32 + 8 * EU_PREFIX_MAX, .set = rule >> 8 };
	__u32 length = text >> 16;

	if (!text)
		return rule & EU_RULE_NULL;
	if (length > EU_PREFIX_MAX)
		length = EU_PREFIX_MAX;
	bpf_probe_read_kernel(key.bytes, length, area->bytes + (text & (EU_RECORD_MAX - 1)));
	return eu_prefix_passes(rule, &key);
}
#define eu_passes_text(field, area, text) (!eu_where_##field || eu_text_passes(eu_where_##field, area, text))

#ifndef EU_NO_EVENTS
#include "follow.bpf.h"
#endif

#endif
