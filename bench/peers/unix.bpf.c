/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* connect and accept on Unix domain sockets, when they end, and who is at the other end. */
#include "peer.bpf.h"

#define PATH 108 /* sun_path */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct pid___tasks {
	struct hlist_head tasks[1];
};
struct task_struct___links {
	struct hlist_node pid_links[1];
};
struct sock___peer {
	struct pid *sk_peer_pid;
};
struct sockaddr_un {
	__u16 sun_family;
};
struct unix_address {
	int len;
	struct sockaddr_un name[];
};
struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};
#pragma clang attribute pop

struct record {
	struct facts facts;
	struct facts peer; /* all 0: not known */
	__s32 error;
	__u32 accepts, type, abstract;
	__u32 path_length, requested_length;
	char path[PATH], requested_path[PATH]; /* of an abstract name as it is, from a NUL on */
};
RECORD(record);

/* With room behind it, so that a masked length is inside. */
struct name {
	__u16 family;
	char path[126];
};
#define NAME_MAX (sizeof(__u16) + PATH)

static __always_inline void fill_peer(struct facts *facts, struct sock *sk, __u64 now)
{
	struct pid *pid = BPF_CORE_READ((struct sock___peer *)sk, sk_peer_pid);
	__u64 link = (__u64)BPF_CORE_READ((struct pid___tasks *)pid, tasks[0].first);
	struct task_struct *task;

	if (!link) {
		__builtin_memset(facts, 0, sizeof(*facts));
		return;
	}
	task = (void *)(link - bpf_core_field_offset(struct task_struct___links, pid_links));
	facts->boot_ns = now;
	facts->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	facts->start_boot_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	facts->pid = BPF_CORE_READ(task, tgid);
	facts->tid = BPF_CORE_READ(task, pid);
	facts->ppid = BPF_CORE_READ(task, real_parent, tgid);
	facts->uid = BPF_CORE_READ(task, cred, uid.val);
	facts->gid = BPF_CORE_READ(task, cred, gid.val);
	facts->mount_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	BPF_CORE_READ_INTO(&facts->comm, task, comm);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(unix_exit, struct pt_regs *regs, long ret)
{
	struct sock *sk, *bound;
	struct record *record;
	struct name name = {};
	long nr = NR(regs);
	__u32 length;

	if ((nr != __NR_connect && nr != __NR_accept && nr != __NR_accept4) || !wanted())
		return 0;
	if (nr != __NR_connect && ret < 0)
		return 0;
	sk = sock_of(nr == __NR_connect ? ARG1(regs) : ret);
	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX)
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	record->error = error_of(ret);
	record->accepts = nr != __NR_connect;
	record->type = BPF_CORE_READ(sk, sk_type);
	record->path_length = record->requested_length = 0;
	record->path[0] = record->requested_path[0] = 0;
	record->abstract = 0;
	if (!record->accepts) {
		length = ARG3(regs);
		if (length > NAME_MAX)
			length = NAME_MAX;
		bpf_probe_read_user(&name, length & 127, (void *)ARG2(regs));
		if (name.family == AF_UNIX && length > sizeof(name.family)) {
			record->requested_length = record->path_length = length - sizeof(name.family);
			__builtin_memcpy(record->requested_path, name.path, PATH);
			__builtin_memcpy(record->path, name.path, PATH);
			record->abstract = !name.path[0];
		}
	}
	if (ret < 0) {
		__builtin_memset(&record->peer, 0, sizeof(record->peer));
		SUBMIT(record);
		return 0;
	}
	fill_peer(&record->peer, sk, record->facts.boot_ns);
	bound = record->accepts ? sk : BPF_CORE_READ((struct unix_sock *)sk, peer);
	if (bound) {
		struct unix_address *address = BPF_CORE_READ((struct unix_sock *)bound, addr);

		length = BPF_CORE_READ(address, len);
		if (address && length > sizeof(name.family) && length <= NAME_MAX) {
			bpf_probe_read_kernel(&name, length & 127,
					      (void *)address + bpf_core_field_offset(struct unix_address, name));
			record->path_length = length - sizeof(name.family);
			__builtin_memcpy(record->path, name.path, PATH);
			record->abstract = !name.path[0];
		}
	}
	SUBMIT(record);
	return 0;
}
