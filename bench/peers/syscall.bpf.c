/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Each system call at its end, and how long it took. */
#include "peer.bpf.h"

struct record {
	struct facts facts;
	__s32 nr, error;
	__s64 ret;
	__u64 duration_ns; /* ~0: its beginning was not seen */
};
RECORD(record);

struct begun {
	__u64 boot_ns;
	long nr;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct begun);
} begun SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(syscall_enter, struct pt_regs *regs, long nr)
{
	struct begun *call;

	if (!wanted())
		return 0;
	call = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (call) {
		call->boot_ns = bpf_ktime_get_boot_ns();
		call->nr = nr;
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(syscall_exit, struct pt_regs *regs, long ret)
{
	struct record *record;
	struct begun *call;

	if (!wanted())
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	record->nr = NR(regs);
	record->error = error_of(ret);
	record->ret = ret;
	record->duration_ns = ~0ULL;
	call = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, 0);
	if (call && call->nr == NR(regs)) {
		record->duration_ns = record->facts.boot_ns - call->boot_ns;
		call->nr = -1;
	}
	SUBMIT(record);
	return 0;
}
