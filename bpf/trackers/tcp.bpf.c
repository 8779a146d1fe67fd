/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * tcp: connections made, accepted, failed and closed.
 *
 * A socket's state changes mostly in softirq, where the current task is a stranger. So the process that
 * called connect or accept is remembered by the socket's address, with the filter's verdict on it, and
 * every later event of that socket is its. sys_exit adds what states do not show: which process
 * accepted, and connects that failed before or without a change of state.
 */
#include "eunomia.bpf.h"
#include "compat.bpf.h"
#include "file.bpf.h"
#include "mptcp.bpf.h"
#include "sock.bpf.h"
#include "uring.bpf.h"

enum tcp_operation {
	TCP_OPERATION_CONNECT = 1,
	TCP_OPERATION_ACCEPT,
	TCP_OPERATION_CLOSE,
	TCP_OPERATION_CONNECT_FAILED,
};

struct tcp_event {
	struct eu_header header;
	enum tcp_operation operation;
	eu_errno errno;   /* of CONNECT_FAILED */
	__u16 family;     /* of the packets: 2 (IPv4, through an IPv6 socket too) or 10 (IPv6) */
	__u16 local_port; /* 0: not known */
	__u16 remote_port;
	__u16 known; /* enum end: which of the following, and of the remote port, are known */
	eu_ip local_address;
	eu_ip remote_address;
	__u64 sent_bytes;           /* of CLOSE: payload, each byte once, acknowledged or not; or UNKNOWN_BYTES */
	__u64 received_bytes;       /* of CLOSE: payload, in order, read by the process or not; or UNKNOWN_BYTES */
	eu_duration_ns duration_ns; /* CONNECT: the handshake; CONNECT_FAILED: the attempt; CLOSE: since established */
};
EU_EVENT(tcp);

/* What is not known is null, never 0.0.0.0 or port 0. Keep in step with src/trackers/tcp.ts, which decodes the bits. */
enum end {
	LOCAL_ADDRESS = 1,
	REMOTE_ADDRESS = 2,
	REMOTE_PORT = 4, /* may be 0: connect(2) was told so */
};

#define UNKNOWN_BYTES (~0ULL)

EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(local_port);
EU_WHERE_NUMBER(remote_port);
EU_WHERE_ADDRESS(local_address);
EU_WHERE_ADDRESS(remote_address);

const volatile __u32 operations = 0; /* option: bits 1 << operation; 0 is all */

/* include/net/tcp_states.h, include/net/sock.h */
#define SHUTDOWN_MASK 3
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};
#define EINTR 4
#define EISCONN 106
#define EALREADY 114
#define EINPROGRESS 115
#define ECANCELED 125
#define ERESTARTSYS 512 /* and more: restarted, or EINTR */

enum phase {
	CONNECTING = 1, /* the SYN is out */
	FAILING,        /* closed within connect(2), which will tell the errno; or by shutdown(2) */
	FAILED,         /* reported; kept so that connect(2)'s exit does not report it again */
	QUEUED,         /* established and not yet accepted: nobody's */
	OPEN,
};

struct connection {
	struct eu_header header; /* of the process that connected or accepted */
	__u64 since;             /* of the attempt, from OPEN on of the establishment; 0: before the session */
	__u32 phase;
	bool wanted; /* the filter's verdict, where that process was the current one */
	bool active; /* we connected */
	bool known;  /* `active` is known */
	__u8 reserved[3];
	__be16 port; /* FAILING: the remote port, which the socket forgets */
};

/* Sockets that are connecting or connected, by address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct connection);
} tcp_sockets SEC(".maps");

/* What an event is made of. */
struct report {
	struct connection connection;
	__u64 sk;
	__u64 duration_ns;
	__u32 operation;
	__s32 errno;
	__u32 last_state; /* of CLOSE: the state before; TCP_CLOSE: not known */
	__u16 family;     /* of the remote address that connect(2) was given; 0: none that could be read */
	__u16 port;       /* network order */
	eu_ip remote;
};

