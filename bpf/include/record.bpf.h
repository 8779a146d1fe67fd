/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Records: the semantic types of their members, the header, and memory in which one is put together. Without any map, so that
 * programs that belong to no session (snapshot.bpf.h) use it too.
 *
 * A record is `struct NAME_event`, whose first member is `struct eu_header`. User space
 * compiles its decoder from this object's BTF; there is no second copy of any layout.
 */
#ifndef EUNOMIA_RECORD_BPF_H
#define EUNOMIA_RECORD_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* ---- Semantic types: the decoder knows these typedefs by name. ---- */

/* Text inside the record: length << 16 | offset from the record's start; 0 is null: not captured, or not known. */
typedef __u32 eu_str;
/*
 * Like eu_str, holding NUL-terminated strings: a list ("a\0\0" is "a" and ""). Where it was cut, the
 * last string has no NUL.
 */
typedef __u32 eu_strs;
/* Like eu_str, holding bytes that a tracker's definition decodes. */
typedef __u32 eu_bytes;
/* 0, or a negative errno; decoded as "ENOENT" or null. */
typedef __s32 eu_errno;
/* An address; IPv4 as ::ffff:a.b.c.d. Whether it is known the record says elsewhere. */
typedef struct {
	__u8 bytes[16];
} eu_ip;
/* Nanoseconds on CLOCK_BOOTTIME, a point in time; 0 is null. */
typedef __u64 eu_boot_ns;
/* The same, in a record that stands for many occurrences (aggregate.bpf.h): user space takes the latest of all CPUs. */
typedef __u64 eu_latest_boot_ns;
/* Nanoseconds, a duration; EU_NO_DURATION is null. */
typedef __u64 eu_duration_ns;
#define EU_NO_DURATION (~0ULL)
/* From one time to a later one, which may have been read on another CPU, whose clock may be a little behind: never less than 0. */
static __always_inline __u64 eu_since(__u64 now, __u64 then)
{
	return now > then ? now - then : 0;
}
/* What something has at a moment, in bytes for example: never added up, as a plain __u64 named `…_bytes` is by /metrics. */
typedef __u64 eu_amount;
/* A count or a total of a record that stands for many occurrences (aggregate.bpf.h): user space adds up those of all CPUs. */
typedef __u64 eu_total;
/*
 * A histogram: how many values were 2^i up to 2^(i+1), by i; the first also less, the last (2^47: 39 hours, or 128 TiB) also more. Its name
 * ends in the unit. Added up like eu_total; null where all are 0.
 */
#define EU_LOG2_SLOTS 48
typedef struct {
	__u64 slots[EU_LOG2_SLOTS];
} eu_log2;

#define EU_COMM_LEN 16
#define EU_PATH_MAX 4096
#define EU_ARGS_MAX 32768

struct eu_header {
	__u64 boot_ns;       /* CLOCK_BOOTTIME */
	__u64 cgroup_id;     /* of the v2 hierarchy */
	__u64 start_boot_ns; /* of the process: with pid, its identity */
	__u32 pid;           /* thread group id */
	__u32 tid;
	__u32 ppid;
	__u32 uid; /* real */
	__u32 gid;
	__u32 mount_ns;
	__u16 tracker;    /* index of the tracker in its session */
	__u16 init_start; /* start_boottime of the next one's process, in ticks of 10 ms: the lower 16 bits */
	__u32 init_pid;   /* first process of the outermost pid namespace below the initial one; 0: it is in that */
	char comm[EU_COMM_LEN];
};

/* Keeps a record's struct in the object's BTF, where the decoder looks for it. */
#define EU_EVENT(name) const struct name##_event *eu_event_##name __attribute__((unused))
/* Keeps the enum that names the capture bits of a tracker in BTF: `enum NAME_capture { NAME_CAPTURE_FIELD }`. */
#define EU_CAPTURES(name) const enum name##_capture *eu_captures_##name __attribute__((unused))

/* The loader sets it before the verifier runs. */
const volatile __u16 eu_tracker = 0;

/* A pointer that the verifier tracks, as the number that a global function takes. */
static __always_inline __u64 eu_address(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

/*
 * A pointer that the verifier trusts, as one that it does not. To follow a pointer through a trusted one takes the kernel up to four linear
 * searches of its whole BTF, each time that it verifies a program (btf_nested_type_is_trusted, Linux 6.3: 57539b1c0ac2): some 2 ms. This
 * takes none, and is a move of a register. Kernels without that search lack the function too (Linux 6.2: a35b9af4ec2c); the loader
 * says whether it is there.
 */
extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;
const volatile bool eu_has_bpf_rdonly_cast = false;
#define eu_far(pointer)                                                                                    \
	((typeof(pointer))(eu_has_bpf_rdonly_cast                                                          \
				   ? bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(typeof(*(pointer)))) \
				   : (void *)(pointer)))

/* BPF_CORE_READ of one member, where possible by a load, which costs a tenth of a helper's call. */
#define EU_READ(pointer, member) (eu_has_bpf_rdonly_cast ? eu_far(pointer)->member : BPF_CORE_READ(pointer, member))
/* The same of a member of what a member points to. */
#define EU_READ_THROUGH(pointer, first, member) \
	(eu_has_bpf_rdonly_cast ? eu_far(pointer)->first->member : BPF_CORE_READ(pointer, first, member))

/* ---- The header ---- */

#define EU_TICK_NS 10000000 /* /proc counts start times in these: USER_HZ is 100 on all architectures */

/*
 * The pid namespace that a container without a cgroup of its own is told by. The outermost one: those inside it are the container's own
 * affair. Its first process names it, since the kernel gives the number of a namespace (ns.inum) anew as soon as one ends.
 */
