/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* TCP sockets: the one behind a descriptor, and how much payload a connection has carried. */
#ifndef EUNOMIA_TCP_BPF_H
#define EUNOMIA_TCP_BPF_H

#include "file.bpf.h"
#include "mptcp.bpf.h"
#include "sock.bpf.h"

#define SHUTDOWN_MASK 3 /* include/net/sock.h */

/* The TCP socket that a file stands for, or NULL. Of an MPTCP socket, its first subflow. */
static __always_inline struct sock *eu_tcp_socket(struct file *file)
{
	struct sock *sk = eu_sock(file);

	if (sk && EU_READ(sk, sk_protocol) == IPPROTO_MPTCP)
		sk = BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return sk && EU_READ(sk, sk_protocol) == IPPROTO_TCP && eu_sock_is_inet(sk) ? sk : NULL;
}

/* The same of a descriptor of the current task. */
static __always_inline struct sock *eu_tcp_socket_of(__u32 fd)
{
	return eu_tcp_socket(eu_file(bpf_get_current_task_btf(), fd));
}

/* ---- Payload ---- */

#define EU_UNKNOWN_BYTES (~0ULL)

/* What tells how to read a connection's counters when it ends. */
struct eu_tcp_end {
	__u32 last_state; /* the state before; EU_SOCKET_STATE_CLOSE: not known */
	bool known;       /* `active` is known */
	bool active;      /* this end connected */
};

struct eu_tcp_bytes {
	__u64 sent;     /* each byte once, acknowledged or not; or EU_UNKNOWN_BYTES */
	__u64 received; /* in order, read by the process or not; or EU_UNKNOWN_BYTES */
};

/*
 * Payload that was sent, by sequence numbers: bytes_acked counts our SYN, where we connected, and our FIN, once they are
 * acknowledged. Whether they are in is known but for two cases: a connection of before the session (the SYN), and one whose
 * close was missed or is seen late (the FIN). Then tp->bytes_sent less bytes_retrans says it, if it can be true at all: it
 * counts a segment twice that a local queue dropped.
 */
static __always_inline __u64 eu_tcp_sent(struct tcp_sock *tp, const struct eu_tcp_end *end)
{
	__u32 next = EU_READ(tp, snd_nxt);
	__u64 most = EU_READ(tp, bytes_acked) + (__u32)(next - EU_READ(tp, snd_una)), least, segments;
	bool fin_out = next == EU_READ(tp, write_seq);
	bool late = end->last_state == EU_SOCKET_STATE_CLOSE;
	bool fin = end->last_state == EU_SOCKET_STATE_FIN_WAIT1 || end->last_state == EU_SOCKET_STATE_FIN_WAIT2 ||
		   end->last_state == EU_SOCKET_STATE_CLOSING || end->last_state == EU_SOCKET_STATE_LAST_ACK;

	if (most && fin && fin_out)
		most--;
	if (most && end->known && end->active)
		most--;
	least = most;
	if (least && late && fin_out)
		least--;
	if (least && !end->known)
		least--;
	if (least == most)
		return most;
	segments = EU_READ(tp, bytes_sent) - EU_READ(tp, bytes_retrans);
	return segments >= least && segments <= most ? segments : EU_UNKNOWN_BYTES;
}

/* Payload that was received; tp->bytes_received counts the peer's FIN, after which the socket is SOCK_DONE. */
static __always_inline __u64 eu_tcp_received(struct sock *sk)
{
	__u64 received = EU_READ((struct tcp_sock *)sk, bytes_received);
	bool fin = EU_READ(sk, __sk_common.skc_flags) & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE));

	return received - (received && fin);
}

/* Of a subflow of MPTCP, those of all subflows. */
static __always_inline struct eu_tcp_bytes eu_tcp_bytes(struct sock *sk, const struct eu_tcp_end *end)
{
	struct mptcp_subflow_context *subflow = eu_subflow(sk);
	struct mptcp_sock *whole = subflow ? (void *)BPF_CORE_READ(subflow, conn) : NULL;
	struct eu_tcp_bytes bytes = { EU_UNKNOWN_BYTES, EU_UNKNOWN_BYTES };

	if (whole) { /* Linux 6.5 (38967f424b5b "mptcp: track some aggregate data counters") */
		if (bpf_core_field_exists(struct mptcp_sock, bytes_sent)) {
			bytes.sent = BPF_CORE_READ(whole, bytes_sent);
			bytes.received = BPF_CORE_READ(whole, bytes_received);
		}
		return bytes;
	}
	/* A disconnect (a reset by close(2)) has set the counters to 0, when a late report comes. */
	if (end->last_state == EU_SOCKET_STATE_CLOSE && !EU_READ(sk, __sk_common.skc_dport))
		return bytes;
	bytes.sent = eu_tcp_sent((struct tcp_sock *)sk, end);
	bytes.received = eu_tcp_received(sk);
	return bytes;
}

#endif
