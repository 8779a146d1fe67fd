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
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#if defined(__TARGET_ARCH_x86)
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	unsigned long di, si, dx, r10, orig_ax;
};
#pragma clang attribute pop
#define NR_openat 257
#define NR(r) ((long)(r)->orig_ax)
#define ARG2(r) ((r)->si)
#define ARG3(r) ((r)->dx)
#define ARG4(r) ((r)->r10)
#else
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	u64 regs[31];
	s32 syscallno;
};
#pragma clang attribute pop
#define NR_openat 56
#define NR(r) ((long)(r)->syscallno)
#define ARG2(r) ((r)->regs[1])
#define ARG3(r) ((r)->regs[2])
#define ARG4(r) ((r)->regs[3])
#endif

#define O_CREAT 0100
#define PATH_WHOLE 4096
#define PATH_FIXED 256

struct facts {
	__u64 boot_ns, cgroup_id, start_boot_ns;
	__u32 pid, tid, ppid, uid, gid, mount_ns;
	char comm[16];
	__s32 error, fd;
	__u32 flags, mode;
	__u32 path_length;
};
struct fixed_record {
	struct facts facts;
	char path[PATH_FIXED];
};
struct whole_record {
	struct facts facts;
	char path[2 * PATH_WHOLE]; /* twice, so that the verifier believes in a masked length */
};

const volatile __u32 target_pid = 0;
__u64 lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct whole_record);
} scratch SEC(".maps");

static __always_inline bool wanted(struct pt_regs *regs)
{
	return NR(regs) == NR_openat && bpf_get_current_pid_tgid() >> 32 == target_pid;
}

static __always_inline void fill(struct facts *facts, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 pid_tgid = bpf_get_current_pid_tgid(), uid_gid = bpf_get_current_uid_gid();

	facts->boot_ns = bpf_ktime_get_boot_ns();
	facts->cgroup_id = bpf_get_current_cgroup_id();
	facts->start_boot_ns = task->group_leader->start_boottime;
	facts->pid = pid_tgid >> 32;
	facts->tid = pid_tgid;
	facts->ppid = task->real_parent->tgid;
	facts->uid = uid_gid;
	facts->gid = uid_gid >> 32;
	facts->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	bpf_get_current_comm(facts->comm, sizeof(facts->comm));
	facts->error = ret < 0 ? ret : 0;
	facts->fd = ret < 0 ? -1 : ret;
	facts->flags = ARG3(regs);
	facts->mode = facts->flags & O_CREAT ? ARG4(regs) : 0;
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

	if (!wanted(regs))
		return 0;
	record = bpf_map_lookup_elem(&scratch, &zero);
	if (!record)
		return 0;
	fill(&record->facts, regs, ret);
	length = bpf_probe_read_user_str(record->path, PATH_WHOLE, (void *)ARG2(regs));
	if (length < 0)
		length = 0;
	record->facts.path_length = length;
	if (bpf_ringbuf_output(&ring, record, sizeof(record->facts) + (length & (2 * PATH_WHOLE - 1)), 0))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(fixed, struct pt_regs *regs, long ret)
{
	struct fixed_record *record;
	long length;

	if (!wanted(regs))
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	fill(&record->facts, regs, ret);
	length = bpf_probe_read_user_str(record->path, sizeof(record->path), (void *)ARG2(regs));
	record->facts.path_length = length < 0 ? 0 : length;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
