/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets as programs of tracepoints see them: the kernel's own sk_buff. */
#ifndef EUNOMIA_SKB_BPF_H
#define EUNOMIA_SKB_BPF_H

#include "eunomia.bpf.h"
#include "packet.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct net_device {
	possible_net_t nd_net;
	int ifindex;
	char name[16];
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	char cb[48];
	unsigned int len, data_len;
	unsigned char *head, *data;
	__be16 protocol;
	__u16 transport_header; /* from `head` */
	__u16 network_header;
};
#pragma clang attribute pop

/* include/uapi/linux/if_ether.h */
#define EU_ETH_P_IP 0x0800
#define EU_ETH_P_IPV6 0x86dd

/*
 * The packet from its IP header on, as far as it is in one piece of memory. False for one whose IP header is not known where it is, and
 * for what is no IP packet. Where the transport's header cannot be read, `protocol` may be an extension header of IPv6.
 */
static __always_inline bool eu_skb_packet(struct sk_buff *skb, struct eu_bytes_of *from)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	__u16 network = BPF_CORE_READ(skb, network_header);
	__u32 there = BPF_CORE_READ(skb, data) - head + BPF_CORE_READ(skb, len) - BPF_CORE_READ(skb, data_len);
	__u16 protocol = bpf_ntohs(BPF_CORE_READ(skb, protocol));

	if (protocol != EU_ETH_P_IP && protocol != EU_ETH_P_IPV6)
		return false;
	/* include/linux/skbuff.h: skb_network_header_was_set */
	if (network == 0xffff || network >= there)
		return false;
	*from = (struct eu_bytes_of){ .memory = head + network, .length = there - network };
	return true;
}

#endif
