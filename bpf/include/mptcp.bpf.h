/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * MPTCP: the process has a socket of its own protocol, which the kernel serves by TCP sockets, its subflows. The first one is there
 * from connect or accept on, and stands for the connection.
 */
#ifndef EUNOMIA_MPTCP_BPF_H
#define EUNOMIA_MPTCP_BPF_H

#include "record.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mptcp_sock {
	struct sock *first;
	u64 bytes_sent;
	u64 bytes_received;
};

struct mptcp_subflow_context {
	u32 request_join : 1;
	struct sock *conn;
};

struct inet_connection_sock {
	void *icsk_ulp_data;
};

struct tcp_sock___mptcp {
	bool is_mptcp;
};

#pragma clang attribute pop

#define IPPROTO_MPTCP 262

/* What the kernel knows of a TCP socket as a subflow, or NULL: it is none. */
static __always_inline struct mptcp_subflow_context *eu_subflow(struct sock *sk)
{
	if (!bpf_core_field_exists(struct tcp_sock___mptcp, is_mptcp) ||
	    !BPF_CORE_READ((struct tcp_sock___mptcp *)sk, is_mptcp))
		return NULL;
	return BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_ulp_data);
}

/* A further subflow, which the kernel itself connects. */
static __always_inline bool eu_is_joining(struct sock *sk)
{
	struct mptcp_subflow_context *subflow = eu_subflow(sk);

	return subflow && BPF_CORE_READ_BITFIELD_PROBED(subflow, request_join);
}

/* Whether the kernel's own worker does this to a subflow: no process's doing. */
static __always_inline bool eu_by_mptcp_worker(struct sock *sk)
{
	return bpf_get_current_task_btf()->flags & PF_KTHREAD && eu_subflow(sk);
}

#endif
