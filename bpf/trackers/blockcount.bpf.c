/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * blockcount: requests to disks counted by container, process, disk and operation, with their bytes, total durations and histograms.
 * Counts what the tracker blockio has events of, at the same hooks.
 */
#include "block.bpf.h"
#include "aggregate.bpf.h"

struct blockcount_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	__u32 device;            /* dev_t */
	enum eu_block_operation block_operation;
	__u8 reserved[3];
	char disk[EU_DISK_NAME_LEN];
	eu_total count;
	eu_total errors;
	eu_total bytes;
	eu_total duration_ns;
	eu_total queue_ns;  /* of the requests in queue_histogram_ns */
	eu_total device_ns; /* of the same ones */
	eu_log2 duration_histogram_ns;
	eu_log2 queue_histogram_ns;
	eu_log2 device_histogram_ns;
	eu_log2 size_histogram_bytes; /* of requests that have bytes */
};

struct blockcount_key {
	struct eu_aggregate_key process; /* `what` is the operation */
	__u32 device;
	__u32 reserved;
};
EU_AGGREGATES_BY(blockcount, struct blockcount_key);

EU_WHERE_NUMBER(operation);

const volatile __u32 operations = 0; /* option: bits 1 << operation; 0 is all */

/*
 * It runs with preemption off, and not within itself: the kernel skips a program that interrupts itself on a CPU, and counts that
 * (kernel/trace/bpf_trace.c, prog->active; a session's skippedRuns). So plain adds are exact.
 */
static __always_inline void add(struct blockcount_event *total, const struct eu_block_request *request,
				enum eu_block_operation operation, struct request *rq, __u64 now)
{
	struct gendisk *disk;
	__u64 ns;

	if (!total->count) {
		total->device = request->device;
		total->block_operation = operation;
		disk = BPF_CORE_READ(rq, q, disk);
		if (disk)
			BPF_CORE_READ_INTO(&total->disk, disk, disk_name);
	}
	total->count++;
	if (request->status)
		total->errors++;
	if (request->bytes) {
		total->bytes += request->bytes;
		total->size_histogram_bytes.slots[eu_log2_slot(request->bytes)]++;
	}
	ns = eu_since(now, request->began_ns);
	total->duration_ns += ns;
	total->duration_histogram_ns.slots[eu_log2_slot(ns)]++;
	if (!request->issued_ns)
		return;
	ns = eu_since(request->issued_ns, request->began_ns);
	total->queue_ns += ns;
	total->queue_histogram_ns.slots[eu_log2_slot(ns)]++;
	ns = eu_since(now, request->issued_ns);
	total->device_ns += ns;
	total->device_histogram_ns.slots[eu_log2_slot(ns)]++;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_complete, struct request *rq, __u8 status, unsigned int bytes)
{
	struct eu_block_request *request = eu_block_completed(rq, status, bytes);
	struct blockcount_event *total;
	struct blockcount_key key = {};
	enum eu_block_operation operation;
	__u64 now;

	if (!request)
		return 0;
	now = bpf_ktime_get_boot_ns();
	operation = eu_block_operation(request->flags, request->bytes);
	if ((operations && !(operations >> (operation & 31) & 1)) || (eu_where && !eu_passes(operation, operation))) {
		eu_block_forget(rq);
		return 0;
	}
	key.process = eu_aggregate_key_of(&request->header, operation);
	key.device = request->device;
	total = eu_aggregate_for(&key, &request->header);
	if (total) {
		add(total, request, operation, rq, now);
	} else {
		total = eu_reserve(struct blockcount_event);
		if (total) {
			/* Larger than what the compiler clears by itself. */
			bpf_probe_read_kernel(total, sizeof(*total), &eu_aggregate_zero);
			total->header = request->header;
			total->header.boot_ns = now;
			add(total, request, operation, rq, now);
			eu_submit(total);
		}
	}
	eu_block_forget(rq);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
