/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whom a thread has just addressed by an unconnected socket, or received from: the socket itself does not have it. The programs of
 * cgroups run in the same call, before sock_send_length and sock_recv_length.
 */
#ifndef EUNOMIA_ADDRESSED_BPF_H
#define EUNOMIA_ADDRESSED_BPF_H

#include "cgroup.bpf.h"
#include "header.bpf.h"
#include "sock.bpf.h"

#define MSG_PEEK 2 /* include/linux/socket.h */
#define MSG_ERRQUEUE 0x2000

struct eu_addressed {
	__u64 socket;
	eu_ip address;
	__u16 port;
	__u8 reserved[6];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32); /* the thread */
	__type(value, struct eu_addressed);
} eu_addressed_by SEC(".maps");

static __always_inline void eu_note(struct bpf_sock_addr *ctx, const eu_ip *address)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct eu_addressed addressed = { .address = *address, .port = bpf_ntohs(ctx->user_port) };
	__u32 tid = task->pid;

	if (!eu_uring_wanted(task))
		return;
	addressed.socket = eu_address(ctx->sk);
	bpf_map_update_elem(&eu_addressed_by, &tid, &addressed, BPF_ANY);
}

static __always_inline void eu_note_ipv4(struct bpf_sock_addr *ctx)
{
	eu_ip address;

	eu_map_ipv4(&address, ctx->user_ip4);
	eu_note(ctx, &address);
}

static __always_inline void eu_note_ipv6(struct bpf_sock_addr *ctx)
{
	eu_ip address;
	__u32 *words = (__u32 *)address.bytes;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	eu_note(ctx, &address);
}

/* The programs NAME_sendmsg4, NAME_sendmsg6, NAME_recvmsg4 and NAME_recvmsg6. */
#define EU_ADDRESSED(name)                                                          \
	EU_CGROUP_PROGRAM("cgroup/sendmsg4", name##_sendmsg4, struct bpf_sock_addr) \
	{                                                                           \
		eu_note_ipv4(ctx);                                                  \
	}                                                                           \
	EU_CGROUP_PROGRAM("cgroup/sendmsg6", name##_sendmsg6, struct bpf_sock_addr) \
	{                                                                           \
		eu_note_ipv6(ctx);                                                  \
	}                                                                           \
	EU_CGROUP_PROGRAM("cgroup/recvmsg4", name##_recvmsg4, struct bpf_sock_addr) \
	{                                                                           \
		eu_note_ipv4(ctx);                                                  \
	}                                                                           \
	EU_CGROUP_PROGRAM("cgroup/recvmsg6", name##_recvmsg6, struct bpf_sock_addr) \
	{                                                                           \
		eu_note_ipv6(ctx);                                                  \
	}

/*
 * The other end of what the current thread has just sent or received by the socket: false, and nothing written, where it is not known. A
 * socket that has a peer may have been used to address another one. Each is told once: to be called also for what is not reported, a call
 * that failed or a peek, else the next call would have it. Only of who is wanted (eu_uring_wanted).
 */
static __always_inline bool eu_take_remote(struct sock *sk, __u16 family, eu_ip *address, __u16 *port)
{
	__u32 tid = bpf_get_current_task_btf()->pid;
	struct eu_addressed *addressed = NULL;

	if (sk->sk_protocol != IPPROTO_TCP)
		addressed = bpf_map_lookup_elem(&eu_addressed_by, &tid);
	if (addressed && addressed->socket == (__u64)sk) {
		*address = addressed->address;
		*port = addressed->port;
		addressed->socket = 0;
		return true;
	}
	if (!sk->__sk_common.skc_dport && sk->sk_protocol != IPPROTO_TCP)
		return false;
	eu_sock_remote_ip(sk, family, address);
	*port = bpf_ntohs(sk->__sk_common.skc_dport);
	return true;
}

#endif
