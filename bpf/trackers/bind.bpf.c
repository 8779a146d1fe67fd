/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* bind: one event for each bind and listen on an IPv4 or IPv6 socket, when it ends, and for each such request of io_uring. */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "file.bpf.h"
#include "mptcp.bpf.h"
#include "sock.bpf.h"
#include "uring.bpf.h"

enum bind_operation {
	BIND_OPERATION_BIND = 1,
	BIND_OPERATION_LISTEN,
} __attribute__((packed));

/* Beside bind and listen, in the table of src/trackers/bind.ts */
#define CALL_SOCKETCALL 3

struct bind_event {
	struct eu_header header;
	eu_errno errno;
	enum bind_operation bind_operation;
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
struct io_listen {
	int backlog;
};
#pragma clang attribute pop

/* include/linux/net.h, include/uapi/linux/net.h */
#define SOCK_RAW 3
#define SYS_BIND 2
#define SYS_LISTEN 4

struct bind_args {
	struct eu_sockaddr address; /* of BIND; of a request of io_uring all 0 */
	__u32 operation;
	__s32 backlog; /* of LISTEN */
};

/* The IPv4 or IPv6 socket that a file stands for, or NULL. */
static __always_inline struct sock *inet_socket(struct file *file)
{
	struct sock *sk = eu_sock(file);

	return sk && eu_sock_is_inet(sk) ? sk : NULL;
}

/* What the socket's queue of connections holds; of MPTCP its first subflow has it. */
static __always_inline __u32 backlog_of(struct sock *sk)
{
	if (EU_READ(sk, sk_protocol) == IPPROTO_MPTCP)
		sk = BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return EU_READ(sk, sk_max_ack_backlog);
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
	family = eu_sock_family(sk);
	type = EU_READ(sk, sk_type);
	if (args->operation == BIND_OPERATION_BIND && args->address.family && args->address.family != EU_NO_FAMILY)
		requested = bpf_ntohs(args->address.port);
	if (args->operation == BIND_OPERATION_BIND && (ret < 0 || at_submit)) {
		port = requested;
		known = eu_sockaddr_ip(&args->address, &address);
		if (!known || (at_submit && !port))
			port = -1; /* the kernel chooses it later */
	} else {
		port = eu_sock_local_port(sk);
		known = port || ret >= 0;
		if (!port && ret < 0)
			port = -1; /* a listen that failed before it had one */
		eu_sock_local_ip(sk, family, &address);
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
	event->bind_operation = args->operation;
	event->address_known = known;
	event->family = family;
	event->protocol = EU_READ(sk, sk_protocol);
	event->socket_type = type;
	event->port = port;
	event->requested_port = requested;
	event->requested_backlog = args->operation == BIND_OPERATION_LISTEN ? args->backlog : 0;
	event->backlog = args->operation == BIND_OPERATION_LISTEN && ret >= 0 && !at_submit ? backlog_of(sk) : ~0U;
	event->net_ns = EU_READ_THROUGH(sk, __sk_common.skc_net.net, ns.inum);
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
		eu_read_sockaddr(&args.address, (void *)given[1], given[2]);
	else
		args.backlog = given[1];
	report(&args, (__u64)inet_socket(eu_file(bpf_get_current_task_btf(), given[0])), eu_user_ret(ret), 0);
	return 0;
}

/* ---- io_uring ---- */

#define IORING_OP_BIND 56 /* Linux 6.11, like the next one */
#define IORING_OP_LISTEN 57

struct bind_request {
	struct eu_uring_request request;
	struct bind_args args;
};
EU_URING_REQUESTS(bind, 4096);

static __always_inline bool may_bind(u8 opcode)
{
	return opcode == IORING_OP_BIND || opcode == IORING_OP_LISTEN;
}

static __always_inline void request_ended(void *ended, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct bind_request *request = ended;
	struct file *file;

	if (why == EU_URING_SUBMITTED) {
		file = eu_uring_submitted_file(req, bpf_get_current_task_btf());
		report(&request->args, (__u64)inet_socket(file), 0, 1);
	} else if (why == EU_URING_COMPLETED) { /* else its socket is not known any more */
		file = BPF_CORE_READ(req, file);
		report(&request->args, (__u64)inet_socket(file), res, 0);
	}
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct bind_request request = {};
	u8 opcode = req->opcode;

	if (!may_bind(opcode))
		return;
	eu_uring_replace(&bind_requests, req, request_ended);
	if (!eu_uring_wanted(bpf_get_current_task_btf()))
		return;
	eu_uring_remember(&request.request, req);
	if (opcode == IORING_OP_BIND) {
		request.args.operation = BIND_OPERATION_BIND;
	} else {
		struct io_listen *listen = eu_uring_cmd(req);

		request.args.operation = BIND_OPERATION_LISTEN;
		request.args.backlog = BPF_CORE_READ(listen, backlog);
	}
	eu_uring_keep(&bind_requests, req, &request.request, request_ended);
}

EU_URING_SUBMIT(bind, submitted)
EU_URING_COMPLETE(bind, may_bind, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
