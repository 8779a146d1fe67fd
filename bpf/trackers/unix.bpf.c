/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * unix: one event for each connect and accept on a Unix domain socket, when the call ends, and for each such request of io_uring.
 *
 * The other process is the one that the kernel itself vouches for (SO_PEERCRED): a socket keeps it from connect(2), or listen(2), on.
 */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "connect_uring.bpf.h"
#include "file.bpf.h"
#include "sock.bpf.h"
#include "task.bpf.h"
#include "unix.bpf.h"

enum unix_operation {
	UNIX_OPERATION_CONNECT = 1,
	UNIX_OPERATION_ACCEPT,
} __attribute__((packed));

/* Beside connect and accept, in the table of src/trackers/unix.ts */
#define CALL_SOCKETCALL 3

struct unix_event {
	struct eu_header header;
	struct eu_header peer; /* all 0: not known */
	eu_errno errno;
	eu_str path;           /* that the listening socket has; where that is not known, as passed */
	eu_str requested_path; /* of CONNECT: as passed */
	__u16 socket_type;     /* SOCK_* */
	enum unix_operation unix_operation;
	bool abstract; /* of `path` */
};
EU_EVENT(unix);
EU_SCRATCH(unix);

EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(peer_pid);
EU_WHERE_TEXT(path);
EU_WHERE_TEXT(requested_path);

const volatile __u32 operations = 0; /* option: bits 1 << operation; 0 is all */

/* include/uapi/linux/net.h */
#define SYS_CONNECT 3
#define SYS_ACCEPT 5
#define SYS_ACCEPT4 18

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock___peer {
	struct pid *sk_peer_pid;
};
#pragma clang attribute pop

struct unix_call {
	const void *passed; /* of CONNECT: the address in the caller's memory, or NULL */
	__u32 length;
	__u32 operation;
	long ret;
};

/* Not static: verified once a program. `socket`: of CONNECT the caller's own, of ACCEPT the new one. */
__attribute__((noinline)) int report(const struct unix_call *call, __u64 socket)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 size = sizeof(struct unix_event), length;
	struct sock *sk = (void *)socket, *bound;
	struct eu_unix_name passed = {};
	struct unix_event *event;
	struct eu_area *area;
	bool abstract = false;

	if (!call || !sk || eu_sock_family(sk) != AF_UNIX)
		return 0;
	if (operations && !(operations >> (call->operation & 31) & 1))
		return 0;
	if (eu_where && (!eu_passes(operation, call->operation) || !eu_passes(errno, call->ret < 0 ? -call->ret : 0)))
		return 0;
	/* One that fails has no peer whom the target could hold. */
	if (call->ret < 0 && !eu_uring_wanted(task))
		return 0;
	length = call->length;
	if (call->passed && length >= sizeof(passed.family) && length < sizeof(passed))
		bpf_probe_read_user(&passed, length, call->passed);
	/* A datagram socket that gives its peer up. */
	if (passed.family == AF_UNSPEC && call->passed && call->ret >= 0)
		return 0;
	area = eu_scratch(unix);
	if (!area)
		return 0;
	event = (void *)area;
	eu_uring_fill(&event->header, task);
	eu_fill_at(&event->peer, 0);
	if (call->ret >= 0)
		eu_fill_at(&event->peer, eu_task_of(BPF_CORE_READ((struct sock___peer *)sk, sk_peer_pid)));
	if (eu_where && (!eu_header_passes(&event->header) || !eu_passes(peer_pid, event->peer.pid)))
		return 0;
	if (!eu_target_holds_header(&event->header) && !eu_target_holds_header(&event->peer))
		return 0;
	event->requested_path = 0;
	if (passed.family == AF_UNIX)
		event->requested_path = eu_put_unix_name(area, &size, &passed, length, &abstract);
	event->path = event->requested_path;
	bound = call->operation == UNIX_OPERATION_ACCEPT ? sk : BPF_CORE_READ((struct unix_sock *)sk, peer);
	if (call->ret >= 0 && bound) {
		eu_str name = eu_put_unix_bound(area, &size, bound, &abstract);

		event->path = name ?: event->path;
	}
	if (eu_where &&
	    (!eu_passes_text(path, area, event->path) || !eu_passes_text(requested_path, area, event->requested_path)))
		return 0;
	event->errno = call->ret < 0 ? call->ret : 0;
	event->socket_type = EU_READ(sk, sk_type);
	event->unix_operation = call->operation;
	event->abstract = abstract;
	eu_output(area, size);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(unix_exit, struct pt_regs *regs, long ret)
{
	struct eu_matched_call matched = eu_match_call(eu_syscall_nr(regs));
	struct unix_call call = { .operation = matched.value };
	unsigned long args[EU_CALL_ARGS];

	if (!matched.value)
		return 0;
	eu_read_args(regs, matched.narrow, args);
	if (matched.value == CALL_SOCKETCALL) { /* i386's socket calls in one: the arguments are in memory */
		__u32 which = args[0], words[3] = {};

		call.operation = which == SYS_CONNECT ? UNIX_OPERATION_CONNECT : UNIX_OPERATION_ACCEPT;
		if ((which != SYS_CONNECT && which != SYS_ACCEPT && which != SYS_ACCEPT4) ||
		    bpf_probe_read_user(words, sizeof(words), (void *)args[1]))
			return 0;
		args[0] = words[0];
		args[1] = words[1];
		args[2] = words[2];
	}
	call.ret = eu_user_ret(ret);
	if (call.operation == UNIX_OPERATION_CONNECT) {
		call.passed = (void *)args[1];
		call.length = args[2];
	} else if (ret < 0) {
		return 0;
	} else {
		args[0] = ret;
	}
	report(&call, (__u64)eu_sock(eu_file(bpf_get_current_task_btf(), args[0])));
	return 0;
}

static __always_inline void uring_accepted(struct file *file)
{
	struct unix_call call = { .operation = UNIX_OPERATION_ACCEPT };

	report(&call, (__u64)eu_sock(file));
}

static __always_inline void uring_connected(struct file *file, const struct eu_sockaddr *address, __s32 res)
{
	struct unix_call call = { .operation = UNIX_OPERATION_CONNECT, .ret = res };

	if (address->family != AF_UNSPEC || res < 0)
		report(&call, (__u64)eu_sock(file));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
