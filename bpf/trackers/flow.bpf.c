/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * flow: how much processes send and receive, and with whom, counted twice: what processes pass to their sockets and take from them, and
 * what goes over the wire in packets.
 *
 * Packets are counted as programs of cgroups see them: each packet to and from a socket of this machine, after NAT. Several segments that
 * are one packet there (GSO, GRO) are counted as the packets that they become, or were. The peer is the one that the process addressed,
 * which before NAT may be another one than the packet's.
 */
#define EU_SIDES_OF_ALL
#include "eunomia.bpf.h"
#include "addressed.bpf.h"
#include "aggregate.bpf.h"
#include "owned_packet.bpf.h"

struct flow_event {
	struct eu_header header; /* boot_ns is of the reading */
	eu_ip remote_address;
	__u16 local_port;  /* of what others address; else 0 */
	__u16 remote_port; /* of what the process addresses; else 0 */
	__u16 protocol;    /* IPPROTO_* */
	__u8 ip_version;
	bool remote_known;
	eu_total count;
	eu_total sends;
	eu_total process_sent_bytes;
	eu_total receives;
	eu_total process_received_bytes;
	eu_total wire_sent_packets;
	eu_total wire_sent_bytes;
	eu_total wire_received_packets;
	eu_total wire_received_bytes;
};

/* With whom; the struct's end is the key's. */
struct peer {
	eu_ip address;
	__u16 local_port;
	__u16 remote_port;
	__u16 protocol;
	__u8 ip_version;
	bool known;
};
struct flow_key {
	struct eu_aggregate_key process; /* `what` is 0 */
	struct peer peer;
};
EU_AGGREGATES_BY(flow, struct flow_key);

EU_WHERE_NUMBER(local_port);
EU_WHERE_NUMBER(remote_port);
EU_WHERE_ADDRESS(remote_address);

const volatile bool by_peer = true; /* option: one count for each address and port */

/* What happened, by the member that counts it. */
enum what { SENT, RECEIVED, SENT_PACKETS, RECEIVED_PACKETS, PEEKED };

/* Programs of softirqs and of tasks add to one count. */
static __always_inline void add(struct flow_event *total, const struct peer *peer, enum what what, __u64 number,
				__u64 bytes)
{
	total->remote_address = peer->address;
	total->local_port = peer->local_port;
	total->remote_port = peer->remote_port;
	total->protocol = peer->protocol;
	total->ip_version = peer->ip_version;
	total->remote_known = peer->known;
	__sync_fetch_and_add(&total->count, number);
	if (what == SENT) {
		__sync_fetch_and_add(&total->sends, number);
		__sync_fetch_and_add(&total->process_sent_bytes, bytes);
	} else if (what == RECEIVED) {
		__sync_fetch_and_add(&total->receives, number);
		__sync_fetch_and_add(&total->process_received_bytes, bytes);
	} else if (what == SENT_PACKETS) {
		__sync_fetch_and_add(&total->wire_sent_packets, number);
		__sync_fetch_and_add(&total->wire_sent_bytes, bytes);
	} else {
		__sync_fetch_and_add(&total->wire_received_packets, number);
		__sync_fetch_and_add(&total->wire_received_bytes, bytes);
	}
}

/* Not static: verified once a program. */
__attribute__((noinline)) int count(const struct eu_header *header, const struct peer *peer, __u32 what, __u64 number,
				    __u64 bytes)
{
	struct flow_event *total;
	struct flow_key key = {};

	if (!header || !peer)
		return 0;
	if (eu_where && (!eu_passes(local_port, peer->local_port) || !eu_passes(remote_port, peer->remote_port) ||
			 !eu_passes_address(remote_address, &peer->address, !peer->known)))
		return 0;
	key.process = eu_aggregate_key_of(header, 0);
	key.peer = *peer;
	total = eu_aggregate_for(&key, header);
	if (total) {
		add(total, peer, what, number, bytes);
		return 0;
	}
	total = eu_reserve(struct flow_event);
	if (!total)
		return 0;
	bpf_probe_read_kernel(total, sizeof(*total), &eu_aggregate_zero);
	total->header = *header;
	total->header.boot_ns = bpf_ktime_get_boot_ns();
	add(total, peer, what, number, bytes);
	eu_submit(total);
	return 0;
}

/* ---- With whom ---- */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock___locks {
	u8 sk_userlocks;
};
#pragma clang attribute pop
#define SOCK_BINDPORT_LOCK 8 /* include/net/sock.h: the program chose the port */

/*
 * Only the port of the end that offers something tells one flow from another: a client's own is another one each time. It is the local
 * one of a connection that was accepted, and of a socket without connections that the program bound to a port.
 */