/*
 * Payload that was sent, by sequence numbers: bytes_acked counts our SYN, where we connected, and our FIN, once they are
 * acknowledged. Whether they are in is known but for two cases: a connection of before the session (the SYN), and one whose
 * close was missed or is seen late (the FIN). Then tp->bytes_sent less bytes_retrans says it, if it can be true at all: it
 * counts a segment twice that a local queue dropped.
 */
static __always_inline __u64 sent_bytes(struct tcp_sock *tp, const struct report *r)
{
	__u32 next = BPF_CORE_READ(tp, snd_nxt);
	__u64 most = BPF_CORE_READ(tp, bytes_acked) + (__u32)(next - BPF_CORE_READ(tp, snd_una)), least, segments;
	bool fin_out = next == BPF_CORE_READ(tp, write_seq);
	bool late = r->last_state == TCP_CLOSE;
	bool fin = r->last_state == TCP_FIN_WAIT1 || r->last_state == TCP_FIN_WAIT2 || r->last_state == TCP_CLOSING ||
		   r->last_state == TCP_LAST_ACK;

	if (most && fin && fin_out)
		most--;
	if (most && r->connection.known && r->connection.active)
		most--;
	least = most;
	if (least && late && fin_out)
		least--;
	if (least && !r->connection.known)
		least--;
	if (least == most)
		return most;
	segments = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	return segments >= least && segments <= most ? segments : UNKNOWN_BYTES;
}

/* Payload that was received; tp->bytes_received counts the peer's FIN, after which the socket is SOCK_DONE. */
static __always_inline __u64 received_bytes(struct sock *sk)
{
	__u64 received = BPF_CORE_READ((struct tcp_sock *)sk, bytes_received);
	bool fin = BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE));

	return received - (received && fin);
}

/* Both ends of a connection, as an event tells them. */
struct ends {
	eu_ip local_address;
	eu_ip remote_address;
	__u16 local_port;
	__u16 remote_port;
	__u16 family; /* of the packets; 0 where no address is known */
	__u16 known;
};

static __always_inline void read_ends(struct ends *ends, const struct report *r, struct sock *sk)
{
	__u16 family = eu_sock_family(sk);

	ends->local_port = eu_sock_local_port(sk);
	eu_sock_local_ip(sk, family, &ends->local_address);
	eu_sock_remote_ip(sk, family, &ends->remote_address);
	ends->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (!ends->remote_port)
		ends->remote_port = bpf_ntohs(r->connection.port);
	if (!eu_is_unspecified(&ends->local_address))
		ends->known |= LOCAL_ADDRESS;
	if (!eu_is_unspecified(&ends->remote_address))
		ends->known |= REMOTE_ADDRESS | REMOTE_PORT;
	if (ends->remote_port)
		ends->known |= REMOTE_PORT;
	if (r->family) {
		ends->remote_address = r->remote;
		ends->remote_port = bpf_ntohs(r->port);
		ends->known |= REMOTE_ADDRESS | REMOTE_PORT;
		family = r->family;
	}
	if (!(ends->known & (LOCAL_ADDRESS | REMOTE_ADDRESS)))
		ends->family = 0;
	else if (family == AF_INET6 &&
		 eu_is_ipv4(ends->known & REMOTE_ADDRESS ? &ends->remote_address : &ends->local_address))
		ends->family = AF_INET;
	else
		ends->family = family;
}

static __always_inline bool ends_pass(const struct ends *ends)
{
	return eu_passes(local_port, ends->local_port ? ends->local_port : -1) &&
	       eu_passes(remote_port, ends->known & REMOTE_PORT ? ends->remote_port : -1) &&
	       eu_passes_address(local_address, &ends->local_address, !(ends->known & LOCAL_ADDRESS)) &&
	       eu_passes_address(remote_address, &ends->remote_address, !(ends->known & REMOTE_ADDRESS));
}

