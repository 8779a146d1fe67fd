/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bind: one event for each bind and listen on an IPv4 or IPv6 socket, when it ends, and for each such request of io_uring. */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "file.bpf.h"
#include "mptcp.bpf.h"
#include "uring.bpf.h"
#include <bpf/bpf_endian.h>

enum bind_operation {
	BIND_OPERATION_BIND = 1,
	BIND_OPERATION_LISTEN,
} __attribute__((packed));

/* Beside bind and listen, in the table of src/trackers/bind.ts */
#define CALL_SOCKETCALL 3

struct bind_event {
	struct eu_header header;
	eu_errno errno;
	enum bind_operation operation;
	bool address_known;
	__u16 family;         /* of the socket: AF_INET or AF_INET6 */
	__u16 protocol;       /* IPPROTO_* */
	__u16 socket_type;    /* SOCK_* */
	__s32 port;           /* -1: not known */
	__s32 requested_port; /* of BIND: as passed; -1: not known */
	__s32 requested_backlog;
	__u32 backlog; /* of LISTEN that succeeded */
	__u32 net_ns;  /* of the socket */
	eu_ip address; /* of the socket; of a BIND that failed, as passed */
};
EU_EVENT(bind);

EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(port);
EU_WHERE_ADDRESS(address);

const volatile bool failed_only = false; /* option: only calls that fail */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct possible_net {
	struct net *net;
};
struct sock_common___bind {
	struct possible_net skc_net;
};
struct sock___bind {
	struct sock_common___bind __sk_common;
	u32 sk_max_ack_backlog;
	u16 sk_type;
};
struct io_listen {
	int backlog;
};
#pragma clang attribute pop

/* include/linux/socket.h, include/linux/net.h, include/uapi/linux/net.h */
#define AF_INET 2
#define AF_INET6 10
#define SOCK_RAW 3
#define SYS_BIND 2
#define SYS_LISTEN 4

/* struct sockaddr_in and sockaddr_in6, as user space passes them */
struct address {
	__u16 family;
	__be16 port;
	__be32 ipv4; /* or the flow label */
	__u8 ipv6[16];
};

struct bind_args {
	struct address address; /* of BIND; family 0: could not be read, as that of a request of io_uring */
	__u32 operation;
	__s32 backlog; /* of LISTEN */
};

static __always_inline void read_address(struct address *a, const void *from, __u32 length)
{
	if (length < 16 || bpf_probe_read_user(a, 8, from) ||
	    (a->family == AF_INET6 &&
	     (length < 24 || bpf_probe_read_user(a->ipv6, 16, from + __builtin_offsetof(struct address, ipv6)))))
		a->family = 0;
}

static __always_inline void map_ipv4(eu_ip *ip, __be32 address)
{
	__builtin_memset(ip->bytes, 0, 10);
	ip->bytes[10] = ip->bytes[11] = 0xff;
	__builtin_memcpy(ip->bytes + 12, &address, 4);
}

/* The IPv4 or IPv6 socket that a file stands for, or NULL. */
static __always_inline struct sock *inet_socket(struct file *file)
{
	struct socket *socket;
	struct sock *sk;
	__u16 family;

	if (!file)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	if (!socket || BPF_CORE_READ(socket, file) != file)
		return NULL; /* another kind of file */
	sk = BPF_CORE_READ(socket, sk);
	family = sk ? BPF_CORE_READ(sk, __sk_common.skc_family) : 0;
	return family == AF_INET || family == AF_INET6 ? sk : NULL;
}

/* What the socket's queue of connections holds; of MPTCP its first subflow has it. */
static __always_inline __u32 backlog_of(struct sock *sk)
{
	if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP)
		sk = BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return BPF_CORE_READ((struct sock___bind *)sk, sk_max_ack_backlog);
}

