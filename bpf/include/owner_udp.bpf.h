/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose a socket of UDP, or of another protocol without connections, is: the process's that sent or received by it last. Linux 6.3 and
 * later (6e6eda44b939 "sock: add tracepoint for send recv length"); the programs are optional.
 */
#ifndef EUNOMIA_OWNER_UDP_BPF_H
#define EUNOMIA_OWNER_UDP_BPF_H

#include "owner.bpf.h"

#define IPPROTO_MPTCP_OWN 262 /* include/uapi/linux/in.h: its subflows are sockets of TCP */

/* Of a process that is not wanted the pid alone is known: whether it is now, may be another matter where its user or name decides. */
static __always_inline bool eu_owns_datagrams(const struct eu_owner *owner, struct task_struct *task)
{
	if (owner->wanted)
		return eu_is_owner(owner, task);
	return owner->header.pid == task->tgid && !eu_by_uid && !eu_by_comm && !eu_where;
}

/* A process sends by a socket, or receives. */
static __always_inline void eu_own_datagrams(struct sock *sk)
{
	struct eu_owner *owner;

	if (!eu_sock_is_inet(sk) || sk->sk_protocol == IPPROTO_TCP || sk->sk_protocol == IPPROTO_MPTCP_OWN)
		return;
	owner = bpf_sk_storage_get(&eu_owners, sk, NULL, 0);
	if (!owner || !eu_owns_datagrams(owner, bpf_get_current_task_btf()))
		eu_own(sk, EU_SIDE_UNKNOWN, false);
}

/* For trackers that have no other program on these tracepoints. */
#define EU_OWN_DATAGRAMS                              \
	SEC("tp_btf/sock_send_length")                \
	int BPF_PROG(owner_sent, struct sock *sk)     \
	{                                             \
		eu_own_datagrams(sk);                 \
		return 0;                             \
	}                                             \
	SEC("tp_btf/sock_recv_length")                \
	int BPF_PROG(owner_received, struct sock *sk) \
	{                                             \
		eu_own_datagrams(sk);                 \
		return 0;                             \
	}

#endif
