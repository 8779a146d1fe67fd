/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * sysctl: one event for each write of a parameter of the kernel (/proc/sys) and, on request, for each read.
 *
 * The kernel runs the program before it takes the value, after it has checked the file's mode.
 */
#include "eunomia.bpf.h"
#include "areas.bpf.h"
#include "cgroup.bpf.h"
#include "uring.bpf.h"

enum sysctl_operation {
	SYSCTL_OPERATION_WRITE = 1,
	SYSCTL_OPERATION_READ,
} __attribute__((packed));

struct sysctl_event {
	struct eu_header header;
	eu_str name; /* below /proc/sys */
	eu_str old_value;
	eu_str new_value;
	__u32 position;
	__u32 net_ns;
	enum sysctl_operation sysctl_operation;
	bool truncated;
	__u8 reserved[2];
};
EU_EVENT(sysctl);

EU_AREAS(sysctl);

EU_WHERE_NUMBER(operation);
EU_WHERE_TEXT(name);
EU_WHERE_TEXT(old_value);
EU_WHERE_TEXT(new_value);

const volatile bool reads = false; /* option: reads too */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_sysctl {
	__u32 write;
	__u32 file_pos;
};
#pragma clang attribute pop

#define NAME_MAX 256
#define VALUE_MAX 3584
_Static_assert(sizeof(struct sysctl_event) + NAME_MAX + 2 * VALUE_MAX <= EU_AREA_RECORD_MAX,
	       "a record has room for all");

/* include/uapi/asm-generic/errno-base.h: the text has been cut. */
#define E2BIG 7

/* What a helper has written at *size, in `n` bytes or an error, without the newline at its end. */
static __always_inline eu_str take_text(struct eu_claimed *area, __u32 *size, long n, __u32 cap, bool *truncated)
{
	__u32 offset = *size & (EU_AREA_RECORD_MAX - 1);

	if (n == -E2BIG) {
		*truncated = true;
		n = cap - 1;
	}
	if (n <= 0)
		return 0;
	n &= EU_AREA_RECORD_MAX / 2 - 1;
	if (area->record[(offset + n - 1) & (EU_AREA_RECORD_MAX - 1)] == '\n')
		n--;
	*size = offset + n;
	return eu_text(offset, n);
}

#define AT(area, size) ((char *)(area)->record + (*(size) & (EU_AREA_RECORD_MAX - 1)))

/* Puts the record together; false if the session does not want it. */
static __always_inline bool fill(struct bpf_sysctl *ctx, struct eu_claimed *area, __u32 *size)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sysctl_event *event = (void *)area->record;
	bool truncated = false;
	long n;

	n = bpf_sysctl_get_name(ctx, AT(area, size), NAME_MAX, 0);
	event->name = take_text(area, size, n, NAME_MAX, &truncated);
	if (eu_where && !eu_passes_text(name, (struct eu_area *)area, event->name))
		return false;
	n = bpf_sysctl_get_current_value(ctx, AT(area, size), VALUE_MAX);
	/* Whoever reads to the end reads once more, and gets nothing. */
	if (!ctx->write && ctx->file_pos && n >= 0 && ctx->file_pos >= n)
		return false;
	event->old_value = take_text(area, size, n, VALUE_MAX, &truncated);
	event->new_value = 0;
	if (ctx->write) {
		n = bpf_sysctl_get_new_value(ctx, AT(area, size), VALUE_MAX);
		event->new_value = take_text(area, size, n, VALUE_MAX, &truncated);
	}
	if (eu_where && (!eu_passes_text(old_value, (struct eu_area *)area, event->old_value) ||
			 !eu_passes_text(new_value, (struct eu_area *)area, event->new_value)))
		return false;
	eu_uring_fill(&event->header, task);
	event->position = ctx->file_pos;
	event->net_ns = eu_far(task)->nsproxy->net_ns->ns.inum;
	event->sysctl_operation = ctx->write ? SYSCTL_OPERATION_WRITE : SYSCTL_OPERATION_READ;
	event->truncated = truncated;
	event->reserved[0] = event->reserved[1] = 0;
	return true;
}

EU_CGROUP_PROGRAM("cgroup/sysctl", sysctl_access, struct bpf_sysctl)
{
	__u32 size = sizeof(struct sysctl_event);
	struct eu_claimed *area;

	if (!ctx->write && !reads)
		return;
	if (eu_where && !eu_passes(operation, ctx->write ? SYSCTL_OPERATION_WRITE : SYSCTL_OPERATION_READ))
		return;
	if (!eu_uring_wanted(bpf_get_current_task_btf()))
		return;
	area = eu_claim(sysctl);
	if (!area)
		return;
	if (fill(ctx, area, &size))
		eu_output_claimed(area, size);
	eu_release(area);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
