/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * drop: one event for each IP packet that the kernel drops, with the reason that it gives.
 *
 * Reasons are numbers that differ between kernels, and the place is an address: both are in the record as names, which are looked up once
 * and kept. The tracepoint passes a reason since Linux 5.17 (c504e5c2f964 "net: skb: introduce kfree_skb_reason()").
 */
/* The owner of the socket that sent a packet is asked for where nothing is known of the one that was to receive it. */
#define EU_MARK_UNWANTED
#include "eunomia.bpf.h"
#include "enum_name.bpf.h"
#include "owner_udp.bpf.h"
#include "skb.bpf.h"

struct drop_event {
	struct eu_header header; /* of the socket's owner */
	eu_ip source_address;
	eu_ip target_address;
	__u16 source_port;
	__u16 target_port;
	__u8 protocol;
	__u8 ip_version; /* 0: not an IP packet */
	bool has_ports;
	bool has_protocol;
	__u32 packet_bytes; /* from the IP header on */
	__u32 net_ns;
	__u32 ether_type;
	__u32 reserved;
	char drop_reason[EU_ENUM_NAME_LEN];
	char location[EU_ENUM_NAME_LEN];
	char device[16];
};
EU_EVENT(drop);

EU_WHERE_TEXT(reason);
EU_WHERE_TEXT(location);
EU_WHERE_NUMBER(source_port);
EU_WHERE_NUMBER(target_port);
EU_WHERE_ADDRESS(source_address);
EU_WHERE_ADDRESS(target_address);

const volatile bool unspecified = false;     /* option: those without a reason too */
const volatile bool other_protocols = false; /* option: other packets than IP too */

/* How many arguments the tracepoint has; the loader sets it. The fourth, the socket that was to receive it, came with Linux 6.11. */
const volatile __u32 eu_args_kfree_skb = 0;
#define WITH_RECEIVER 4

enum skb_drop_reason {
	SKB_CONSUMED = 1,
	SKB_DROP_REASON_NOT_SPECIFIED,
};

/* include/linux/proc_ns.h: namespaces have numbers from there on. */
#define FIRST_NAMESPACE 0xe0000000U

struct name {
	char text[EU_ENUM_NAME_LEN];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct name);
} drop_reasons SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct name);
} drop_places SEC(".maps");

/* Of a number that this kernel has none of, the answer is false. NOT_SPECIFIED was 0 at first; since Linux 5.19, 0 is no drop. */
static __always_inline bool is_reported(__u32 reason)
{
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_CONSUMED) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_CONSUMED))
		return false;
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED))
		return unspecified;
	return reason;
}

static __always_inline void name_reason(char *text, __u32 reason)
{
	struct name *known = bpf_map_lookup_elem(&drop_reasons, &reason);

	if (known) {
		__builtin_memcpy(text, known, sizeof(*known));
		return;
	}
	eu_enum_name(text, bpf_core_type_id_kernel(enum skb_drop_reason), reason, "SKB_DROP_REASON_", 16);
	bpf_map_update_elem(&drop_reasons, &reason, text, BPF_ANY);
}

/* The function: "nf_hook_slow"; of a module, with its name: "nft_do_chain [nf_tables]". */
static __always_inline void name_place(char *text, __u64 location)
{
	struct name *known = bpf_map_lookup_elem(&drop_places, &location);
	static const char format[] = "%ps";

	if (known) {
		__builtin_memcpy(text, known, sizeof(*known));
		return;
	}
	__builtin_memset(text, 0, sizeof(*known));
	bpf_snprintf(text, sizeof(*known), format, &location, sizeof(location));
	bpf_map_update_elem(&drop_places, &location, text, BPF_ANY);
}

EU_SCRATCH(drop);

struct packet {
	struct eu_packet ip;
	__be16 ports[2];
	__u32 bytes;
	__u16 ether_type;
	bool is_ip;
	bool has_protocol;
	bool has_ports;
};