static __always_inline void eu_fill_init(struct eu_header *h, struct task_struct *far)
{
	struct pid *pid = far->thread_pid;

	h->init_pid = 0;
	h->init_start = 0;
	if (!pid->level)
		return;
	if (bpf_core_field_size(struct pid, numbers) == 0) {
		struct task_struct *init = ((struct pid___flexible *)pid)->numbers[1].ns->child_reaper;

		h->init_pid = init->tgid;
		h->init_start = init->group_leader->start_boottime / EU_TICK_NS;
	} else { /* the verifier lets nobody read behind the array's end */
		struct upid *second =
			(void *)pid + bpf_core_field_offset(struct pid, numbers) + bpf_core_type_size(struct upid);
		struct task_struct *init = BPF_CORE_READ(second, ns, child_reaper);

		h->init_pid = BPF_CORE_READ(init, tgid);
		h->init_start = BPF_CORE_READ(init, group_leader, start_boottime) / EU_TICK_NS;
	}
}

/*
 * Fills the header from the current task, at `h`. The fields are read where the helpers read them, for a helper costs 6 to
 * 40 ns a call and a load about 1: bpf_get_current_cgroup_id is task_dfl_cgroup(current)->kn->id (kernel/bpf/cgroup.c),
 * bpf_get_current_uid_gid current_cred()->uid and gid in the initial user namespace (kernel/bpf/helpers.c).
 */
static __always_inline void eu_fill_task(struct eu_header *h, struct task_struct *task)
{
	struct task_struct *far = eu_far(task);
	const struct cred *cred = far->cred;

	h->boot_ns = bpf_ktime_get_boot_ns();
	h->cgroup_id = far->cgroups->dfl_cgrp->kn->id;
	h->start_boot_ns = far->group_leader->start_boottime;
	h->pid = task->tgid;
	h->tid = task->pid;
	h->ppid = far->real_parent->tgid;
	h->uid = cred->uid.val;
	h->gid = cred->gid.val;
	h->mount_ns = far->nsproxy->mnt_ns->ns.inum; /* 0 late in a task's exit: a null pointer reads as 0 */
	h->tracker = eu_tracker;
	eu_fill_init(h, far);
	/* What is behind its NUL is not decoded. */
	((__u64 *)h->comm)[0] = ((__u64 *)task->comm)[0];
	((__u64 *)h->comm)[1] = ((__u64 *)task->comm)[1];
}

/*
 * The same, not inlined and not static: the verifier then checks it once per program, not once per path. That matters,
 * for a pointer that is loaded through a trusted pointer costs up to four linear searches of the whole kernel BTF
 * (btf_nested_type_is_trusted), about 2 ms. For the same reason trackers follow pointers with BPF_CORE_READ, except on
 * hot paths. An object without events defines EU_NO_EVENTS to be rid of it.
 */
#ifndef EU_NO_EVENTS
__attribute__((noinline)) int eu_fill(struct eu_header *h)
{
	if (h)
		eu_fill_task(h, bpf_get_current_task_btf());
	return 0;
}
#endif

/*
 * What a map keeps in a socket or a task; made if there is none, NULL where it cannot be. Where a program of another map makes the first
 * storage of all in the same one, on another CPU at the same moment, the kernel makes none (-EAGAIN: bpf_local_storage_alloc(),
 * kernel/bpf/bpf_local_storage.c), and does when it is asked again.
 */
#define eu_in_sock(map, sk)                                             \
	(bpf_sk_storage_get(map, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) \
		 ?: bpf_sk_storage_get(map, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE))
#define eu_in_task(map, task)                                                  \
	(bpf_task_storage_get(map, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE) \
		 ?: bpf_task_storage_get(map, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE))

/* ---- Memory and texts ---- */

/*
 * A record of variable length is put together in memory of this CPU and then copied into the
 * ring, as long as its content. One area a program, for a softirq's program may interrupt another's.
 * (Per-CPU maps end at 32 KiB a value, so this is an array with one element a CPU; the loader sizes it.)
 */
#define EU_RECORD_MAX 65536
struct eu_area {
	__u8 bytes[EU_RECORD_MAX + EU_ARGS_MAX]; /* the slack keeps masked offsets inside; path.bpf.h works there */
};
#define EU_SCRATCH(name)                          \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1);           \
		__type(key, __u32);               \
		__type(value, struct eu_area);    \
	} eu_scratch_##name SEC(".maps")

static __always_inline eu_str eu_text(__u32 offset, __u32 length)
{
	return length << 16 | offset;
}

/*
 * Appends a NUL-terminated string of user memory at *size; what is longer than `cap` - 1 is cut.
 * Null for memory that cannot be read: a null pointer, a page that is not present.
 */
static __always_inline eu_str eu_put_user_str(struct eu_area *area, __u32 *size, const void *from, __u32 cap)
{
	__u32 offset = *size & (EU_RECORD_MAX - 1);
	long n = bpf_probe_read_user_str(area->bytes + offset, cap, from);

	if (n <= 0)
		return 0;
	n = (n - 1) & 0x7fff;
	*size = offset + n;
	return eu_text(offset, n);
}

static __always_inline eu_str eu_put_kernel_str(struct eu_area *area, __u32 *size, const void *from, __u32 cap)
{
	__u32 offset = *size & (EU_RECORD_MAX - 1);
	long n = bpf_probe_read_kernel_str(area->bytes + offset, cap, from);

	if (n <= 0)
		return 0;
	n = (n - 1) & 0x7fff;
	*size = offset + n;
	return eu_text(offset, n);
}

#endif
