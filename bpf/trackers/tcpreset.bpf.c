/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * tcpreset: one event for each reset (RST) that TCP sends or receives.
 *
 * A reset is received in softirq, and most are sent there. Whose the connection is, owner.bpf.h knows.
 */
#include "eunomia.bpf.h"
#include "ends.bpf.h"
#include "enum_name.bpf.h"
#include "owner.bpf.h"
#include "skb.bpf.h"

enum tcpreset_direction {
	TCPRESET_DIRECTION_SENT = 1,
	TCPRESET_DIRECTION_RECEIVED,
} __attribute__((packed));

struct tcpreset_event {
	struct eu_header header; /* of the socket's owner */
	eu_ip local_address;
	eu_ip remote_address;
	__u16 local_port;
	__u16 remote_port;
	__u8 ip_version;
	enum tcpreset_direction direction;
	enum eu_socket_state state; /* 0: there is no socket */
	__u8 reserved;
	char reset_reason[EU_ENUM_NAME_LEN]; /* empty: not known */
};
EU_EVENT(tcpreset);

EU_WHERE_NUMBER(direction);
EU_WHERE_TEXT(reason);

const volatile __u32 directions = 0; /* option: bits 1 << direction; 0 is both */

/* How many arguments the tracepoint has; the loader sets it. Linux 6.10 added the reason (b533fb9cf4f7). */
const volatile __u32 eu_args_tcp_send_reset = 0;

enum sk_rst_reason { EU_SK_RST_REASON_NONE };

static __always_inline bool is_asked_for(__u8 direction)
{
	return !directions || directions >> (direction & 31) & 1;
}

static __always_inline void report(struct sock *sk, const struct eu_header *header, struct eu_ends *ends,
				   __u8 direction, bool reasoned, __u32 reason)
{
	struct tcpreset_event *event;
	char text[EU_ENUM_NAME_LEN] = {};

	if (eu_where && (!eu_passes(direction, direction) || !eu_ends_pass(ends)))
		return;
	if (reasoned)
		eu_enum_name(text, bpf_core_type_id_kernel(enum sk_rst_reason), reason, "SK_RST_REASON_", 14);
	if (eu_where && !(text[0] ? eu_passes_chars(reason, text) : !eu_where_reason || eu_where_reason & EU_RULE_NULL))
		return;
	event = eu_reserve(struct tcpreset_event);
	if (!event)
		return;
	event->header = *header;
	event->local_address = ends->local_address;
	event->remote_address = ends->remote_address;
	event->local_port = ends->local_port;
	event->remote_port = ends->remote_port;
	event->ip_version = ends->ip_version;
	event->direction = direction;
	event->state = sk ? eu_state_of(sk) : 0;
	event->reserved = 0;
	__builtin_memcpy(event->reset_reason, text, sizeof(text));
	eu_submit(event);
}

/* The ends of the reset that answers a packet. */
static __always_inline bool ends_of_answer(struct eu_ends *ends, struct sk_buff *skb)
{
	struct eu_bytes_of from;
	struct eu_packet packet;
	__be16 ports[2];

	if (!eu_skb_packet(skb, &from) || !eu_read_packet_of(&from, &packet) ||
	    !eu_load_bytes(&from, packet.at, ports, sizeof(ports)))
		return false;
	__builtin_memset(ends, 0, sizeof(*ends));
	ends->local_address = packet.target;
	ends->remote_address = packet.source;
	ends->local_port = bpf_ntohs(ports[1]);
	ends->remote_port = bpf_ntohs(ports[0]);
	ends->ip_version = packet.version;
	return true;
}

/* Of no process that is known: the network namespace is that of the packet that is answered. */
static __always_inline bool find_container(struct eu_header *header, struct sock *sk, struct sk_buff *skb)
{
	struct net *net = NULL;

	if (skb)
		net = BPF_CORE_READ(skb, dev, nd_net.net);
	else if (sk)
		net = eu_net_of_sock(sk);
	return eu_find_container(header, sk, net);
}

/*
 * `skb` is the packet that is answered; NULL where the process or the kernel aborts the connection by itself. Then there is a socket; else
 * there may be none, or a listening one, whose connection the packet was to begin.
 */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(reset_sent, struct sock *sk, struct sk_buff *skb)
{
	bool reasoned = eu_args_tcp_send_reset == 3;
	__u32 reason = reasoned ? (__u32)ctx[2] : 0;
	struct eu_owner *owner = sk ? eu_owner_of(sk) : NULL;
	struct eu_header header;
	struct eu_ends ends;

	if (!is_asked_for(TCPRESET_DIRECTION_SENT))
		return 0;
	if (owner ? !eu_fill_owner(&header, owner, sk, NULL) : eu_by_process || !find_container(&header, sk, skb))
		return 0;
	if (skb) {
		if (!ends_of_answer(&ends, skb))
			return 0;
	} else if (sk) {
		eu_read_ends(&ends, sk);
	} else {
		return 0;
	}
	report(sk, &header, &ends, TCPRESET_DIRECTION_SENT, reasoned, reason);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(reset_received, struct sock *sk)
{
	struct eu_header header;
	struct eu_ends ends;

	if (!is_asked_for(TCPRESET_DIRECTION_RECEIVED) || !eu_fill_owner_of_sock(&header, eu_owner_of(sk), sk))
		return 0;
	eu_read_ends(&ends, sk);
	report(sk, &header, &ends, TCPRESET_DIRECTION_RECEIVED, false, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