/* Not static: judged by the verifier once a program. */
__attribute__((noinline)) int emit(const struct report *r)
{
	struct tcp_event *event;
	struct ends ends = {};
	struct sock *sk;

	if (!r || !r->connection.wanted || (operations && !(operations & (1U << (r->operation & 31)))))
		return 0;
	if (eu_where && (!eu_passes(operation, r->operation) || !eu_passes(errno, -r->errno)))
		return 0;
	sk = (void *)r->sk;
	read_ends(&ends, r, sk);
	if (eu_where && !ends_pass(&ends))
		return 0;
	event = eu_reserve(struct tcp_event);
	if (!event)
		return 0;
	event->header = r->connection.header;
	event->header.boot_ns = bpf_ktime_get_boot_ns();
	event->operation = r->operation;
	event->errno = r->errno;
	event->known = ends.known;
	event->duration_ns = r->duration_ns;
	event->sent_bytes = event->received_bytes = 0;
	if (r->operation == TCP_OPERATION_CLOSE) {
		/* A disconnect (a reset by close(2)) has set its counts to 0, when a late report comes. */
		bool gone = r->last_state == TCP_CLOSE && !BPF_CORE_READ(sk, __sk_common.skc_dport);

		struct mptcp_subflow_context *subflow = eu_subflow(sk);
		struct mptcp_sock *whole = subflow ? (void *)BPF_CORE_READ(subflow, conn) : NULL;

		event->sent_bytes = gone ? UNKNOWN_BYTES : sent_bytes((struct tcp_sock *)sk, r);
		event->received_bytes = gone ? UNKNOWN_BYTES : received_bytes(sk);
		if (whole) { /* of all subflows; Linux 6.5 (38967f424b5b "mptcp: track some aggregate data counters") */
			bool counted = bpf_core_field_exists(struct mptcp_sock, bytes_sent);

			event->sent_bytes = counted ? BPF_CORE_READ(whole, bytes_sent) : UNKNOWN_BYTES;
			event->received_bytes = counted ? BPF_CORE_READ(whole, bytes_received) : UNKNOWN_BYTES;
		}
	}
	event->local_address = ends.local_address;
	event->remote_address = ends.remote_address;
	event->local_port = ends.local_port;
	event->remote_port = ends.remote_port;
	event->family = ends.family;
	eu_submit(event);
	return 0;
}

/* The current process becomes the connection's. */
static __always_inline void own(struct connection *c, __u32 phase)
{
	struct task_struct *task = bpf_get_current_task_btf();

	c->wanted = eu_uring_wanted(task);
	c->phase = phase;
	if (c->wanted)
		eu_uring_fill(&c->header, task);
}

static __always_inline __u64 since(const struct connection *c, __u64 now)
{
	return c->since ? now - c->since : EU_NO_DURATION;
}

static __always_inline void connecting(__u64 key)
{
	struct connection c = { .active = true, .known = true };

	own(&c, CONNECTING);
	c.since = bpf_ktime_get_boot_ns();
	if (bpf_map_update_elem(&tcp_sockets, &key, &c, BPF_ANY) && c.wanted)
		eu_count(true); /* the table is full: its CONNECT or CONNECT_FAILED will not be told */
}

static __always_inline void established(__u64 key, int last_state)
{
	struct connection *c = bpf_map_lookup_elem(&tcp_sockets, &key);
	__u64 now = bpf_ktime_get_boot_ns();

	if (c && c->phase == CONNECTING) {
		struct report r = { .sk = key, .operation = TCP_OPERATION_CONNECT };

		r.duration_ns = now - c->since;
		c->since = now;
		c->phase = OPEN;
		r.connection = *c;
		emit(&r);
	} else if (c && c->phase == OPEN) {
		c->since = now; /* accepted before the handshake's end: TCP Fast Open */
	} else if (last_state == TCP_SYN_RECV) {
		struct connection queued = { .since = now, .phase = QUEUED, .known = true };

		/* The socket is in the accept queue already: accept may be quicker, and its entry stays. */
		bpf_map_update_elem(&tcp_sockets, &key, &queued, BPF_NOEXIST);
	}
}

