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
#include "tcp.bpf.h"
#include "connect_uring.bpf.h"

enum tcp_operation {
	TCP_OPERATION_CONNECT = 1,
	TCP_OPERATION_ACCEPT,
	TCP_OPERATION_CLOSE,
	TCP_OPERATION_CONNECT_FAILED,
};

struct tcp_event {
	struct eu_header header;
	enum tcp_operation tcp_operation;
	eu_errno errno;   /* of CONNECT_FAILED */
	__u16 family;     /* of the packets: 2 (IPv4, through an IPv6 socket too) or 10 (IPv6) */
	__u16 local_port; /* 0: not known */
	__u16 remote_port;
	__u16 known; /* enum end: which of the following, and of the remote port, are known */
	eu_ip local_address;
	eu_ip remote_address;
	__u64 sent_bytes;           /* of CLOSE: payload, each byte once, acknowledged or not; or EU_UNKNOWN_BYTES */
	__u64 received_bytes;       /* of CLOSE: payload, in order, read by the process or not; or EU_UNKNOWN_BYTES */
	eu_duration_ns duration_ns; /* CONNECT: the handshake; CONNECT_FAILED: the attempt; CLOSE: since established */
};
EU_EVENT(tcp);

/* What is not known is null, never 0.0.0.0 or port 0. Keep in step with src/trackers/tcp.ts, which decodes the bits. */
enum end {
	LOCAL_ADDRESS = 1,
	REMOTE_ADDRESS = 2,
	REMOTE_PORT = 4, /* may be 0: connect(2) was told so */
};

EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(local_port);
EU_WHERE_NUMBER(remote_port);
EU_WHERE_ADDRESS(local_address);
EU_WHERE_ADDRESS(remote_address);

const volatile __u32 operations = 0; /* option: bits 1 << operation; 0 is all */

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

/* Of one that is not wanted, the phase alone counts: it has no events, and takes as little time as can be. */
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
	__u32 last_state; /* of CLOSE: the state before; EU_SOCKET_STATE_CLOSE: not known */
	__u16 family;     /* of the remote address that connect(2) was given; 0: none that could be read */
	__u16 port;       /* network order */
	eu_ip remote;
};

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
	ends->remote_port = bpf_ntohs(EU_READ(sk, __sk_common.skc_dport));
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

/* Not static: the verifier then checks it once per program. */
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
	event->tcp_operation = r->operation;
	event->errno = r->errno;
	event->known = ends.known;
	event->duration_ns = r->duration_ns;
	event->sent_bytes = event->received_bytes = 0;
	if (r->operation == TCP_OPERATION_CLOSE) {
		struct eu_tcp_end end = { .last_state = r->last_state,
					  .known = r->connection.known,
					  .active = r->connection.active };
		struct eu_tcp_bytes bytes = eu_tcp_bytes(sk, &end);

		event->sent_bytes = bytes.sent;
		event->received_bytes = bytes.received;
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
	if (c.wanted)
		c.since = bpf_ktime_get_boot_ns();
	if (bpf_map_update_elem(&tcp_sockets, &key, &c, BPF_ANY) && c.wanted)
		eu_count(true); /* the table is full: its CONNECT or CONNECT_FAILED will not be told */
}

static __always_inline void established(__u64 key, int last_state)
{
	struct connection *c = bpf_map_lookup_elem(&tcp_sockets, &key);
	__u64 now;

	if (c && c->phase != QUEUED && !c->wanted) {
		if (c->phase == CONNECTING)
			c->phase = OPEN;
		return;
	}
	now = bpf_ktime_get_boot_ns();
	if (c && c->phase == CONNECTING) {
		struct report r = { .sk = key, .operation = TCP_OPERATION_CONNECT };

		r.duration_ns = now - c->since;
		c->since = now;
		c->phase = OPEN;
		r.connection = *c;
		emit(&r);
	} else if (c && c->phase == OPEN) {
		c->since = now; /* accepted before the handshake's end: TCP Fast Open */
	} else if (last_state == EU_SOCKET_STATE_SYN_RECV) {
		struct connection queued = { .since = now, .phase = QUEUED, .known = true };

		/* The socket is in the accept queue already: accept may be quicker, and its entry stays. */
		bpf_map_update_elem(&tcp_sockets, &key, &queued, BPF_NOEXIST);
	}
}

/* What becomes of a connection whose socket is closed. */
enum end_of { REPORTED, KEPT, REMOVED, REMOVED_AND_REPORTED };