static __always_inline void read_packet(struct packet *packet, struct sk_buff *skb)
{
	struct eu_bytes_of from;

	__builtin_memset(packet, 0, sizeof(*packet));
	packet->ether_type = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	packet->bytes = BPF_CORE_READ(skb, len);
	if (!eu_skb_packet(skb, &from))
		return;
	packet->has_protocol = eu_read_packet_of(&from, &packet->ip);
	packet->is_ip = packet->ip.version == (packet->ether_type == EU_ETH_P_IP ? 4 : 6);
	if (!packet->is_ip)
		return;
	packet->bytes = from.length + BPF_CORE_READ(skb, data_len);
	packet->has_ports = packet->has_protocol && eu_carries_ports(packet->ip.protocol) &&
			    eu_load_bytes(&from, packet->ip.at, packet->ports, sizeof(packet->ports));
	/* A fragment's IPv4 header says what it is a fragment of. */
	packet->has_protocol |= packet->ip.version == 4;
}

static __always_inline bool is_pushed_out(const struct packet *packet)
{
	__s64 source = packet->has_ports ? bpf_ntohs(packet->ports[0]) : -1;
	__s64 target = packet->has_ports ? bpf_ntohs(packet->ports[1]) : -1;

	return !eu_passes(source_port, source) || !eu_passes(target_port, target) ||
	       !eu_passes_address(source_address, &packet->ip.source, !packet->is_ip) ||
	       !eu_passes_address(target_address, &packet->ip.target, !packet->is_ip);
}

static __always_inline bool is_net(struct net *net)
{
	return BPF_CORE_READ(net, ns.inum) >= FIRST_NAMESPACE;
}

/* `receiver` and `sender` are the same to all but the verifier: one of them, or none, is the packet's socket. */
static __always_inline struct eu_owner *owner_of(struct sock *receiver, struct sock *sender)
{
	struct eu_owner *owner = receiver ? eu_owner_of(receiver) : NULL;

	return owner || !sender ? owner : eu_owner_of(sender);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(drop_packet, struct sk_buff *skb, void *location, __u32 reason)
{
	struct sock *receiver = eu_args_kfree_skb == WITH_RECEIVER ? (struct sock *)ctx[3] : NULL;
	struct sock *sender = skb->sk, *sk;
	struct net_device *device = NULL;
	struct drop_event *event;
	struct packet packet;
	struct eu_area *area;
	struct net *net;

	if (!is_reported(reason))
		return 0;
	read_packet(&packet, skb);
	if ((!packet.is_ip && !other_protocols) || (eu_where && is_pushed_out(&packet)))
		return 0;
	/* Before Linux 6.9 (18685451fc4e), a fragment that waits for the others has a number in the place of the socket. */
	if (sender && !is_net(eu_net_of_sock(sender)))
		sender = NULL;
	sk = receiver ?: sender;
	/* In a socket's queue, the place of the device has something else. */
	if (!sk)
		device = BPF_CORE_READ(skb, dev);
	net = sk ? eu_net_of_sock(sk) : BPF_CORE_READ(device, nd_net.net);
	if (!is_net(net)) {
		net = NULL;
		device = NULL;
	}
	area = eu_scratch(drop);
	if (!area)
		return 0;
	event = (void *)area;
	if (!eu_fill_owner(&event->header, owner_of(receiver, sender), sk, net))
		return 0;
	name_reason(event->drop_reason, reason);
	name_place(event->location, (__u64)location);
	if (eu_where && (!eu_passes_chars(reason, event->drop_reason) || !eu_passes_chars(location, event->location)))
		return 0;
	event->source_address = packet.ip.source;
	event->target_address = packet.ip.target;
	event->source_port = bpf_ntohs(packet.ports[0]);
	event->target_port = bpf_ntohs(packet.ports[1]);
	event->protocol = packet.ip.protocol;
	event->ip_version = packet.is_ip ? packet.ip.version : 0;
	event->has_ports = packet.has_ports;
	event->has_protocol = packet.has_protocol;
	event->packet_bytes = packet.bytes;
	event->net_ns = BPF_CORE_READ(net, ns.inum);
	event->ether_type = packet.ether_type;
	event->reserved = 0;
	__builtin_memset(event->device, 0, sizeof(event->device));
	if (device)
		BPF_CORE_READ_INTO(&event->device, device, name);
	eu_output(area, sizeof(*event));
	return 0;
}

EU_OWN_DATAGRAMS

char LICENSE[] SEC("license") = "Dual BSD/GPL";
