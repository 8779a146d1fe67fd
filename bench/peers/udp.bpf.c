/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Calls that send or receive by a UDP socket. Whom an unconnected socket sends to, or receives from, is left for the next tracepoint of
 * that socket's thread by the programs of cgroups that see the call's address.
 */
#include "peer.bpf.h"

#define IPPROTO_UDP 17
#define EAGAIN 11
#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000

struct record {
	struct facts facts;
	struct address local, remote;
	__u64 bytes;
	__s32 error;
	__u32 net_ns, sends, remote_known, version;
	__u16 local_port, remote_port;
};
RECORD(record);

struct told {
	struct address address;
	__be16 port;
};
/* By thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct told);
} addressed SEC(".maps");

static __always_inline int tell4(struct bpf_sock_addr *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct told told = {};

	if (!wanted())
		return 1;
	put_ipv4(&told.address, ctx->user_ip4);
	told.port = ctx->user_port;
	bpf_map_update_elem(&addressed, &tid, &told, BPF_ANY);
	return 1;
}

static __always_inline int tell6(struct bpf_sock_addr *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid(), *words;
	struct told told = {};

	if (!wanted())
		return 1;
	words = (__u32 *)told.address.bytes;
	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	told.port = ctx->user_port;
	bpf_map_update_elem(&addressed, &tid, &told, BPF_ANY);
	return 1;
}

SEC("cgroup/sendmsg4")
int sends4(struct bpf_sock_addr *ctx)
{
	return tell4(ctx);
}

SEC("cgroup/recvmsg4")
int receives4(struct bpf_sock_addr *ctx)
{
	return tell4(ctx);
}

SEC("cgroup/sendmsg6")
int sends6(struct bpf_sock_addr *ctx)
{
	return tell6(ctx);
}

SEC("cgroup/recvmsg6")
int receives6(struct bpf_sock_addr *ctx)
{
	return tell6(ctx);
}

static __always_inline void report(struct sock *sk, int ret, bool sends)
{
	__u16 family = sk->__sk_common.skc_family;
	struct record *record;
	struct told *told;
	__u32 tid;

	if (sk->sk_protocol != IPPROTO_UDP || (family != AF_INET && family != AF_INET6) || !wanted())
		return;
	if (!sends && ret == -EAGAIN)
		return;
	record = RESERVE(struct record);
	if (!record)
		return;
	fill(&record->facts);
	tid = record->facts.tid;
	record->bytes = ret < 0 ? 0 : ret;
	record->error = error_of(ret);
	record->net_ns = sk->__sk_common.skc_net.net->ns.inum;
	record->sends = sends;
	record->local_port = sk->__sk_common.skc_num;
	put_local(&record->local, sk, family);
	record->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	record->remote_known = record->remote_port != 0;
	if (record->remote_known) {
		put_remote(&record->remote, sk, family);
	} else {
		told = bpf_map_lookup_elem(&addressed, &tid);
		__builtin_memset(&record->remote, 0, sizeof(record->remote));
		if (told) {
			record->remote = told->address;
			record->remote_port = bpf_ntohs(told->port);
			record->remote_known = 1;
			bpf_map_delete_elem(&addressed, &tid);
		}
	}
	record->version = family == AF_INET || ((__u32 *)record->local.bytes)[2] == bpf_htonl(0xffff) ? 4 : 6;
	SUBMIT(record);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(udp_sent, struct sock *sk, int ret, int flags)
{
	report(sk, ret, true);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(udp_received, struct sock *sk, int ret, int flags)
{
	if (!(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		report(sk, ret, false);
	return 0;
}
