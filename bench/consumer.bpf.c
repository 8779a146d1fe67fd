/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The peer: what a C programmer would write on libbpf for the same events with the same fields. The pid is a constant, as
 * in libbpf-tools; pointers are followed directly, the fastest way on a BTF tracepoint; only losses are counted.
 * One of the programs is loaded:
 *
 *   empty   returns at once: what the hook itself costs
 *   whole   paths of up to 4,096 bytes, as Eunomia's: put together in per-CPU memory, copied into the ring
 *   fixed   paths of up to 255 bytes in a record of fixed size, as opensnoop's: written in the ring, never copied
 */
#include "peers/peer.bpf.h"

#define O_CREAT 0100
#define PATH_WHOLE 4096

struct call {
	struct facts facts;
	__s32 error, fd;
	__u32 flags, mode;
	__u32 path_length;
};
struct fixed_record {
	struct call call;
	char path[TEXT];
};
struct whole_record {
	struct call call;
	char path[2 * PATH_WHOLE]; /* twice, so that the verifier believes in a masked length */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct whole_record);
} scratch SEC(".maps");

static __always_inline bool is_wanted(struct pt_regs *regs)
{
	return NR(regs) == __NR_openat && wanted();
}

static __always_inline void fill_call(struct call *call, struct pt_regs *regs, long ret)
{
	fill(&call->facts);
	call->error = ret < 0 ? ret : 0;
	call->fd = ret < 0 ? -1 : ret;
	call->flags = ARG3(regs);
	call->mode = call->flags & O_CREAT ? ARG4(regs) : 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(empty, struct pt_regs *regs, long ret)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(whole, struct pt_regs *regs, long ret)
{
	struct whole_record *record;
	__u32 zero = 0;
	long length;

	if (!is_wanted(regs))
		return 0;
	record = bpf_map_lookup_elem(&scratch, &zero);
	if (!record)
		return 0;
	fill_call(&record->call, regs, ret);
	length = bpf_probe_read_user_str(record->path, PATH_WHOLE, (void *)ARG2(regs));
	if (length < 0)
		length = 0;
	record->call.path_length = length;
	if (bpf_ringbuf_output(&ring, record, sizeof(record->call) + (length & (2 * PATH_WHOLE - 1)), 0))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(fixed, struct pt_regs *regs, long ret)
{
	struct fixed_record *record;
	long length;

	if (!is_wanted(regs))
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	fill_call(&record->call, regs, ret);
	length = bpf_probe_read_user_str(record->path, sizeof(record->path), (void *)ARG2(regs));
	record->call.path_length = length < 0 ? 0 : length;
	bpf_ringbuf_submit(record, 0);
	return 0;
}
