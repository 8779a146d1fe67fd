/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Both ends of what a tracker of TCP reports, its state, and the session's filter by them. */
#ifndef EUNOMIA_ENDS_BPF_H
#define EUNOMIA_ENDS_BPF_H

#include "owner.bpf.h"

EU_WHERE_NUMBER(local_port);
EU_WHERE_NUMBER(remote_port);
EU_WHERE_ADDRESS(local_address);
EU_WHERE_ADDRESS(remote_address);

struct eu_ends {
	eu_ip local_address;
	eu_ip remote_address;
	__u16 local_port;
	__u16 remote_port;
	__u8 ip_version;
	__u8 reserved[3];
};

static __always_inline __u8 eu_state_of(struct sock *sk)
{
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	return state == EU_TCP_NEW_SYN_RECV ? EU_SOCKET_STATE_SYN_RECV : state;
}

/* `sk` may be a request for a connection or one in TIME_WAIT: these begin with the same members. */
static __always_inline void eu_read_ends(struct eu_ends *ends, struct sock *sk)
{
	__u16 family = eu_sock_family(sk);

	__builtin_memset(ends, 0, sizeof(*ends));
	eu_sock_local_ip(sk, family, &ends->local_address);
	eu_sock_remote_ip(sk, family, &ends->remote_address);
	ends->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	/* A socket that closes has given its port back. */
	if (!ends->local_port && eu_is_full_sock(sk))
		ends->local_port = eu_sock_local_port(sk);
	ends->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	ends->ip_version = family == AF_INET6 && !eu_is_ipv4(&ends->remote_address) ? 6 : 4;
}

static __always_inline bool eu_ends_pass(const struct eu_ends *ends)
{
	return eu_passes(local_port, ends->local_port) && eu_passes(remote_port, ends->remote_port) &&
	       eu_passes_address(local_address, &ends->local_address, false) &&
	       eu_passes_address(remote_address, &ends->remote_address, false);
}

#endif
