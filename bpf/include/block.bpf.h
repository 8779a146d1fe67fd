/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Requests to disks, from where they are made to where they have completed.
 *
 * A request is remembered by its address when it is made (block_io_start), in the process that makes it, and when it is given to the
 * device's driver (block_rq_issue); it completes in an interrupt, in a process that is a stranger to it (block_rq_complete). The times are
 * our own: the kernel keeps its own only for disks with certain features turned on.
 *
 * Linux 6.5 and later (5a80bd075f3b "block: introduce block_io_start/block_io_done tracepoints").
 */
#ifndef EUNOMIA_BLOCK_BPF_H
#define EUNOMIA_BLOCK_BPF_H

#include "eunomia.bpf.h"
#include "header.bpf.h"

#define EU_DISK_NAME_LEN 32

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct gendisk {
	int major;
	int first_minor;
	char disk_name[EU_DISK_NAME_LEN];
};
struct request_queue {
	struct gendisk *disk;
};
struct block_device {
	u32 bd_dev;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct blkcg {
	struct cgroup_subsys_state css;
};
struct blkcg_gq {
	struct blkcg *blkcg;
};
struct bio {
	struct block_device *bi_bdev;
	struct blkcg_gq *bi_blkg; /* where the kernel has CONFIG_BLK_CGROUP */
};
struct request {
	struct request_queue *q;
	u32 cmd_flags;
	unsigned int __data_len;
	u64 __sector;
	struct bio *bio;
};
#pragma clang attribute pop

/* The schema's BlockOperation has the same names. */
enum eu_block_operation {
	EU_BLOCK_OPERATION_READ = 1,
	EU_BLOCK_OPERATION_WRITE,
	EU_BLOCK_OPERATION_FLUSH,
	EU_BLOCK_OPERATION_DISCARD,
	EU_BLOCK_OPERATION_SECURE_ERASE,
	EU_BLOCK_OPERATION_WRITE_ZEROES,
	EU_BLOCK_OPERATION_ZONE,
	EU_BLOCK_OPERATION_PASSTHROUGH,
} __attribute__((packed));

/* include/linux/blk_types.h: enum req_op, in the lowest bits of cmd_flags, and req_flag_bits above them */
#define EU_REQ_OP_MASK 0xff
#define EU_REQ_OP_WRITE 1
#define EU_REQ_OP_DRV_IN 34
#define EU_REQ_OP_DRV_OUT 35
#define EU_REQ_PREFLUSH (1U << 18)

static __always_inline enum eu_block_operation eu_block_operation(__u32 flags, __u32 bytes)
{
	switch (flags & EU_REQ_OP_MASK) {
	case 0: return EU_BLOCK_OPERATION_READ;
	/* A flush is asked for as a write of nothing (blkdev_issue_flush). */
	case EU_REQ_OP_WRITE:
		return bytes || !(flags & EU_REQ_PREFLUSH) ? EU_BLOCK_OPERATION_WRITE : EU_BLOCK_OPERATION_FLUSH;
	case 2: return EU_BLOCK_OPERATION_FLUSH;
	case 3: return EU_BLOCK_OPERATION_DISCARD;
	case 5: return EU_BLOCK_OPERATION_SECURE_ERASE;
	case 9: return EU_BLOCK_OPERATION_WRITE_ZEROES;
	case EU_REQ_OP_DRV_IN:
	case EU_REQ_OP_DRV_OUT: return EU_BLOCK_OPERATION_PASSTHROUGH;
	default: return EU_BLOCK_OPERATION_ZONE;
	}
}

/*
 * Of a blk_status_t, which is what completes a request: block/blk-core.c, blk_errors. Numbers from 14 to 17 are others where the kernel has
 * BLK_STS_ZONE_RESOURCE, which was 14. They are macros, of which BTF says nothing: so they have an errno where another mark of a kernel
 * without it is there (Linux 6.16, sched_process_exit's group_dead), and are EIO elsewhere.
 */
static __always_inline __s32 eu_block_errno(__u8 status)
{
	if (status >= 14 && status <= 17 &&
	    !bpf_core_field_exists(struct trace_event_raw_sched_process_exit, group_dead))
		return -5;
	switch (status) {
	case 0: return 0;
	case 1: return -95;   /* NOTSUPP: EOPNOTSUPP */
	case 2: return -110;  /* TIMEOUT: ETIMEDOUT */
	case 3: return -28;   /* NOSPC: ENOSPC */
	case 4: return -67;   /* TRANSPORT: ENOLINK */
	case 5: return -121;  /* TARGET: EREMOTEIO */
	case 6: return -52;   /* RESV_CONFLICT: EBADE */
	case 7: return -61;   /* MEDIUM: ENODATA */
	case 8: return -84;   /* PROTECTION: EILSEQ */
	case 9: return -12;   /* RESOURCE: ENOMEM */
	case 12: return -11;  /* AGAIN: EAGAIN */
	case 13: return -16;  /* DEV_RESOURCE: EBUSY */
	case 14: return -109; /* ZONE_OPEN_RESOURCE: ETOOMANYREFS */
	case 15: return -75;  /* ZONE_ACTIVE_RESOURCE: EOVERFLOW */
	case 16: return -19;  /* OFFLINE: ENODEV */
	case 17: return -62;  /* DURATION_LIMIT: ETIME */
	case 19: return -22;  /* INVALID: EINVAL */
	default: return -5;   /* IOERR and others: EIO */
	}
}

/* ---- Requests under way ---- */

struct eu_block_request {
	struct eu_header header; /* of the process that made it */
	__u64 began_ns;
	__u64 issued_ns; /* when it was given to the driver last; 0: not yet */
	__u64 sector;
	__u32 bytes;
	__u32 flags; /* cmd_flags */
	__u32 device;
	__u8 status; /* of a part that has completed before the rest */
	bool measured;
	__u8 reserved[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct eu_block_request);
} eu_block_requests SEC(".maps");

/*
 * The v2 cgroup that a kernel thread makes the request for (writeback, mostly), or 0: it is in a hierarchy of v1, or not known. There
 * the process says nothing, and the cgroup is that of the page's owner.
 */
static __always_inline __u64 eu_block_charged(struct request *rq)
{
	struct bio *bio = eu_far(rq)->bio;
	struct cgroup *cgroup;

	if (!bpf_core_field_exists(struct bio, bi_blkg))
		return 0;
	cgroup = BPF_CORE_READ(bio, bi_blkg, blkcg, css.cgroup);
	if (!cgroup || BPF_CORE_READ(cgroup, root, hierarchy_id))
		return 0;
	return BPF_CORE_READ(cgroup, kn, id);
}

/* What may have changed since it was made: others are merged into it while it waits. */
static __always_inline void eu_block_measure(struct eu_block_request *request, struct request *rq)
{
	if (request->measured)
		return;
	request->measured = true;
	request->bytes = rq->__data_len;
	request->sector = rq->__sector;
	/* A request with a flush loses its flag for that when the block layer makes the flush a request of its own (blk_insert_flush). */
	request->flags |= rq->cmd_flags;
}

/*
 * dev_t: the major number above 20 bits of the minor one. Of the partition, where there is one: the bio keeps it when its sector is made
 * one of the disk (blk_partition_remap). The request's own `part` is set after block_io_start, and not at all where the queue's iostats
 * are off.
 */
static __always_inline __u32 eu_block_device(struct request *rq)
{
	__u32 device = BPF_CORE_READ(rq, bio, bi_bdev, bd_dev);
	struct gendisk *disk;

	if (device)
		return device;
	disk = BPF_CORE_READ(rq, q, disk);
	return disk ? (__u32)BPF_CORE_READ(disk, major) << 20 | BPF_CORE_READ(disk, first_minor) : 0;
}

SEC("tp_btf/block_io_start")
int BPF_PROG(block_start, struct request *rq)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct eu_block_request request = {};
	__u64 address = (__u64)rq;