static __always_inline void closed(struct sock *sk, __u64 key, int last_state)
{
	struct connection *c = bpf_map_lookup_elem(&tcp_sockets, &key);
	struct report r = { .sk = key, .last_state = last_state };
	__u64 now = bpf_ktime_get_boot_ns();

	if (!c) { /* as in left() */
		if ((last_state != TCP_ESTABLISHED && last_state != TCP_CLOSE_WAIT) || !sk->sk_lock.owned ||
		    eu_by_mptcp_worker(sk))
			return;
		own(&r.connection, OPEN);
		r.operation = TCP_OPERATION_CLOSE;
		r.duration_ns = EU_NO_DURATION;
		emit(&r);
		return;
	}
	r.connection = *c;
	r.duration_ns = since(c, now);
	switch (r.connection.phase) {
	case CONNECTING:
		r.operation = TCP_OPERATION_CONNECT_FAILED;
		r.errno = -sk->sk_err;
		if (r.errno) {
			c->phase = FAILED;
			emit(&r);
			return;
		}
		if (sk->sk_shutdown != SHUTDOWN_MASK) {
			c->phase = FAILING;
			c->port = sk->__sk_common.skc_dport;
			return;
		}
		r.errno = -ECANCELED; /* close(2) */
		break;
	case FAILING:
		r.operation = TCP_OPERATION_CONNECT_FAILED;
		r.errno = -ECANCELED;
		break;
	case OPEN: r.operation = TCP_OPERATION_CLOSE; break;
	default: /* QUEUED, which accept may be about to replace, or FAILED: nothing to tell */
		if (last_state == TCP_CLOSE)
			bpf_map_delete_elem(&tcp_sockets, &key);
		return;
	}
	/* Who removes the entry reports: accept's exit may be at it too. */
	if (!bpf_map_delete_elem(&tcp_sockets, &key))
		emit(&r);
}

/*
 * Leaving ESTABLISHED or CLOSE_WAIT: whoever does it owns a connection of before the session. The socket
 * is locked by a process only in that process's context; softirq leaves a locked one alone.
 */
static __always_inline void left(struct sock *sk, __u64 key)
{
	struct connection c = {};

	if (!sk->sk_lock.owned || bpf_map_lookup_elem(&tcp_sockets, &key) || eu_by_mptcp_worker(sk))
		return;
	own(&c, OPEN);
	bpf_map_update_elem(&tcp_sockets, &key, &c, BPF_NOEXIST);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int last_state, int state)
{
	__u64 key = (__u64)sk;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (state == TCP_SYN_SENT && !eu_is_joining(sk))
		connecting(key);
	else if (state == TCP_ESTABLISHED)
		established(key, last_state);
	else if (state == TCP_CLOSE)
		closed(sk, key, last_state);
	else if (last_state == TCP_ESTABLISHED || (last_state == TCP_CLOSE_WAIT && state == TCP_LAST_ACK))
		left(sk, key);
	return 0;
}

/*
 * The last of a socket: no entry outlives it. What is still open here was missed: the kernel does not run
 * a program within itself on one CPU (05b24ff9b2cf, Linux 6.2), and a reset can fall into accept's exit.
 */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroyed, struct sock *sk)
{
	closed(sk, (__u64)sk, TCP_CLOSE);
	return 0;
}

/* The TCP socket that a file stands for, or NULL. Of an MPTCP socket, its first subflow. */
static __always_inline struct sock *socket_of(struct file *file)
{
	struct sock *sk = eu_sock(file);

	if (sk && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP)
		sk = BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return sk && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP && eu_sock_is_inet(sk) ? sk : NULL;
}

/* The same of a descriptor of the current task. */
static __always_inline struct sock *tcp_socket(__u32 fd)
{
	return socket_of(eu_file(bpf_get_current_task_btf(), fd));
}

