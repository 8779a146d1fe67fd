/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * device: one event each time the kernel asks whether a process may read, write or make a device file, as it does when one is opened.
 *
 * The server's program is attached to the root, and those of the cgroups below run before it: it is told what they have decided. Since
 * Linux 5.18 (b44123b4a3dc "bpf: Add cgroup helpers bpf_{get,set}_retval to get/set syscall return value").
 */
#include "eunomia.bpf.h"
#include "cgroup.bpf.h"
#include "uring.bpf.h"

enum device_type {
	DEVICE_TYPE_BLOCK = 1,
	DEVICE_TYPE_CHARACTER,
} __attribute__((packed));

struct device_event {
	struct eu_header header;
	__u32 major;
	__u32 minor;
	__u32 access; /* bits: 1 make, 2 read, 4 write */
	enum device_type type;
	bool denied;
	__u8 reserved[2];
};
EU_EVENT(device);

EU_WHERE_NUMBER(type);
EU_WHERE_NUMBER(major);
EU_WHERE_NUMBER(minor);
EU_WHERE_BITS(access);
EU_WHERE_NUMBER(denied);

const volatile bool ordinary = false;    /* option: devices that any program uses, too */
const volatile bool denied_only = false; /* option */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_cgroup_dev_ctx {
	__u32 access_type; /* access << 16 | type */
	__u32 major;
	__u32 minor;
};
#pragma clang attribute pop

/* include/uapi/linux/major.h */
#define MEM_MAJOR 1
#define TTYAUX_MAJOR 5
#define UNIX98_PTY_SLAVE_MAJOR 136
#define UNIX98_PTY_MAJOR_COUNT 8

/* Those that a container may use by default: null, zero, full, random, urandom; tty and ptmx; terminals. */
#define MEM_MINORS (1 << 3 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9)
#define TTYAUX_MINORS (1 << 0 | 1 << 2)

static __always_inline bool is_ordinary(__u32 type, __u32 major, __u32 minor)
{
	if (type != DEVICE_TYPE_CHARACTER)
		return false;
	if (major == MEM_MAJOR)
		return minor < 32 && MEM_MINORS >> minor & 1;
	if (major == TTYAUX_MAJOR)
		return minor < 32 && TTYAUX_MINORS >> minor & 1;
	return major >= UNIX98_PTY_SLAVE_MAJOR && major < UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT;
}

EU_CGROUP_PROGRAM("cgroup/dev", device_checked, struct bpf_cgroup_dev_ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 type = ctx->access_type & 0xffff, access = ctx->access_type >> 16, major = ctx->major, minor = ctx->minor;
	struct device_event *event;
	bool denied;

	if (!access || (!ordinary && is_ordinary(type, major, minor)))
		return;
	denied = bpf_get_retval() < 0;
	if (denied_only && !denied)
		return;
	if (eu_where && (!eu_passes(type, type) || !eu_passes(major, major) || !eu_passes(minor, minor) ||
			 !eu_passes_bits(access, access) || !eu_passes(denied, denied)))
		return;
	if (!eu_uring_wanted(task))
		return;
	event = eu_reserve(struct device_event);
	if (!event)
		return;
	eu_uring_fill(&event->header, task);
	event->major = major;
	event->minor = minor;
	event->access = access;
	event->type = type;
	event->denied = denied;
	event->reserved[0] = event->reserved[1] = 0;
	eu_submit(event);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
