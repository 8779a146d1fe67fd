/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Connects and accepts through io_uring, of sockets of any family. An accept may be a multishot one, which goes on after its first
 * connection: it is found by its ring and the user's number for it.
 */
#ifndef EUNOMIA_CONNECT_URING_BPF_H
#define EUNOMIA_CONNECT_URING_BPF_H

#include "sock.bpf.h"
#include "uring.bpf.h"

/* What the tracker does with these: a file of the current process's, maybe of a socket that it has accepted, or NULL, */
static __always_inline void uring_accepted(struct file *file);
/* and a connect that has ended with this result. `file` is of the socket, or NULL. */
static __always_inline void uring_connected(struct file *file, const struct eu_sockaddr *address, __s32 res);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct io_accept {
	int iou_flags; /* Linux 6.10; multishot is a flag of the request before */
	u32 file_slot; /* of a direct descriptor: its place in the ring's table + 1, or IORING_FILE_INDEX_ALLOC; else 0 */
};
struct io_connect {
	void *addr;
	int addr_len;
};
#pragma clang attribute pop

struct conn_request {
	struct eu_uring_request request;
	struct eu_sockaddr address; /* of a connect */
	__u32 slot;                 /* of an accept */
	__u32 opcode;
};
EU_URING_REQUESTS(conn, 16384);

/* Accepts that go on after their first connection: a completion of theirs has no request. */
struct multishot {
	__u32 slot;
	__u32 count; /* of requests with this user_data */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct eu_uring_key);
	__type(value, struct multishot);
} conn_multishots SEC(".maps");

/* `slot`: of a direct descriptor, as in struct io_accept; else 0. */
static __always_inline void ring_accepted(__u64 ring, __u32 slot, __s32 res)
{
	if (res < 0)
		return;
	if (slot)
		uring_accepted(eu_uring_file((void *)ring, slot == IORING_FILE_INDEX_ALLOC ? res : slot - 1));
	else
		uring_accepted(eu_file(bpf_get_current_task_btf(), res));
}

static __always_inline void remember_multishot(struct io_kiocb *req, __u32 slot)
{
	struct eu_uring_key key = eu_uring_key(req);
	struct multishot *known = bpf_map_lookup_elem(&conn_multishots, &key);
	struct multishot first = { .slot = slot, .count = 1 };

	if (known)
		__sync_fetch_and_add(&known->count, 1);
	else
		bpf_map_update_elem(&conn_multishots, &key, &first, BPF_ANY);
}

static __always_inline void forget_multishot(const struct eu_uring_key *key)
{
	struct multishot *many = bpf_map_lookup_elem(&conn_multishots, key);

	if (many && --many->count == 0)
		bpf_map_delete_elem(&conn_multishots, key);
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct conn_request request = { .opcode = req->opcode };
	__u64 key = (__u64)req;

	if (request.opcode == IORING_OP_CONNECT) {
		struct io_connect *connect = eu_uring_cmd(req);

		eu_read_sockaddr(&request.address, BPF_CORE_READ(connect, addr), BPF_CORE_READ(connect, addr_len));
	} else if (request.opcode == IORING_OP_ACCEPT) {
		struct io_accept *accept = eu_uring_cmd(req);

		request.slot = BPF_CORE_READ(accept, file_slot);
		if (!bpf_core_field_exists(struct io_accept, iou_flags) ||
		    BPF_CORE_READ(accept, iou_flags) & IORING_ACCEPT_MULTISHOT)
			remember_multishot(req, request.slot);
	} else {
		return;
	}
	eu_uring_remember(&request.request, req);
	/* Whether it will be an event, and whose, is not known yet: so it counts as none where there is no room. */
	bpf_map_update_elem(&conn_requests, &key, &request, BPF_ANY);
}

EU_URING_SUBMIT(conn, submitted)

static __always_inline void request_ended(void *ended, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct conn_request *request = ended;

	if (request->opcode == IORING_OP_ACCEPT)
		ring_accepted(request->request.key.ring, request->slot, res);
	else
		uring_connected(BPF_CORE_READ(req, file), &request->address, res);
}

static __always_inline void request_completed(void *ended, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct conn_request *request = ended;

	if (request->opcode == IORING_OP_ACCEPT)
		forget_multishot(&request->request.key);
	request_ended(request, req, why, res);
}

/* A completion without a request: of an accept that goes on. */
static __always_inline void went_on(unsigned long long *ctx)
{
	struct eu_uring_key key = { .ring = ctx[0] };
	struct multishot *multishot;
	__s32 res;

	if (eu_args_io_uring_complete == EU_COMPLETE_WITH_CQE) {
		struct io_uring_cqe *cqe = (void *)ctx[2];

		key.user_data = BPF_CORE_READ(cqe, user_data);
		res = BPF_CORE_READ(cqe, res);
	} else {
		key.user_data = ctx[2];
		res = ctx[3];
	}
	multishot = bpf_map_lookup_elem(&conn_multishots, &key);
	if (multishot)
		ring_accepted(key.ring, multishot->slot, res);
}

SEC("tp_btf/io_uring_complete")
int conn_complete(unsigned long long *ctx)
{
	struct io_kiocb *req = (void *)ctx[1];
	u8 opcode;

	if (!req) {
		went_on(ctx);
		return 0;
	}
	opcode = BPF_CORE_READ(req, opcode);
	if (opcode == IORING_OP_ACCEPT || opcode == IORING_OP_CONNECT)
		eu_uring_complete(&conn_requests, req, request_completed);
	return 0;
}

SEC("tp_btf/io_uring_cqe_overflow")
int BPF_PROG(conn_overflow, void *ring, unsigned long long user_data, s32 res)
{
	struct eu_uring_key key = { .ring = (__u64)ring, .user_data = user_data };
	struct multishot *multishot = bpf_map_lookup_elem(&conn_multishots, &key);

	if (multishot)
		ring_accepted(key.ring, multishot->slot, res);
	else
		eu_uring_complete_by_key(&conn_requests, key, res, request_ended);
	return 0;
}

#endif