/* Not static: verified once a program. */
__attribute__((noinline)) int report(const struct bind_args *args, __u64 socket, long ret, __u64 at_submit)
{
	struct sock *sk = (void *)socket;
	struct task_struct *task = bpf_get_current_task_btf();
	struct bind_event *event;
	__s32 port = -1, requested = -1;
	__u16 family, type;
	eu_ip address = {};
	bool known = false;

	if (!args || !sk)
		return 0;
	if (failed_only && ret >= 0)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	type = BPF_CORE_READ((struct sock___bind *)sk, sk_type);
	if (args->operation == BIND_OPERATION_BIND && args->address.family)
		requested = bpf_ntohs(args->address.port);
	if (args->operation == BIND_OPERATION_BIND && (ret < 0 || at_submit)) {
		port = requested;
		known = args->address.family == AF_INET || args->address.family == AF_INET6;
		if (args->address.family == AF_INET)
			map_ipv4(&address, args->address.ipv4);
		else if (known)
			__builtin_memcpy(&address, args->address.ipv6, 16);
		if (!known || (at_submit && !port))
			port = -1; /* the kernel chooses it later */
	} else {
		port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
		known = port || ret >= 0;
		if (!port && ret < 0)
			port = -1; /* a listen that failed before it had one */
		if (family == AF_INET)
			map_ipv4(&address, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		else
			bpf_probe_read_kernel(&address, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	}
	if (type == SOCK_RAW)
		port = requested = -1; /* it is the protocol's number */
	if (eu_where && (!eu_passes(operation, args->operation) || !eu_passes(errno, ret < 0 ? -ret : 0) ||
			 !eu_passes(port, port) || !eu_passes_address(address, &address, !known)))
		return 0;
	event = eu_reserve(struct bind_event);
	if (!event)
		return 0;
	eu_uring_fill(&event->header, task);
	event->errno = ret < 0 ? ret : 0;
	event->operation = args->operation;
	event->address_known = known;
	event->family = family;
	event->protocol = BPF_CORE_READ(sk, sk_protocol);
	event->socket_type = type;
	event->port = port;
	event->requested_port = requested;
	event->requested_backlog = args->operation == BIND_OPERATION_LISTEN ? args->backlog : 0;
	event->backlog = args->operation == BIND_OPERATION_LISTEN && ret >= 0 && !at_submit ? backlog_of(sk) : ~0U;
	event->net_ns = BPF_CORE_READ((struct sock___bind *)sk, __sk_common.skc_net.net, ns.inum);
	event->address = address;
	eu_submit(event);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(bind_exit, struct pt_regs *regs, long ret)
{
	struct eu_matched_call call = eu_match_call(eu_syscall_nr(regs));
	unsigned long given[EU_CALL_ARGS];
	struct bind_args args = {};
	__u32 operation = call.value;

	if (!operation || (failed_only && ret >= 0))
		return 0;
	if (!eu_wanted())
		return 0;
	eu_read_args(regs, call.narrow, given);
	if (operation == CALL_SOCKETCALL) { /* i386's socket calls in one: the arguments are in memory */
		__u32 which = given[0], words[3] = {};

		operation = which == SYS_BIND ? BIND_OPERATION_BIND : which == SYS_LISTEN ? BIND_OPERATION_LISTEN : 0;
		if (!operation || bpf_probe_read_user(words, sizeof(words), (void *)given[1]))
			return 0;
		given[0] = words[0];
		given[1] = words[1];
		given[2] = words[2];
	}
	args.operation = operation;
	if (operation == BIND_OPERATION_BIND)
		read_address(&args.address, (void *)given[1], given[2]);
	else
		args.backlog = given[1];
	report(&args, (__u64)inet_socket(eu_file(bpf_get_current_task_btf(), given[0])), eu_user_ret(ret), 0);
	return 0;
}

/* ---- io_uring ---- */

#define IORING_OP_BIND 56 /* Linux 6.11, like the next one */
#define IORING_OP_LISTEN 57

struct bind_request {
	struct eu_uring_key key;
	struct bind_args args;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct bind_request);
} bind_requests SEC(".maps");

static __always_inline int submitted(struct io_kiocb *req)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bind_request request = {};
	__u64 key = (__u64)req;
	u8 opcode = req->opcode;

	if (opcode != IORING_OP_BIND && opcode != IORING_OP_LISTEN)
		return 0;
	if (!eu_uring_wanted(task))
		return 0;
	request.key = eu_uring_key(req);
	if (opcode == IORING_OP_BIND) {
		request.args.operation = BIND_OPERATION_BIND;
	} else {
		struct io_listen *listen = eu_uring_cmd(req);

		request.args.operation = BIND_OPERATION_LISTEN;
		request.args.backlog = BPF_CORE_READ(listen, backlog);
	}
	if (bpf_map_update_elem(&bind_requests, &key, &request, BPF_ANY)) {
		eu_count(true); /* more requests under way than the map holds */
		return 0;
	}
	if (req->flags & EU_URING_SKIPS_SUCCESS)
		report(&request.args, (__u64)inet_socket(eu_uring_submitted_file(req, task)), 0, 1);
	return 0;
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(bind_submit, struct io_kiocb *req)
{
	return submitted(req);
}

/* Its name before Linux 6.4 (2ad57931db64 "io_uring: rename trace_io_uring_submit_sqe() tracepoint"). */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(bind_submit_old, struct io_kiocb *req)
{
	return submitted(req);
}

static __always_inline void request_ended(struct io_kiocb *req, struct bind_request *request, long res)
{
	report(&request->args, (__u64)inet_socket(BPF_CORE_READ(req, file)), res, 0);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(bind_complete, void *ring, void *address)
{
	struct io_kiocb *req = address;
	struct bind_request *request;
	__u64 key = (__u64)req;
	u8 opcode;

	if (!req)
		return 0;
	opcode = BPF_CORE_READ(req, opcode);
	if (opcode != IORING_OP_BIND && opcode != IORING_OP_LISTEN)
		return 0;
	request = bpf_map_lookup_elem(&bind_requests, &key);
	if (!request)
		return 0;
	request_ended(req, request, BPF_CORE_READ(req, cqe.res));
	bpf_map_delete_elem(&bind_requests, &key);
	return 0;
}

struct overflow {
	struct eu_uring_key key;
	__s32 res;
};

static long find_overflown(void *map, const __u64 *key, struct bind_request *request, struct overflow *o)
{
	__u64 address = *key;

	if (request->key.ring != o->key.ring || request->key.user_data != o->key.user_data)
		return 0;
	request_ended((void *)address, request, o->res);
	bpf_map_delete_elem(&bind_requests, &address);
	return 1;
}

SEC("tp_btf/io_uring_cqe_overflow")
int BPF_PROG(bind_overflow, void *ring, unsigned long long user_data, s32 res)
{
	struct overflow o = { .key = { .ring = (__u64)ring, .user_data = user_data }, .res = res };

	bpf_for_each_map_elem(&bind_requests, find_overflown, &o, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
