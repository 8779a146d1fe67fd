/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* blockio: one event for each request to a disk, when it has completed. */
#include "block.bpf.h"

struct blockio_event {
	struct eu_header header; /* of the process that made the request; boot_ns is of its end */
	__u64 sector;            /* NO_SECTOR: it is about none */
	__u64 bytes;
	eu_duration_ns duration_ns;
	eu_duration_ns queue_ns;
	eu_duration_ns device_ns;
	eu_errno errno;
	__u32 device; /* dev_t */
	__u32 flags;  /* REQ_* */
	enum eu_block_operation block_operation;
	__u8 reserved[3];
	char disk[EU_DISK_NAME_LEN];
};
EU_EVENT(blockio);

EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(bytes);

const volatile bool failed_only = false; /* option: only requests that failed */
const volatile __u64 slower_than_ns = 0; /* option: only those that took at least as long */
const volatile __u32 operations = 0;     /* option: bits 1 << operation; 0 is all */

#define NO_SECTOR (~0ULL)

static __always_inline bool has_sector(enum eu_block_operation operation)
{
	return operation != EU_BLOCK_OPERATION_FLUSH && operation != EU_BLOCK_OPERATION_PASSTHROUGH;
}

static __always_inline bool is_wanted(const struct eu_block_request *request, enum eu_block_operation operation,
				      __s32 error, __u64 now)
{
	if (failed_only && !error)
		return false;
	if (operations && !(operations >> (operation & 31) & 1))
		return false;
	if (eu_since(now, request->began_ns) < slower_than_ns)
		return false;
	return !eu_where ||
	       (eu_passes(operation, operation) && eu_passes(errno, -error) && eu_passes(bytes, request->bytes));
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_complete, struct request *rq, __u8 status, unsigned int bytes)
{
	struct eu_block_request *request = eu_block_completed(rq, status, bytes);
	enum eu_block_operation operation;
	struct blockio_event *event;
	struct gendisk *disk;
	__s32 error;
	__u64 now;

	if (!request)
		return 0;
	now = bpf_ktime_get_boot_ns();
	operation = eu_block_operation(request->flags, request->bytes);
	error = eu_block_errno(request->status);
	event = is_wanted(request, operation, error, now) ? eu_reserve(struct blockio_event) : NULL;
	if (event) {
		event->header = request->header;
		event->header.boot_ns = now;
		event->sector = has_sector(operation) ? request->sector : NO_SECTOR;
		event->bytes = request->bytes;
		event->duration_ns = eu_since(now, request->began_ns);
		event->queue_ns = request->issued_ns ? eu_since(request->issued_ns, request->began_ns) : EU_NO_DURATION;
		event->device_ns = request->issued_ns ? eu_since(now, request->issued_ns) : EU_NO_DURATION;
		event->errno = error;
		event->device = request->device;
		event->flags = request->flags;
		event->block_operation = operation;
		__builtin_memset(event->reserved, 0, sizeof(event->reserved));
		__builtin_memset(event->disk, 0, sizeof(event->disk));
		disk = BPF_CORE_READ(rq, q, disk);
		if (disk)
			BPF_CORE_READ_INTO(&event->disk, disk, disk_name);
		eu_submit(event);
	}
	eu_block_forget(rq);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