static __always_inline enum end_of end_of(struct connection *c, struct sock *sk, int error, int last_state)
{
	switch (c->phase) {
	case CONNECTING:
		if (error) {
			c->phase = FAILED;
			return REPORTED;
		}
		if (sk->sk_shutdown != SHUTDOWN_MASK) {
			c->phase = FAILING;
			c->port = sk->__sk_common.skc_dport;
			return KEPT;
		}
		return REMOVED_AND_REPORTED; /* close(2) */
	case FAILING:
	case OPEN: return REMOVED_AND_REPORTED;
	default: /* QUEUED, which accept may be about to replace, or FAILED: nothing to tell */
		return last_state == EU_SOCKET_STATE_CLOSE ? REMOVED : KEPT;
	}
}

static __always_inline void closed(struct sock *sk, __u64 key, int last_state)
{
	struct connection *c = bpf_map_lookup_elem(&tcp_sockets, &key);
	struct report r = { .sk = key, .last_state = last_state };
	int error = sk->sk_err;
	enum end_of end;

	if (!c) { /* as in left() */
		if ((last_state != EU_SOCKET_STATE_ESTABLISHED && last_state != EU_SOCKET_STATE_CLOSE_WAIT) ||
		    !sk->sk_lock.owned || eu_by_mptcp_worker(sk))
			return;
		own(&r.connection, OPEN);
		r.operation = TCP_OPERATION_CLOSE;
		r.duration_ns = EU_NO_DURATION;
		emit(&r);
		return;
	}
	if (c->wanted) {
		r.connection = *c;
		r.duration_ns = since(c, bpf_ktime_get_boot_ns());
	}
	r.operation = c->phase == OPEN ? TCP_OPERATION_CLOSE : TCP_OPERATION_CONNECT_FAILED;
	end = end_of(c, sk, error, last_state);
	if (r.operation == TCP_OPERATION_CONNECT_FAILED)
		r.errno = end == REPORTED ? -error : -ECANCELED;
	if (end == KEPT)
		return;
	/* Who removes the entry reports: accept's exit may be at it too. */
	if (end != REPORTED && bpf_map_delete_elem(&tcp_sockets, &key))
		return;
	if (end != REMOVED && r.connection.wanted)
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
	if (state == EU_SOCKET_STATE_SYN_SENT && !eu_is_joining(sk))
		connecting(key);
	else if (state == EU_SOCKET_STATE_ESTABLISHED)
		established(key, last_state);
	else if (state == EU_SOCKET_STATE_CLOSE)
		closed(sk, key, last_state);
	else if (last_state == EU_SOCKET_STATE_ESTABLISHED ||
		 (last_state == EU_SOCKET_STATE_CLOSE_WAIT && state == EU_SOCKET_STATE_LAST_ACK))
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
	closed(sk, (__u64)sk, EU_SOCKET_STATE_CLOSE);
	return 0;
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
	if (r.connection.wanted)
		emit(&r);
	if (!r.connection.wanted && queued && queued->phase == QUEUED)
		queued->phase = OPEN; /* of nobody who is wanted, as it was */
	else
		bpf_map_update_elem(&tcp_sockets, &key, &r.connection, BPF_ANY);
	/* The peer may have reset it before: then nobody has reported the close. */
	if (EU_READ(sk, __sk_common.skc_state) == EU_SOCKET_STATE_CLOSE && !bpf_map_delete_elem(&tcp_sockets, &key)) {
		r.operation = TCP_OPERATION_CLOSE;
		r.duration_ns = since(&r.connection, bpf_ktime_get_boot_ns());
		r.last_state = EU_SOCKET_STATE_CLOSE;
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
		attempt_ended(eu_tcp_socket_of(call.args[0]), &a, ret);
	} else if (call.nr == EU_NR_accept || call.nr == EU_NR_accept4) {
		if (ret >= 0)
			accepted(eu_tcp_socket_of(ret));
	}
	return 0;
}

/* A socket that has an owner already was not accepted now: another request with the same user_data has ended. */
static __always_inline void uring_accepted(struct file *file)
{
	struct sock *sk = eu_tcp_socket(file);
	__u64 key = (__u64)sk;
	struct connection *c = sk ? bpf_map_lookup_elem(&tcp_sockets, &key) : NULL;

	if (!sk)
		return;
	if ((!c || c->phase == QUEUED) && EU_READ(sk, __sk_common.skc_state) != EU_SOCKET_STATE_LISTEN)
		accepted(sk);
}

static __always_inline void uring_connected(struct file *file, const struct eu_sockaddr *address, __s32 res)
{
	attempt_ended(eu_tcp_socket(file), address, res);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