static __always_inline void accepted(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct report r = { .sk = key, .operation = TCP_OPERATION_ACCEPT, .duration_ns = EU_NO_DURATION };
	struct connection *queued;

	if (!sk)
		return;
	own(&r.connection, OPEN);
	r.connection.known = true;
	queued = bpf_map_lookup_elem(&tcp_sockets, &key);
	if (queued && queued->phase == QUEUED)
		r.connection.since = queued->since;
	emit(&r);
	bpf_map_update_elem(&tcp_sockets, &key, &r.connection, BPF_ANY);
	/* The peer may have reset it before: then nobody has reported the close. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE && !bpf_map_delete_elem(&tcp_sockets, &key)) {
		r.operation = TCP_OPERATION_CLOSE;
		r.duration_ns = since(&r.connection, bpf_ktime_get_boot_ns());
		r.last_state = TCP_CLOSE;
		emit(&r);
	}
}

/* A connect has ended with an error, or has dissolved an attempt (AF_UNSPEC). What softirq reported is not reported again. */
static __always_inline void attempt_ended(struct sock *sk, const struct eu_sockaddr *a, __s32 error)
{
	struct report r = { .operation = TCP_OPERATION_CONNECT_FAILED, .duration_ns = EU_NO_DURATION };
	struct connection *c;
	__u64 key;

	/* Still under way, or nothing of an attempt */
	if (error == -EINPROGRESS || error == -EALREADY || error == -EISCONN || error == -EINTR ||
	    error <= -ERESTARTSYS)
		return;
	if (!error) {
		if (a->family != AF_UNSPEC)
			return;
		error = -ECANCELED;
	}
	if (!sk)
		return;
	key = (__u64)sk;
	c = bpf_map_lookup_elem(&tcp_sockets, &key);
	if (c) {
		if (c->phase == FAILING) {
			r.connection = *c;
			r.duration_ns = since(c, bpf_ktime_get_boot_ns());
		} else if (c->phase != FAILED) {
			return;
		}
		bpf_map_delete_elem(&tcp_sockets, &key);
		if (!r.connection.phase)
			return;
	} else {
		if (error == -ECANCELED)
			return; /* there was no attempt */
		own(&r.connection, FAILED);
	}
	r.sk = key;
	r.errno = error;
	if (eu_sockaddr_ip(a, &r.remote)) {
		r.family = a->family;
		r.port = a->port;
	}
	emit(&r);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(tcp_syscall, struct pt_regs *regs, long ret)
{
	long nr = eu_syscall_nr(regs);
	struct eu_call call;

	if (!eu_may_connect(nr))
		return 0;
	eu_read_call(regs, nr, &call);
	if (call.nr == EU_NR_connect) {
		struct eu_sockaddr a = {};

		eu_read_sockaddr(&a, (void *)call.args[1], call.args[2]);
		attempt_ended(tcp_socket(call.args[0]), &a, ret);
	} else if (call.nr == EU_NR_accept || call.nr == EU_NR_accept4) {
		if (ret >= 0)
			accepted(tcp_socket(ret));
	}
	return 0;
}

/* ---- io_uring ---- */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct io_accept {
	int iou_flags; /* Linux 6.10; multishot is a flag of the request before */
	u32 file_slot; /* of a direct descriptor: its place in the ring's table + 1, or IORING_FILE_INDEX_ALLOC; else 0 */
};
struct io_connect {
	void *addr;
	int addr_len;
};
#pragma clang attribute pop

struct tcp_request {
	struct eu_uring_request request;
	struct eu_sockaddr address; /* of a connect */
	__u32 slot;                 /* of an accept */
	__u32 opcode;
};
EU_URING_REQUESTS(tcp, 16384);

/* Accepts that go on after their first connection: a completion of theirs has no request. */
struct multishot {
	__u32 slot;
	__u32 count; /* of requests with this user_data */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct eu_uring_key);
	__type(value, struct multishot);
} tcp_multishots SEC(".maps");

static __always_inline struct sock *ring_socket(__u64 ring, __u32 slot, __s32 res)
{
	if (!slot)
		return tcp_socket(res);
	return socket_of(eu_uring_file((void *)ring, slot == IORING_FILE_INDEX_ALLOC ? res : slot - 1));
}

/* A socket that has an owner already was not accepted now: another request with the same user_data has ended. */
static __always_inline void ring_accepted(__u64 ring, __u32 slot, __s32 res)
{
	struct sock *sk = res < 0 ? NULL : ring_socket(ring, slot, res);
	__u64 key = (__u64)sk;
	struct connection *c = sk ? bpf_map_lookup_elem(&tcp_sockets, &key) : NULL;

	if (sk && (!c || c->phase == QUEUED) && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		accepted(sk);
}

static __always_inline void remember_multishot(struct io_kiocb *req, __u32 slot)
{
	struct eu_uring_key key = eu_uring_key(req);
	struct multishot *known = bpf_map_lookup_elem(&tcp_multishots, &key);
	struct multishot first = { .slot = slot, .count = 1 };

	if (known)
		__sync_fetch_and_add(&known->count, 1);
	else
		bpf_map_update_elem(&tcp_multishots, &key, &first, BPF_ANY);
}

static __always_inline void forget_multishot(const struct eu_uring_key *key)
{
	struct multishot *many = bpf_map_lookup_elem(&tcp_multishots, key);

	if (many && --many->count == 0)
		bpf_map_delete_elem(&tcp_multishots, key);
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct tcp_request request = { .opcode = req->opcode };
	__u64 key = (__u64)req;

	if (request.opcode == IORING_OP_CONNECT) {
		struct io_connect *connect = eu_uring_cmd(req);

		eu_read_sockaddr(&request.address, BPF_CORE_READ(connect, addr), BPF_CORE_READ(connect, addr_len));
	} else if (request.opcode == IORING_OP_ACCEPT) {
		struct io_accept *accept = eu_uring_cmd(req);

		request.slot = BPF_CORE_READ(accept, file_slot);
		if (!bpf_core_field_exists(struct io_accept, iou_flags) ||
		    BPF_CORE_READ(accept, iou_flags) & IORING_ACCEPT_MULTISHOT)
			remember_multishot(req, request.slot);
	} else {
		return;
	}
	eu_uring_remember(&request.request, req);
	/* Whether it will be an event, and whose, is not known yet: so it counts as none where there is no room. */
	bpf_map_update_elem(&tcp_requests, &key, &request, BPF_ANY);
}

EU_URING_SUBMIT(tcp, submitted)

static __always_inline void request_ended(void *ended, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct tcp_request *request = ended;

	if (request->opcode == IORING_OP_ACCEPT)
		ring_accepted(request->request.key.ring, request->slot, res);
	else
		attempt_ended(socket_of(BPF_CORE_READ(req, file)), &request->address, res);
}

static __always_inline void request_completed(void *ended, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct tcp_request *request = ended;

	if (request->opcode == IORING_OP_ACCEPT)
		forget_multishot(&request->request.key);
	request_ended(request, req, why, res);
}

/* A completion without a request: of an accept that goes on. */
static __always_inline void went_on(unsigned long long *ctx)
{
	struct eu_uring_key key = { .ring = ctx[0] };
	struct multishot *multishot;
	__s32 res;

	if (eu_args_io_uring_complete == EU_COMPLETE_WITH_CQE) {
		struct io_uring_cqe *cqe = (void *)ctx[2];

		key.user_data = BPF_CORE_READ(cqe, user_data);
		res = BPF_CORE_READ(cqe, res);
	} else {
		key.user_data = ctx[2];
		res = ctx[3];
	}
	multishot = bpf_map_lookup_elem(&tcp_multishots, &key);
	if (multishot)
		ring_accepted(key.ring, multishot->slot, res);
}

SEC("tp_btf/io_uring_complete")
int tcp_complete(unsigned long long *ctx)
{
	struct io_kiocb *req = (void *)ctx[1];
	u8 opcode;

	if (!req) {
		went_on(ctx);
		return 0;
	}
	opcode = BPF_CORE_READ(req, opcode);
	if (opcode == IORING_OP_ACCEPT || opcode == IORING_OP_CONNECT)
		eu_uring_complete(&tcp_requests, req, request_completed);
	return 0;
}

SEC("tp_btf/io_uring_cqe_overflow")
int BPF_PROG(tcp_overflow, void *ring, unsigned long long user_data, s32 res)
{
	struct eu_uring_key key = { .ring = (__u64)ring, .user_data = user_data };
	struct multishot *multishot = bpf_map_lookup_elem(&tcp_multishots, &key);

	if (multishot)
		ring_accepted(key.ring, multishot->slot, res);
	else
		eu_uring_complete_by_key(&tcp_requests, key, res, request_ended);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
