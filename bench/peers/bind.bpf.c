/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bind and listen on sockets of IPv4 and IPv6, when they end. */
#include "peer.bpf.h"

#define SOCK_RAW 3

struct record {
	struct facts facts;
	__s32 error;
	__u32 listens;
	__u16 family, protocol, type, address_known;
	__s32 port, requested_port, requested_backlog;
	__u32 backlog, net_ns;
	struct address address;
};
RECORD(record);

SEC("tp_btf/sys_exit")
int BPF_PROG(bind_exit, struct pt_regs *regs, long ret)
{
	struct sockaddr_any passed = {};
	struct record *record;
	struct sock *sk;
	__u16 family;

	if ((NR(regs) != __NR_bind && NR(regs) != __NR_listen) || !wanted())
		return 0;
	sk = sock_of(ARG1(regs));
	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	record->error = error_of(ret);
	record->listens = NR(regs) == __NR_listen;
	record->family = family;
	record->protocol = BPF_CORE_READ(sk, sk_protocol);
	record->type = BPF_CORE_READ(sk, sk_type);
	record->net_ns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	record->port = record->requested_port = -1;
	record->address_known = ret >= 0;
	put_local(&record->address, sk, family);
	if (record->type != SOCK_RAW && ret >= 0)
		record->port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	if (record->listens) {
		record->requested_backlog = ARG2(regs);
		record->backlog = ret < 0 ? ~0U : BPF_CORE_READ(sk, sk_max_ack_backlog);
	} else {
		record->requested_backlog = 0;
		record->backlog = ~0U;
		if (!bpf_probe_read_user(&passed, ARG3(regs) < sizeof(passed) ? 16 : sizeof(passed),
					 (void *)ARG2(regs)) &&
		    (passed.family == AF_INET || passed.family == AF_INET6)) {
			record->requested_port = bpf_ntohs(passed.port);
			if (ret < 0) {
				record->port = record->requested_port;
				record->address_known = true;
				if (passed.family == AF_INET6)
					__builtin_memcpy(&record->address, passed.ipv6, 16);
				else
					put_ipv4(&record->address, passed.ipv4);
			}
		}
		if (record->type == SOCK_RAW)
			record->port = record->requested_port = -1;
	}
	SUBMIT(record);
	return 0;
}
