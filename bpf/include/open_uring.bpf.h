/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Files that are opened through io_uring. The tracker defines `request_passes` before it includes this, `report_request` after it, and
 * its programs: EU_URING_SUBMIT(NAME, submitted) and EU_URING_COMPLETE(NAME, may_open, request_ended).
 */
#ifndef EUNOMIA_OPEN_URING_BPF_H
#define EUNOMIA_OPEN_URING_BPF_H

#include "eunomia.bpf.h"
#include "open_call.bpf.h"
#include "uring.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct open_how {
	__u64 flags, mode, resolve;
};
struct io_open {
	int dfd;
	u32 file_slot; /* of a direct descriptor: its place in the ring's table + 1, or IORING_FILE_INDEX_ALLOC; else 0 */
	struct filename *filename;
	struct open_how how;
};
#pragma clang attribute pop

struct open_request {
	struct eu_uring_request request;
	struct eu_header header; /* of who submitted it */
	struct open_args args;   /* `path` is no address here: not NULL where there is a text */
	__u32 slot;
	__u8 reserved[4];
	char text[EU_PATH_MAX];
};
EU_URING_REQUESTS(open, 4096);

EU_SCRATCH(uring);

/* The file that a request has opened, or NULL. */
static __always_inline struct file *opened_file(struct task_struct *task, const struct open_request *request, long ret)
{
	if (!request->slot)
		return eu_file(task, ret);
	return eu_uring_file((void *)request->request.key.ring,
			     request->slot == IORING_FILE_INDEX_ALLOC ? ret : request->slot - 1);
}

/* Not static: the verifier then checks it once per program. `ret` is EU_URING_UNTOLD of an open that the kernel will not tell of. */
int report_request(const struct open_request *request, long ret);

static __always_inline bool may_open(u8 opcode)
{
	return opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2;
}

static __always_inline void request_ended(void *request, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	report_request(request, res);
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct io_open *open = eu_uring_cmd(req);
	struct task_struct *task = bpf_get_current_task_btf();
	struct open_request *request;
	u8 opcode = req->opcode;

	if (!may_open(opcode))
		return;
	eu_uring_replace(&open_requests, req, request_ended);
	if (!eu_uring_wanted(task))
		return;
	request = (void *)eu_scratch(uring);
	if (!request)
		return;
	eu_uring_remember(&request->request, req);
	request->args.flags = BPF_CORE_READ(open, how.flags);
	if (opcode == IORING_OP_OPENAT)
		request->args.flags &= ~O_LARGEFILE_BIT; /* the kernel adds it */
	request->args.directory = BPF_CORE_READ(open, dfd);
	request->args.resolve = BPF_CORE_READ(open, how.resolve);
	request->args.how = opcode == IORING_OP_OPENAT2;
	request->args.mode = BPF_CORE_READ(open, how.mode);
	request->args.path = NULL;
	request->slot = BPF_CORE_READ(open, file_slot);
	__builtin_memset(request->reserved, 0, sizeof(request->reserved));
	if (!(request->args.flags & (O_CREAT | O_TMPFILE_BIT)))
		request->args.mode = 0;
	if (!request_passes(&request->args))
		return;
	eu_uring_fill(&request->header, task);
	/* A kernel that keeps it otherwise has no text here, and no error. */
	if (bpf_core_field_exists(struct io_open, filename)) {
		const char *name = BPF_CORE_READ(open, filename, name);

		if (bpf_probe_read_kernel_str(request->text, EU_PATH_MAX, name) > 0)
			request->args.path = (void *)1;
	}
	eu_uring_keep(&open_requests, req, &request->request, request_ended);
}

#endif
