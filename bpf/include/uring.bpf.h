/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Requests of io_uring: no system call ends when they do.
 *
 * A request is remembered when it is submitted, by its address, with what its opcode's struct holds then (the kernel has
 * copied paths already, so that nobody can change them any more), and reported when its completion is posted. It runs in
 * the thread that submitted it or in a worker of the same process (iou-wrk-…, iou-sqp-…).
 *
 * Completions come by three ways. io_uring_complete has the request; of a request that posts many it has none but for the
 * last, and io_uring_cqe_overflow, where the completion queue is full, has none: there the ring and the user's own number
 * for the request tell which. A request with IOSQE_CQE_SKIP_SUCCESS that succeeds completes without a trace.
 *
 * Programs are optional (src/trackers/NAME.ts): a kernel without these tracepoints runs the tracker without them. Linux 6.0 is the
 * oldest whose requests are read here (f2ccb5aed7bc "io_uring: make io_kiocb_to_cmd() typesafe": io_kiocb.cmd).
 */
#ifndef EUNOMIA_URING_BPF_H
#define EUNOMIA_URING_BPF_H

#include "eunomia.bpf.h"
#include "file.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct io_cmd_data {
	struct file *file;
};

struct io_cqe {
	__u64 user_data;
	__s32 res;
	__s32 fd; /* until it has a result */
};

struct io_uring_cqe {
	__u64 user_data;
	__s32 res;
};

struct io_rsrc_node {
	unsigned long file_ptr;
};

struct io_rsrc_data {
	unsigned int nr;
	struct io_rsrc_node **nodes;
};

struct io_file_table {
	struct io_rsrc_data data;
};

struct io_ring_ctx {
	struct io_file_table file_table;
};

struct io_kiocb {
	union {
		struct file *file;
		struct io_cmd_data cmd;
	};
	u8 opcode;
	u32 flags; /* the lower half: IOSQE_* */
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
};

#pragma clang attribute pop

/* include/uapi/linux/io_uring.h */
#define IORING_OP_ACCEPT 13
#define IORING_OP_CONNECT 16
#define IORING_OP_OPENAT 18
#define IORING_OP_OPENAT2 28
#define IORING_ACCEPT_MULTISHOT 1
#define IORING_FILE_INDEX_ALLOC (~0U)
#define EU_URING_UNTOLD (-65536L)        /* no result: the kernel does not tell this request's */
#define EU_URING_SKIPS_SUCCESS (1U << 6) /* IOSQE_CQE_SKIP_SUCCESS */

#define EU_PF_IO_WORKER 0x00000010 /* include/linux/sched.h */

/*
 * How many arguments the tracepoint has in this kernel; 0: there is none. The loader sets it. Before Linux 6.15 it had the
 * completion's members one by one.
 */
const volatile __u32 eu_args_io_uring_complete = 0;
#define EU_COMPLETE_WITH_CQE 3

/* What tells a request that has no address. */
struct eu_uring_key {
	__u64 ring;
	__u64 user_data;
};

/* What an opcode's struct of the request begins at. */
#define eu_uring_cmd(req) ((void *)(req) + bpf_core_field_offset(struct io_kiocb, cmd))

static __always_inline struct eu_uring_key eu_uring_key(struct io_kiocb *req)
{
	return (struct eu_uring_key){ .ring = (__u64)req->ctx, .user_data = req->cqe.user_data };
}

/*
 * As eu_wanted and eu_fill, where the current task may be a worker: its own comm says nothing, so that of its process's first
 * thread counts, which users know and filter by.
 */
static __always_inline bool eu_uring_wanted(struct task_struct *task)
{
	return task->flags & EU_PF_IO_WORKER ? eu_wanted_as(task->group_leader) : eu_wanted();
}

static __always_inline void eu_uring_fill(struct eu_header *h, struct task_struct *task)
{
	eu_fill(h);
	if (task->flags & EU_PF_IO_WORKER)
		BPF_CORE_READ_INTO(&h->comm, task, group_leader, comm);
}

/* The file in a ring's own table (direct descriptors), or NULL. Linux 6.13 and later (3597f2786b68: io_rsrc_data.nodes). */
static __always_inline struct file *eu_uring_file(struct io_ring_ctx *ring, __u32 slot)
{
	struct io_rsrc_node **nodes, *node = NULL;

	if (!bpf_core_field_exists(struct io_rsrc_data, nodes) || slot >= BPF_CORE_READ(ring, file_table.data.nr))
		return NULL;
	nodes = BPF_CORE_READ(ring, file_table.data.nodes);
	bpf_probe_read_kernel(&node, sizeof(node), nodes + slot);
	/* The lowest bits are flags (FFS_NOWAIT, FFS_ISREG). */
	return node ? (void *)(BPF_CORE_READ(node, file_ptr) & ~3UL) : NULL;
}

#define EU_URING_FIXED_FILE (1U << 0) /* IOSQE_FIXED_FILE */

/* The file that a request is about, when it is submitted: the kernel looks it up later, and `file` is not set yet. */
static __always_inline struct file *eu_uring_submitted_file(struct io_kiocb *req, struct task_struct *task)
{
	__s32 fd = BPF_CORE_READ(req, cqe.fd);

	return req->flags & EU_URING_FIXED_FILE ? eu_uring_file(req->ctx, fd) : eu_file(task, fd);
}

#endif
