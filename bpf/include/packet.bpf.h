/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets as programs of cgroups (cgroup_skb) see them: from the IP header on. At egress this is after NAT. */
#ifndef EUNOMIA_PACKET_BPF_H
#define EUNOMIA_PACKET_BPF_H

#include "sock.bpf.h"

#define IPPROTO_UDP 17

/* include/uapi/linux/in6.h, and what RFC 8200 calls extension headers */
#define EU_IPV6_HOPOPTS 0
#define EU_IPV6_ROUTING 43
#define EU_IPV6_FRAGMENT 44
#define EU_IPV6_AUTH 51
#define EU_IPV6_DSTOPTS 60
#define EU_IPV6_HEADERS 8

struct eu_packet {
	eu_ip source;
	eu_ip target;
	__u32 at; /* where the transport's header begins */
	__u8 protocol;
	__u8 version; /* of IP: 4 or 6; 0 for what is none of it, such as raw sockets may send, and has no addresses */
};

struct eu_ipv4_header {
	__u8 length; /* in words of 32 bits: the lower half */
	__u8 tos;
	__be16 total;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__be32 source;
	__be32 target;
};

struct eu_ipv6_header {
	__be32 flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	__u8 source[16];
	__u8 target[16];
};

struct eu_udp_header {
	__be16 source;
	__be16 target;
	__be16 length;
	__u16 checksum;
};

struct eu_tcp_header {
	__be16 source;
	__be16 target;
	__be32 sequence;
	__be32 acknowledged;
	__u8 offset; /* in words of 32 bits: the upper half */
	__u8 flags;
	__be16 window;
	__u16 checksum;
	__be16 urgent;
};
#define EU_TCP_SYN 0x02

/* Where a packet is: in what a program of a cgroup is given, or in the kernel's memory, from the IP header on. */
struct eu_bytes_of {
	struct __sk_buff *skb;
	const void *memory; /* where `skb` is NULL */
	__u32 length;       /* of the memory */
};

static __always_inline bool eu_load_bytes(const struct eu_bytes_of *from, __u32 at, void *to, __u32 size)
{
	if (from->skb)
		return !bpf_skb_load_bytes(from->skb, at, to, size);
	return at + size <= from->length && !bpf_probe_read_kernel(to, size, from->memory + at);
}

/* TCP, UDP, DCCP, SCTP, UDP-Lite */
static __always_inline bool eu_carries_ports(__u8 protocol)
{
	return protocol == 6 || protocol == 17 || protocol == 33 || protocol == 132 || protocol == 136;
}

/* Into one of zeros. False for a packet that is cut, or is a fragment other than the first: it has no transport header. */
static __always_inline bool eu_read_packet_of(const struct eu_bytes_of *from, struct eu_packet *packet)
{
	struct eu_ipv6_header ipv6;
	struct eu_ipv4_header ipv4;

	if (!eu_load_bytes(from, 0, &ipv4, sizeof(ipv4)))
		return false;
	if (ipv4.length >> 4 == 4) {
		packet->version = 4;
		packet->at = (ipv4.length & 15) * 4;
		packet->protocol = ipv4.protocol;
		eu_map_ipv4(&packet->source, ipv4.source);
		eu_map_ipv4(&packet->target, ipv4.target);
		return !(ipv4.fragment & bpf_htons(0x1fff));
	}
	if (ipv4.length >> 4 != 6 || !eu_load_bytes(from, 0, &ipv6, sizeof(ipv6)))
		return false;
	packet->version = 6;
	__builtin_memcpy(packet->source.bytes, ipv6.source, 16);
	__builtin_memcpy(packet->target.bytes, ipv6.target, 16);
	packet->at = sizeof(ipv6);
	packet->protocol = ipv6.next;
	for (int i = 0; i < EU_IPV6_HEADERS; i++) {
		__u8 next[4]; /* the next header's kind; this one's length; of a fragment, the place at 2 */

		if (packet->protocol != EU_IPV6_HOPOPTS && packet->protocol != EU_IPV6_ROUTING &&
		    packet->protocol != EU_IPV6_DSTOPTS && packet->protocol != EU_IPV6_AUTH &&
		    packet->protocol != EU_IPV6_FRAGMENT)
			return true;
		if (!eu_load_bytes(from, packet->at, next, sizeof(next)))
			return false;
		if (packet->protocol == EU_IPV6_FRAGMENT) {
			if (next[2] || next[3] & 0xf8)
				return false;
			packet->at += 8;
		} else {
			packet->at += packet->protocol == EU_IPV6_AUTH ? (next[1] + 2) * 4 : (next[1] + 1) * 8;
		}
		packet->protocol = next[0];
	}
	return false;
}

static __always_inline bool eu_read_packet(struct __sk_buff *skb, struct eu_packet *packet)
{
	struct eu_bytes_of from = { .skb = skb };

	return eu_read_packet_of(&from, packet);
}

#endif
