/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets to and from sockets, as programs of cgroups see them, and whose they are. */
#ifndef EUNOMIA_OWNED_PACKET_BPF_H
#define EUNOMIA_OWNED_PACKET_BPF_H

#include "cgroup.bpf.h"
#include "owner_udp.bpf.h"
#include "packet.bpf.h"

/* A socket is its maker's until another process uses it. */
EU_CGROUP_PROGRAM("cgroup/sock_create", owner_create, struct bpf_sock)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct eu_owner *owner;
	bool wanted;

	if (task->flags & PF_KTHREAD)
		return;
	wanted = eu_uring_wanted(task);
	if (!wanted && eu_unknown_is_unwanted((void *)eu_address(ctx)))
		return;
	owner = eu_in_sock(&eu_owners, ctx);
	if (owner)
		eu_fill_owned(owner, task, wanted);
}

/* The socket of the packet; NULL where it is none of IP, or has none. */
static __always_inline struct bpf_sock *eu_sock_of_packet(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	return sk && (sk->family == AF_INET || sk->family == AF_INET6) ? sk : NULL;
}

#endif
