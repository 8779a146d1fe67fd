/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * packet: one event for each IP packet that a socket sends or receives, with its first bytes.
 *
 * Packets are those that programs of cgroups see: from the IP header on, at egress after NAT. They run in softirqs, and over loopback in
 * the sender's process, so that whose a packet is follows from its socket.
 */
#include "eunomia.bpf.h"
#include "areas.bpf.h"
#include "owned_packet.bpf.h"

enum packet_direction {
	PACKET_DIRECTION_SENT = 1,
	PACKET_DIRECTION_RECEIVED,
} __attribute__((packed));

struct packet_event {
	struct eu_header header; /* of the socket's owner */
	eu_ip source_address;
	eu_ip target_address;
	__u32 packet_bytes; /* from the IP header on */
	__u32 segments;     /* that it stands for (GSO, GRO) */
	__u32 net_ns;
	__u16 source_port;
	__u16 target_port;
	__u8 protocol;   /* IPPROTO_* */
	__u8 ip_version; /* 0: not an IP packet */
	enum packet_direction packet_direction;
	bool has_protocol;
	bool has_ports;
	bool has_tcp;
	__u8 tcp_flags;
	__u8 reserved;
	char device[16];
	eu_bytes data;
};
EU_EVENT(packet);

enum packet_capture {
	PACKET_CAPTURE_DATA,
};
EU_CAPTURES(packet);

#define SNAP_MAX 16384 /* src/trackers/packet.ts */
struct packet_area {
	struct packet_event event;
	__u8 data[SNAP_MAX];
	__u64 taken;
};
EU_AREAS_OF(packet, struct packet_area);

#define UNKNOWN_PROTOCOL 256

EU_WHERE_NUMBER(packet_direction);
EU_WHERE_NUMBER(packet_bytes);
EU_WHERE_NUMBER(protocol);
EU_WHERE_NUMBER(source_port);
EU_WHERE_NUMBER(target_port);
EU_WHERE_ADDRESS(source_address);
EU_WHERE_ADDRESS(target_address);

const volatile __u32 snap_length = 256; /* option */
const volatile __u32 directions = 0;    /* option: bits 1 << direction; 0 is all */

/* `whole`: it has a header of the transport, which fragments other than the first have not. */
static __always_inline void read_transport(struct __sk_buff *skb, struct packet_event *event,
					   const struct eu_packet *packet, bool whole)
{
	struct eu_tcp_header tcp;
	__be16 ports[2];

	event->source_port = event->target_port = 0;
	event->tcp_flags = 0;
	event->has_ports = event->has_tcp = false;
	if (!whole)
		return;
	if (packet->protocol == IPPROTO_TCP && !bpf_skb_load_bytes(skb, packet->at, &tcp, sizeof(tcp))) {
		event->has_ports = event->has_tcp = true;
		event->source_port = bpf_ntohs(tcp.source);
		event->target_port = bpf_ntohs(tcp.target);
		event->tcp_flags = tcp.flags;
	} else if (packet->protocol != IPPROTO_TCP && eu_carries_ports(packet->protocol) &&
		   !bpf_skb_load_bytes(skb, packet->at, ports, sizeof(ports))) {
		event->has_ports = true;
		event->source_port = bpf_ntohs(ports[0]);
		event->target_port = bpf_ntohs(ports[1]);
	}
}

static __always_inline bool passes(const struct packet_event *event)
{
	return eu_passes(packet_direction, event->packet_direction) && eu_passes(packet_bytes, event->packet_bytes) &&
	       eu_passes(protocol, event->has_protocol ? event->protocol : UNKNOWN_PROTOCOL) &&
	       eu_passes(source_port, event->has_ports ? event->source_port : -1) &&
	       eu_passes(target_port, event->has_ports ? event->target_port : -1) &&
	       eu_passes_address(source_address, &event->source_address, !event->ip_version) &&
	       eu_passes_address(target_address, &event->target_address, !event->ip_version);
}

static __always_inline void fill_device(struct packet_event *event, struct __sk_buff *skb)
{
	struct sk_buff *kernel = (void *)eu_address(skb);

	__builtin_memset(event->device, 0, sizeof(event->device));
	BPF_CORE_READ_INTO(&event->device, kernel, dev, name);
}

static __always_inline void report(struct __sk_buff *skb, const struct packet_event *event)
{
	__u32 length = skb->len, size = sizeof(*event);
	struct packet_area *area;

	area = eu_claim_of(packet, struct packet_area);
	if (!area)
		return;
	area->event = *event;
	if (length > snap_length)
		length = snap_length;
	barrier_var(length);
	if (length && length <= SNAP_MAX && eu_captures(PACKET_CAPTURE_DATA) &&
	    !bpf_skb_load_bytes(skb, 0, area->data, length)) {
		area->event.data = length << 16 | sizeof(*event);
		size += length;
	}
	eu_count(bpf_ringbuf_output(&eu_ring, area, size, eu_wakeup(size)) != 0);
	eu_release(area);
}

/* Not inlined: verified once, for both programs. */
static __attribute__((noinline)) int take(struct __sk_buff *skb, __u32 direction)
{
	struct packet_event event = {};
	struct eu_packet packet = {};
	struct bpf_sock *sk;
	struct sock *raw;
	bool whole;

	if (directions && !(directions & (1U << (direction & 31))))
		return 0;
	sk = eu_sock_of_packet(skb);
	if (!sk)
		return 0;
	raw = (void *)eu_address(sk);
	if (!eu_fill_owner_of_sock(&event.header, bpf_sk_storage_get(&eu_owners, sk, NULL, 0), raw))
		return 0;
	whole = eu_read_packet(skb, &packet);
	event.packet_direction = direction;
	event.packet_bytes = skb->len;
	event.segments = skb->gso_segs ?: 1;
	event.protocol = packet.protocol;
	event.ip_version = packet.version;
	event.source_address = packet.source;
	event.target_address = packet.target;
	event.has_protocol = whole || packet.version == 4;
	read_transport(skb, &event, &packet, whole);
	if (eu_where && !passes(&event))
		return 0;
	event.net_ns = BPF_CORE_READ(raw, __sk_common.skc_net.net, ns.inum);
	fill_device(&event, skb);
	report(skb, &event);
	return 0;
}

EU_CGROUP_PROGRAM("cgroup_skb/egress", packet_egress, struct __sk_buff)
{
	take(ctx, PACKET_DIRECTION_SENT);
}

EU_CGROUP_PROGRAM("cgroup_skb/ingress", packet_ingress, struct __sk_buff)
{
	take(ctx, PACKET_DIRECTION_RECEIVED);
}

EU_OWN_DATAGRAMS

char LICENSE[] SEC("license") = "Dual BSD/GPL";