static __always_inline void take_ports(struct peer *peer, struct sock *sk, const struct eu_owner *owner,
				       __u16 remote_port)
{
	bool accepted, connected;

	if (peer->protocol == IPPROTO_TCP || peer->protocol == IPPROTO_MPTCP_OWN) {
		accepted = owner && owner->side == EU_SIDE_ACCEPTED;
		connected = owner && owner->side == EU_SIDE_CONNECTED;
	} else if (peer->protocol == IPPROTO_UDP) {
		accepted = BPF_CORE_READ((struct sock___locks *)sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
		connected = !accepted;
	} else {
		return;
	}
	if (accepted)
		peer->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (connected)
		peer->remote_port = remote_port;
}

EU_ADDRESSED(flow)

/* ---- What processes pass and take ---- */

static __always_inline void transferred(struct sock *sk, long ret, enum what what)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u16 family = sk->__sk_common.skc_family, port = 0;
	struct peer peer = {};
	struct eu_header header;
	bool wanted;

	if (family != AF_INET && family != AF_INET6)
		return;
	wanted = eu_uring_wanted(task);
	if (!wanted && sk->sk_protocol == IPPROTO_TCP)
		return;
	if (wanted)
		peer.known = eu_take_remote(sk, family, &peer.address, &port);
	if (ret < 0 || what == PEEKED)
		return;
	eu_own_datagrams(sk); /* also of who is not wanted */
	if (!wanted)
		return;
	eu_uring_fill(&header, task);
	peer.protocol = sk->sk_protocol;
	peer.ip_version = family == AF_INET || eu_is_ipv4(&peer.address) ? 4 : 6;
	take_ports(&peer, sk, eu_owner_of(sk), port);
	if (!by_peer) {
		peer.known = false;
		peer.remote_port = 0;
		__builtin_memset(&peer.address, 0, sizeof(peer.address));
	}
	count(&header, &peer, what, 1, ret);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(flow_sent, struct sock *sk, int ret, int flags)
{
	transferred(sk, ret, SENT);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(flow_received, struct sock *sk, int ret, int flags)
{
	transferred(sk, ret, flags & (MSG_PEEK | MSG_ERRQUEUE) ? PEEKED : RECEIVED);
	return 0;
}

/* ---- What goes over the wire ---- */

/* clang else makes one load of several, at an offset or from a pointer that depends, which the verifier refuses. */
#define LOAD(field)                   \
	({                            \
		__u32 loaded = field; \
		barrier_var(loaded);  \
		loaded;               \
	})

/* The header of TCP or UDP, which each packet has that a packet of several segments stands for. */
static __always_inline __u32 transport_header(struct __sk_buff *skb, const struct eu_packet *packet)
{
	__u8 offset = 0;

	if (packet->protocol == IPPROTO_UDP)
		return sizeof(struct eu_udp_header);
	if (packet->protocol != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, packet->at + __builtin_offsetof(struct eu_tcp_header, offset), &offset, 1))
		return 0;
	return (offset >> 4) * 4;
}

static __always_inline void passed(struct __sk_buff *skb, bool sends)
{
	__u32 segments = skb->gso_segs, bytes = skb->len;
	struct eu_packet packet = {};
	struct eu_owner *owner;
	struct eu_header header;
	struct peer peer = {};
	struct bpf_sock *sk;
	struct sock *raw;
	__be16 ports[2] = {};
	__u16 port;

	sk = eu_sock_of_packet(skb);
	if (!sk)
		return;
	raw = (void *)eu_address(sk);
	owner = bpf_sk_storage_get(&eu_owners, sk, NULL, 0);
	if (!eu_fill_owner_of_sock(&header, owner, raw))
		return;
	/* False for a fragment other than the first, too, which has no ports. */
	if (eu_read_packet(skb, &packet))
		bpf_skb_load_bytes(skb, packet.at, ports, sizeof(ports));
	if (segments > 1)
		bytes += (segments - 1) * (packet.at + transport_header(skb, &packet));
	else
		segments = 1;
	peer.protocol = LOAD(sk->protocol);
	/* A raw socket may send what is no IP packet: its version is that of the socket. */
	peer.ip_version = packet.version ?: LOAD(sk->family) == AF_INET ? 4 : 6;
	peer.known = by_peer && (packet.version || sk->dst_port);
	peer.address = sends ? packet.target : packet.source;
	port = bpf_ntohs(ports[sends]);
	if (sk->dst_port) {
		eu_sock_remote_ip(raw, LOAD(sk->family), &peer.address);
		port = bpf_ntohs(LOAD(sk->dst_port));
	}
	take_ports(&peer, raw, owner, port);
	if (!by_peer) {
		peer.remote_port = 0;
		__builtin_memset(&peer.address, 0, sizeof(peer.address));
	}
	count(&header, &peer, sends ? SENT_PACKETS : RECEIVED_PACKETS, segments, bytes);
}

EU_CGROUP_PROGRAM("cgroup_skb/egress", flow_egress, struct __sk_buff)
{
	passed(ctx, true);
}

EU_CGROUP_PROGRAM("cgroup_skb/ingress", flow_ingress, struct __sk_buff)
{
	passed(ctx, false);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
