/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * socket: one record for each descriptor that stands for a socket, of all families and network namespaces. Not by the iterators of
 * sockets (iter/tcp, iter/udp, iter/unix): those see one network namespace, and know no process.
 */
#include "descriptors.bpf.h"
#include "file.bpf.h"
#include "tcp.bpf.h"
#include "unix.bpf.h"

struct socket_event {
	struct eu_header header; /* of a process that has it open */
	__u64 inode;
	__u64 peer_inode; /* of a unix socket; 0: none */
	eu_duration_ns srtt_ns;
	eu_duration_ns rtt_variation_ns;
	eu_amount sent_bytes;
	eu_amount received_bytes;
	eu_ip local_ip;
	eu_ip remote_ip;
	__s32 fd;
	__u32 net_ns;
	__s32 local_port;  /* -1: none */
	__s32 remote_port; /* -1: none; then there is no remote_ip either */
	__u32 cwnd;
	__u32 mss;
	__u32 retransmits;
	__u32 send_queue;
	__u32 receive_queue;
	__u32 backlog;
	__u32 backlog_limit;
	eu_str path; /* of a unix socket */
	__u16 family;
	__u16 socket_type;
	__u16 protocol;
	enum eu_socket_state state; /* 0: the family has none, or others */
	bool has_tcp;               /* cwnd and what is like it */
	bool listening;
	__u8 reserved[7];
};
EU_EVENT(socket);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct tcp_sock___snapshot {
	u32 srtt_us;
	u32 mdev_us;
	u32 snd_cwnd;
	u32 mss_cache;
	u32 total_retrans;
	u32 rcv_nxt;
	u32 copied_seq;
};
#pragma clang attribute pop

#define AF_VSOCK 40
#define SOCK_RAW 3
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136

static __always_inline void put_inet(struct socket_event *event, struct sock *sk)
{
	__u16 remote = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));

	eu_sock_local_ip(sk, event->family, &event->local_ip);
	eu_sock_remote_ip(sk, event->family, &event->remote_ip);
	if (event->socket_type != SOCK_RAW) { /* whose port is its protocol's number */
		event->local_port = eu_sock_local_port(sk);
		event->remote_port = remote ?: -1;
	}
	event->listening = event->state == EU_SOCKET_STATE_LISTEN;
	/* What is bound and not connected takes datagrams from anybody; ss -l lists it too. */
	if ((event->protocol == IPPROTO_UDP || event->protocol == IPPROTO_UDPLITE) && event->local_port > 0 &&
	    event->state == EU_SOCKET_STATE_CLOSE)
		event->listening = true;
	if (event->state == EU_SOCKET_STATE_LISTEN) {
		event->backlog = BPF_CORE_READ(sk, sk_ack_backlog);
		event->backlog_limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
	}
}

static __always_inline void put_tcp(struct socket_event *event, struct sock *sk)
{
	struct tcp_sock___snapshot *tcp = (void *)sk;
	struct tcp_sock *counters = (void *)sk;
	__u32 srtt = BPF_CORE_READ(tcp, srtt_us) >> 3; /* include/linux/tcp.h: in eighths, and mdev_us in quarters */

	if (event->state == EU_SOCKET_STATE_LISTEN || event->state == EU_SOCKET_STATE_CLOSE)
		return;
	event->has_tcp = true;
	if (srtt) {
		event->srtt_ns = srtt * 1000ULL;
		event->rtt_variation_ns = (BPF_CORE_READ(tcp, mdev_us) >> 2) * 1000ULL;
	}
	event->cwnd = BPF_CORE_READ(tcp, snd_cwnd);
	event->mss = BPF_CORE_READ(tcp, mss_cache);
	event->retransmits = BPF_CORE_READ(tcp, total_retrans);
	event->sent_bytes = BPF_CORE_READ(counters, bytes_sent) - BPF_CORE_READ(counters, bytes_retrans);
	event->received_bytes = eu_tcp_received(sk);
	event->send_queue = BPF_CORE_READ(counters, write_seq) - BPF_CORE_READ(counters, snd_una);
	event->receive_queue = BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);
}

static __always_inline void put_unix(struct eu_area *area, __u32 *size, struct socket_event *event, struct sock *sk)
{
	struct sock *peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
	bool abstract;

	event->listening = event->state == EU_SOCKET_STATE_LISTEN;
	if (event->listening)
		event->backlog_limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
	if (peer)
		event->peer_inode = BPF_CORE_READ(peer, sk_socket, file, f_path.dentry, d_inode, i_ino);
	event->path = eu_put_unix_bound(area, size, sk, &abstract);
}

SEC("iter/task_file")
int snap_socket(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket_event *event;
	struct socket *socket;
	struct eu_area *area;
	struct sock *sk;
	__u32 size = sizeof(*event);

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !eu_tells_descriptors(ctx->meta, task))
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	area = eu_snapshot_area();
	if (!sk || !area)
		return 0;
	event = (void *)area;
	__builtin_memset(event, 0, sizeof(*event));
	eu_fill_task(&event->header, task);
	event->fd = ctx->fd;
	event->inode = BPF_CORE_READ(file, f_path.dentry, d_inode, i_ino);
	event->net_ns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	event->family = eu_sock_family(sk);
	event->socket_type = BPF_CORE_READ(sk, sk_type);
	event->protocol = BPF_CORE_READ(sk, sk_protocol);
	event->srtt_ns = event->rtt_variation_ns = EU_NO_DURATION;
	event->local_port = event->remote_port = -1;
	if (eu_sock_is_inet(sk) || event->family == AF_UNIX || event->family == AF_VSOCK)
		event->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (eu_sock_is_inet(sk)) {
		put_inet(event, sk);
		if (event->protocol == IPPROTO_TCP)
			put_tcp(event, sk);
	} else if (event->family == AF_UNIX) {
		put_unix(area, &size, event, sk);
	}
	eu_snapshot_put(ctx->meta, event, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
