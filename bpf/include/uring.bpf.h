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
#include "header.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct filename {
	const char *name;
};

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

/*
 * How many arguments the tracepoint has in this kernel; 0: there is none. The loader sets it. Before Linux 6.15 it had the
 * completion's members one by one.
 */
const volatile __u32 eu_args_io_uring_complete = 0;
#define EU_COMPLETE_WITH_CQE 3

/* What an opcode's struct of the request begins at. */
#define eu_uring_cmd(req) ((void *)(req) + bpf_core_field_offset(struct io_kiocb, cmd))

/* ---- Who submitted it, and which file it is about ---- */

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

	return req->flags & EU_URING_FIXED_FILE ? eu_uring_file(eu_far(req)->ctx, fd) : eu_file(task, fd);
}

/* ---- Requests under way ---- */

/* What tells a request whose address is not known. */
struct eu_uring_key {
	__u64 ring;
	__u64 user_data;
};

static __always_inline struct eu_uring_key eu_uring_key(struct io_kiocb *req)
{
	return (struct eu_uring_key){ .ring = (__u64)eu_far(req)->ctx, .user_data = req->cqe.user_data };
}

/* What is remembered of any request: the first member of a tracker's `struct NAME_request`. */
struct eu_uring_request {
	struct eu_uring_key key;
	bool told; /* it has had its event already, when it was submitted */
	__u8 reserved[7];
};

static __always_inline void eu_uring_remember(struct eu_uring_request *request, struct io_kiocb *req)
{
	request->key = eu_uring_key(req);
	request->told = req->flags & EU_URING_SKIPS_SUCCESS;
	__builtin_memset(request->reserved, 0, sizeof(request->reserved));
}

/* Declares NAME_requests: each tracker's requests under way, by their address. */
#define EU_URING_REQUESTS(name, entries)              \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_HASH);      \
		__uint(max_entries, entries);         \
		__uint(map_flags, BPF_F_NO_PREALLOC); \
		__type(key, __u64);                   \
		__type(value, struct name##_request); \
	} name##_requests SEC(".maps")

/* Why a request is reported. */
enum eu_uring_why {
	EU_URING_COMPLETED,
	EU_URING_SUBMITTED, /* the kernel will not report its success */
	EU_URING_UNSEEN,    /* its end was not seen; `req` is NULL */
};

/* A tracker's function that reports a request of its own. `res` is the result, or EU_URING_UNTOLD where it has not completed. */
typedef void (*eu_uring_report)(void *request, struct io_kiocb *req, enum eu_uring_why why, long res);

/*
 * A request was submitted at an address where an earlier one is still remembered: its end was not seen. To be called for each request of
 * the tracker's opcodes, wanted or not, else its end would be taken for the earlier one's.
 */
static __always_inline void eu_uring_replace(void *requests, struct io_kiocb *req, eu_uring_report report)
{
	__u64 address = (__u64)req;
	struct eu_uring_request *old = bpf_map_lookup_elem(requests, &address);

	if (!old)
		return;
	if (!old->told)
		report(old, NULL, EU_URING_UNSEEN, EU_URING_UNTOLD);
	bpf_map_delete_elem(requests, &address);
}

/*
 * Keeps a copy of `request` until its end, which may be now: where the kernel reports no success. A request that finds no room (more are
 * under way than the map holds) is a lost event.
 */
static __always_inline void eu_uring_keep(void *requests, struct io_kiocb *req, struct eu_uring_request *request,
					  eu_uring_report report)
{
	__u64 address = (__u64)req;

	if (bpf_map_update_elem(requests, &address, request, BPF_ANY)) {
		eu_count(true);
		return;
	}
	if (!(req->flags & EU_URING_SKIPS_SUCCESS))
		return;
	request = bpf_map_lookup_elem(requests, &address);
	if (request)
		report(request, req, EU_URING_SUBMITTED, EU_URING_UNTOLD);
}

/* The completion of a request whose address is known. */
static __always_inline void eu_uring_complete(void *requests, struct io_kiocb *req, eu_uring_report report)
{
	__u64 address = (__u64)req;
	void *request = bpf_map_lookup_elem(requests, &address);

	if (!request)
		return;
	report(request, req, EU_URING_COMPLETED, BPF_CORE_READ(req, cqe.res));
	bpf_map_delete_elem(requests, &address);
}

struct eu_uring_search {
	struct eu_uring_key key;
	__u64 address; /* 0: not found */
};

static long eu_uring_matches(void *requests, const __u64 *address, struct eu_uring_request *request,
			     struct eu_uring_search *search)
{
	if (request->key.ring != search->key.ring || request->key.user_data != search->key.user_data)
		return 0;
	search->address = *address;
	return 1;
}

/* The completion of a request of which only its ring and the user's number for it are known. */
static __always_inline void eu_uring_complete_by_key(void *requests, struct eu_uring_key key, long res,
						     eu_uring_report report)
{
	struct eu_uring_search search = { .key = key };
	void *request;

	bpf_for_each_map_elem(requests, eu_uring_matches, &search, 0);
	if (!search.address)
		return;
	request = bpf_map_lookup_elem(requests, &search.address);
	if (!request)
		return;
	report(request, (struct io_kiocb *)search.address, EU_URING_COMPLETED, res);
	bpf_map_delete_elem(requests, &search.address);
}

/* ---- Programs ---- */

/*
 * NAME_submit and NAME_submit_old: the latter for the tracepoint's name before Linux 6.4 (2ad57931db64 "io_uring: rename
 * trace_io_uring_submit_sqe() tracepoint"). `submitted(req)` is the tracker's.
 */
#define EU_URING_SUBMIT(name, submitted)                      \
	SEC("tp_btf/io_uring_submit_req")                     \
	int BPF_PROG(name##_submit, struct io_kiocb *req)     \
	{                                                     \
		submitted(req);                               \
		return 0;                                     \
	}                                                     \
	SEC("tp_btf/io_uring_submit_sqe")                     \
	int BPF_PROG(name##_submit_old, struct io_kiocb *req) \
	{                                                     \
		submitted(req);                               \
		return 0;                                     \
	}

/*
 * NAME_complete and NAME_overflow, for requests that complete once: `is_watched(opcode)` selects the tracker's, `report` (an
 * eu_uring_report) reports them.
 */
#define EU_URING_COMPLETE(name, is_watched, report)                                        \
	SEC("tp_btf/io_uring_complete")                                                    \
	int BPF_PROG(name##_complete, void *ring, struct io_kiocb *req)                    \
	{                                                                                  \
		if (req && is_watched(BPF_CORE_READ(req, opcode)))                         \
			eu_uring_complete(&name##_requests, req, report);                  \
		return 0;                                                                  \
	}                                                                                  \
	SEC("tp_btf/io_uring_cqe_overflow")                                                \
	int BPF_PROG(name##_overflow, void *ring, unsigned long long user_data, s32 res)   \
	{                                                                                  \
		struct eu_uring_key key = { .ring = (__u64)ring, .user_data = user_data }; \
                                                                                           \
		eu_uring_complete_by_key(&name##_requests, key, res, report);              \
		return 0;                                                                  \
	}

#endif