	eu_uring_fill(&request.header, task);
	if (task->flags & PF_KTHREAD)
		request.header.cgroup_id = eu_block_charged(rq) ?: request.header.cgroup_id;
	if (!eu_header_wanted(&request.header)) {
		/* One at this address whose end was not seen. */
		bpf_map_delete_elem(&eu_block_requests, &address);
		return 0;
	}
	request.began_ns = request.header.boot_ns;
	request.device = eu_block_device(rq);
	request.flags = rq->cmd_flags;
	if (bpf_map_update_elem(&eu_block_requests, &address, &request, BPF_ANY))
		eu_count(true);
	return 0;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_issue, struct request *rq)
{
	__u64 address = (__u64)rq;
	struct eu_block_request *request = bpf_map_lookup_elem(&eu_block_requests, &address);

	if (!request)
		return 0;
	request->issued_ns = bpf_ktime_get_boot_ns();
	eu_block_measure(request, rq);
	return 0;
}

/* The request, if it has completed as a whole; NULL otherwise, or if it is none that is wanted. */
static __always_inline struct eu_block_request *eu_block_completed(struct request *rq, __u8 status, __u32 bytes)
{
	__u64 address = (__u64)rq;
	struct eu_block_request *request = bpf_map_lookup_elem(&eu_block_requests, &address);

	if (!request)
		return NULL;
	eu_block_measure(request, rq);
	if (status)
		request->status = status;
	return bytes < rq->__data_len ? NULL : request;
}

static __always_inline void eu_block_forget(struct request *rq)
{
	__u64 address = (__u64)rq;

	bpf_map_delete_elem(&eu_block_requests, &address);
}

#endif
