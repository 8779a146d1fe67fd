/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* udp: one event for each call that sends or receives by a UDP socket, when it ends, in the process that makes it. */
#include "eunomia.bpf.h"
#include "addressed.bpf.h"
#include "header.bpf.h"

#define IPPROTO_UDP 17

enum udp_operation {
	UDP_OPERATION_SEND = 1,
	UDP_OPERATION_RECEIVE,
} __attribute__((packed));

struct udp_event {
	struct eu_header header;
	eu_ip local_address;
	eu_ip remote_address;
	__u64 payload_bytes;
	eu_errno errno;
	__u32 net_ns;
	__u16 local_port;
	__u16 remote_port;
	__u8 ip_version;
	enum udp_operation udp_operation;
	bool remote_known;
	__u8 reserved;
};
EU_EVENT(udp);

EU_WHERE_NUMBER(udp_operation);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(local_port);
EU_WHERE_NUMBER(remote_port);
EU_WHERE_ADDRESS(local_address);
EU_WHERE_ADDRESS(remote_address);

const volatile __u32 operations = 0;     /* option: bits 1 << operation; 0 is all */
const volatile bool failed_only = false; /* option: only what fails */

#define EAGAIN 11 /* include/uapi/asm-generic/errno-base.h */

EU_ADDRESSED(udp)

static __always_inline void report(struct sock *sk, long ret, enum udp_operation operation, bool peeks)
{
	__u16 family = sk->__sk_common.skc_family, remote_port = 0, local_port;
	struct task_struct *task = bpf_get_current_task_btf();
	eu_ip remote = {}, local;
	struct udp_event *event;
	__u8 version = 4;
	bool known;

	if (sk->sk_protocol != IPPROTO_UDP || (family != AF_INET && family != AF_INET6))
		return;
	if (!eu_uring_wanted(task))
		return;
	known = eu_take_remote(sk, family, &remote, &remote_port);
	ret = ret <= -512 && ret >= -516 ? -4 : ret; /* as eu_user_ret */
	/* That there is nothing to receive is no datagram. */
	if (peeks || (failed_only && ret >= 0) || (ret == -EAGAIN && operation == UDP_OPERATION_RECEIVE))
		return;
	if (operations && !(operations >> operation & 1))
		return;
	local_port = sk->__sk_common.skc_num;
	eu_sock_local_ip(sk, family, &local);
	/* A socket of IPv6 may have a peer of IPv4. */
	if (family == AF_INET6 && !eu_is_ipv4(&local) && !(known && eu_is_ipv4(&remote)))
		version = 6;
	if (eu_where &&
	    (!eu_passes(udp_operation, operation) || !eu_passes(errno, ret < 0 ? -ret : 0) ||
	     !eu_passes(local_port, local_port) || !eu_passes(remote_port, known ? remote_port : -1) ||
	     !eu_passes_address(local_address, &local, false) || !eu_passes_address(remote_address, &remote, !known)))
		return;
	event = eu_reserve(struct udp_event);
	if (!event)
		return;
	eu_uring_fill(&event->header, task);
	event->local_address = local;
	event->remote_address = remote;
	event->payload_bytes = ret < 0 ? 0 : ret;
	event->errno = ret < 0 ? ret : 0;
	event->net_ns = EU_READ_THROUGH(sk, __sk_common.skc_net.net, ns.inum);
	event->local_port = local_port;
	event->remote_port = remote_port;
	event->ip_version = version;
	event->udp_operation = operation;
	event->remote_known = known;
	event->reserved = 0;
	eu_submit(event);
}

/* Linux 6.3 (6e6eda44b939 "sock: add tracepoint for send recv length") */
SEC("tp_btf/sock_send_length")
int BPF_PROG(udp_sent, struct sock *sk, int ret, int flags)
{
	report(sk, ret, UDP_OPERATION_SEND, false);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(udp_received, struct sock *sk, int ret, int flags)
{
	report(sk, ret, UDP_OPERATION_RECEIVE, flags & (MSG_PEEK | MSG_ERRQUEUE));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
