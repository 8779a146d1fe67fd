/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TCP connections made, accepted, failed and closed. As in libbpf-tools' tcplife and tcptracer, whose a socket is is kept by its address,
 * since its state changes mostly where the current task is a stranger. Connections of before are not known.
 */
#include "peer.bpf.h"

#define IPPROTO_TCP 6
#define EINTR 4
#define EISCONN 106
#define EALREADY 114
#define EINPROGRESS 115
#define ECANCELED 125
#define ERESTARTSYS 512

enum state {
	ESTABLISHED = 1,
	SYN_SENT,
	SYN_RECV,
	FIN_WAIT1,
	FIN_WAIT2,
	TIME_WAIT,
	CLOSE,
	CLOSE_WAIT,
	LAST_ACK,
	LISTEN,
	CLOSING
};
enum operation { CONNECT = 1, ACCEPT, CLOSED, CONNECT_FAILED };

struct record {
	struct facts facts;
	__u32 operation;
	__s32 error;
	__u16 family, local_port, remote_port, known; /* known: 1 local address, 2 remote address, 4 remote port */
	struct address local, remote;
	__u64 sent_bytes, received_bytes; /* of CLOSED: ~0: not known */
	__u64 duration_ns;                /* ~0: not known */
};
RECORD(record);

struct owner {
	struct facts facts;
	__u64 since;
	__u32 active;
	__u32 open, failed; /* failed: reported, and kept so that the end of connect(2) does not report it again */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

static __always_inline bool is_unspecified(const struct address *address)
{
	const __u32 *words = (const __u32 *)address->bytes;

	return !words[3] && !words[0] && !words[1] && (!words[2] || words[2] == bpf_htonl(0xffff));
}

/* bytes_acked counts our SYN and FIN, bytes_received the peer's FIN. */
static __always_inline void put_bytes(struct record *record, struct sock *sk, int last_state, bool active)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	__u32 next = BPF_CORE_READ(tp, snd_nxt);
	__u64 sent = BPF_CORE_READ(tp, bytes_acked) + (__u32)(next - BPF_CORE_READ(tp, snd_una));
	bool fin_out = next == BPF_CORE_READ(tp, write_seq);
	bool done = BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE));

	if (sent && fin_out &&
	    (last_state == FIN_WAIT1 || last_state == FIN_WAIT2 || last_state == CLOSING || last_state == LAST_ACK))
		sent--;
	if (sent && active)
		sent--;
	record->sent_bytes = sent;
	record->received_bytes = BPF_CORE_READ(tp, bytes_received);
	if (record->received_bytes && done)
		record->received_bytes--;
}

static __always_inline struct record *begin(struct sock *sk, const struct facts *facts, __u32 operation)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct record *record = RESERVE(struct record);

	if (!record)
		return NULL;
	if (facts) {
		record->facts = *facts;
		record->facts.boot_ns = bpf_ktime_get_boot_ns();
	} else {
		fill(&record->facts);
	}
	record->operation = operation;
	record->error = 0;
	record->sent_bytes = record->received_bytes = 0;
	record->duration_ns = ~0ULL;
	record->family = family;
	record->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	record->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	put_local(&record->local, sk, family);
	put_remote(&record->remote, sk, family);
	record->known = (is_unspecified(&record->local) ? 0 : 1) | (is_unspecified(&record->remote) ? 0 : 6);
	if (record->remote_port)
		record->known |= 4;
	if (((__u32 *)record->remote.bytes)[2] == bpf_htonl(0xffff))
		record->family = AF_INET;
	return record;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int last_state, int state)
{
	__u64 key = (__u64)sk;
	struct record *record;
	struct owner *owner;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (state == SYN_SENT) {
		struct owner connects = { .active = 1 };

		if (!wanted())
			return 0;
		fill(&connects.facts);
		connects.since = connects.facts.boot_ns;
		bpf_map_update_elem(&owners, &key, &connects, BPF_ANY);
		return 0;
	}
	if (state == ESTABLISHED && last_state == SYN_RECV) {
		struct owner queued = { .since = bpf_ktime_get_boot_ns() };

		bpf_map_update_elem(&owners, &key, &queued, BPF_NOEXIST);
		return 0;
	}
	if (state != ESTABLISHED && state != CLOSE)
		return 0;
	owner = bpf_map_lookup_elem(&owners, &key);
	if (!owner)
		return 0;
	if (state == ESTABLISHED) {
		record = begin(sk, &owner->facts, CONNECT);
		if (record) {
			record->duration_ns = record->facts.boot_ns - owner->since;
			owner->since = record->facts.boot_ns;
			SUBMIT(record);
		}
		owner->open = 1;
		return 0;
	}
	if (owner->open || (owner->active && !owner->failed)) {
		record = begin(sk, &owner->facts, owner->open ? CLOSED : CONNECT_FAILED);
		if (record) {
			record->duration_ns = record->facts.boot_ns - owner->since;
			if (owner->open)
				put_bytes(record, sk, last_state, owner->active);
			else
				record->error = sk->sk_err ? -sk->sk_err : -ECANCELED;
			SUBMIT(record);
		}
	}
	if (!owner->open && owner->active)
		owner->failed = 1;
	else
		bpf_map_delete_elem(&owners, &key);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroyed, struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&owners, &key);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(tcp_call, struct pt_regs *regs, long ret)
{
	struct sockaddr_any passed = {};
	struct record *record;
	struct owner *owner;
	long nr = NR(regs);
	struct sock *sk;
	__u64 key;

	if ((nr != __NR_connect && nr != __NR_accept && nr != __NR_accept4) || !wanted())
		return 0;
	if (nr == __NR_connect ? ret >= 0 || ret == -EINPROGRESS || ret == -EALREADY || ret == -EISCONN ||
					 ret == -EINTR || ret <= -ERESTARTSYS
			       : ret < 0)
		return 0;
	sk = sock_of(nr == __NR_connect ? ARG1(regs) : ret);
	if (!sk || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	key = (__u64)sk;
	owner = bpf_map_lookup_elem(&owners, &key);
	if (nr == __NR_connect) { /* one that failed before it changed the socket's state */
		if (owner && owner->failed)
			return 0;
		record = begin(sk, NULL, CONNECT_FAILED);
		if (!record)
			return 0;
		record->error = ret;
		if (!bpf_probe_read_user(&passed, 16, (void *)ARG2(regs)) && passed.family == AF_INET) {
			put_ipv4(&record->remote, passed.ipv4);
			record->remote_port = bpf_ntohs(passed.port);
			record->known |= 6;
		}
		SUBMIT(record);
		return 0;
	}
	record = begin(sk, NULL, ACCEPT);
	if (record && owner) {
		owner->facts = record->facts;
		owner->open = 1;
	}
	if (record)
		SUBMIT(record);
	return 0;
}
