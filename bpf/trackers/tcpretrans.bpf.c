/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * tcpretrans: one event for each time that TCP sends something again, because it seems to be lost.
 *
 * The kernel does that in softirq and in timers. Whose the connection is, owner.bpf.h knows.
 */
#include "eunomia.bpf.h"
#include "ends.bpf.h"
#include "owner.bpf.h"
#include "skb.bpf.h"

enum tcpretrans_reason {
	TCPRETRANS_REASON_HANDSHAKE = 1,
	TCPRETRANS_REASON_FAST,
	TCPRETRANS_REASON_TIMEOUT,
	TCPRETRANS_REASON_TAIL_LOSS_PROBE,
	TCPRETRANS_REASON_OTHER,
} __attribute__((packed));

struct tcpretrans_event {
	struct eu_header header; /* of the socket's owner */
	eu_ip local_address;
	eu_ip remote_address;
	__u16 local_port;
	__u16 remote_port;
	__u8 ip_version;
	enum eu_socket_state state;
	enum tcpretrans_reason retransmit_reason;
	bool established; /* the following are of a connection, and not of a request for one */
	eu_errno errno;
	__u32 sequence;
	__u32 segments;
	__u32 congestion_window; /* in segments */
	__u32 retransmits;       /* of the connection, with these */
	__u32 reserved;
	__u64 payload_bytes;
	eu_duration_ns srtt_ns;
};
EU_EVENT(tcpretrans);

EU_WHERE_NUMBER(reason);
EU_WHERE_NUMBER(state);

const volatile __u32 reasons = 0; /* option: bits 1 << reason; 0 is all */

/* How many arguments the tracepoint has; the loader sets it. The third tells since Linux 6.17 whether it was sent; before, it was. */
const volatile __u32 eu_args_tcp_retransmit_skb = 0;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct inet_connection_sock___retransmit {
	u8 icsk_ca_state : 5;
	u8 icsk_pending;
};
struct tcp_sock___retransmit {
	u32 srtt_us; /* times 8 */
	u32 snd_cwnd;
	u32 total_retrans;
};
struct tcp_skb_cb {
	u32 seq;
	u16 tcp_gso_segs;
};
struct tcp_request_sock {
	u32 snt_isn;
};
struct request_sock {
	u8 num_retrans;
};
#pragma clang attribute pop

/* include/uapi/linux/tcp.h: enum tcp_ca_state; include/net/inet_connection_sock.h */
#define TCP_CA_RECOVERY 3
#define TCP_CA_LOSS 4
#define ICSK_TIME_LOSS_PROBE 5
#define ENOBUFS 105

static __always_inline enum tcpretrans_reason reason_of(struct sock *sk, __u8 state)
{
	struct inet_connection_sock___retransmit *icsk = (void *)sk;

	if (state == EU_SOCKET_STATE_SYN_SENT || state == EU_SOCKET_STATE_SYN_RECV)
		return TCPRETRANS_REASON_HANDSHAKE;
	switch (BPF_CORE_READ_BITFIELD_PROBED(icsk, icsk_ca_state)) {
	case TCP_CA_RECOVERY: return TCPRETRANS_REASON_FAST;
	case TCP_CA_LOSS: return TCPRETRANS_REASON_TIMEOUT;
	}
	return BPF_CORE_READ(icsk, icsk_pending) == ICSK_TIME_LOSS_PROBE ? TCPRETRANS_REASON_TAIL_LOSS_PROBE
									 : TCPRETRANS_REASON_OTHER;
}

/* `end` has the addresses and ports, `sk` the owner. NULL: nobody wants it, or there is no room. */
static __always_inline struct tcpretrans_event *begin(struct sock *sk, struct sock *end, __u8 state,
						      enum tcpretrans_reason reason)
{
	struct tcpretrans_event *event;
	struct eu_header header;
	struct eu_ends ends;

	if (reasons && !(reasons >> (reason & 31) & 1))
		return NULL;
	if (!eu_fill_owner_of_sock(&header, eu_owner_of(sk), sk))
		return NULL;
	eu_read_ends(&ends, end);
	if (eu_where && (!eu_passes(reason, reason) || !eu_passes(state, state) || !eu_ends_pass(&ends)))
		return NULL;
	event = eu_reserve(struct tcpretrans_event);
	if (!event)
		return NULL;
	event->header = header;
	event->local_address = ends.local_address;
	event->remote_address = ends.remote_address;
	event->local_port = ends.local_port;
	event->remote_port = ends.remote_port;
	event->ip_version = ends.ip_version;
	event->state = state;
	event->retransmit_reason = reason;
	event->reserved = 0;
	return event;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retrans_segment, struct sock *sk, struct sk_buff *skb)
{
	struct tcp_sock___retransmit *tcp = (void *)sk;
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	struct tcp_skb_cb *cb = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	struct tcpretrans_event *event = begin(sk, sk, state, reason_of(sk, state));
	__u32 srtt;

	if (!event)
		return 0;
	event->established = true;
	event->errno = eu_args_tcp_retransmit_skb == 3 ? (__s32)ctx[2] : 0;
	if (event->errno > 0) /* include/linux/netdevice.h: NET_XMIT_DROP, by a queue of this machine */
		event->errno = -ENOBUFS;
	event->sequence = BPF_CORE_READ(cb, seq);
	event->segments = BPF_CORE_READ(cb, tcp_gso_segs);
	event->payload_bytes = BPF_CORE_READ(skb, len);
	event->congestion_window = BPF_CORE_READ(tcp, snd_cwnd);
	event->retransmits = BPF_CORE_READ(tcp, total_retrans);
	srtt = BPF_CORE_READ(tcp, srtt_us);
	event->srtt_ns = srtt ? srtt * 125ULL : EU_NO_DURATION;
	eu_submit(event);
	return 0;
}

/* A SYN-ACK, of a connection that is not yet there: `sk` is the listening socket. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(retrans_synack, struct sock *sk, struct request_sock *request)
{
	struct tcpretrans_event *event =
		begin(sk, (void *)request, EU_SOCKET_STATE_SYN_RECV, TCPRETRANS_REASON_HANDSHAKE);

	if (!event)
		return 0;
	event->established = false;
	event->errno = 0;
	event->sequence = BPF_CORE_READ((struct tcp_request_sock *)request, snt_isn);
	event->segments = 1;
	event->payload_bytes = 0;
	event->congestion_window = 0;
	event->retransmits = BPF_CORE_READ(request, num_retrans) + 1; /* counted after this */
	event->srtt_ns = EU_NO_DURATION;
	eu_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
