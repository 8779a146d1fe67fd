/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose a socket is, and whose a network namespace is, for hooks that run in a softirq or a timer, where the current task is a stranger.
 *
 * A TCP socket is the process's that connected it; one that was accepted is the process's that received from it last, until then the
 * process's that listens. It is kept in storage of the socket, which the kernel copies to the sockets that a listening one accepts. To
 * watch accept(2) instead would cost each system call on the machine. Sockets that are there already are found by an iterator over all
 * files.
 *
 * Where no process is known, pid is 0, and the container follows from the socket's cgroup, or from the network namespace: the cgroup of a
 * process that was seen in it.
 *
 * Most sockets of a machine are of processes that the session does not want. Of these nothing is filled in, and where nobody would want
 * the socket for its container either, nothing is kept, but by a tracker that defines EU_SIDES_OF_ALL: it tells of wanted processes that
 * use a connection of another's, and asks which end that is. So a listening socket has nothing that the kernel would copy, which takes it
 * longer than all programs of a connection: that a socket was accepted is told by its backlog (eu_has_backlog).
 */
#ifndef EUNOMIA_OWNER_BPF_H
#define EUNOMIA_OWNER_BPF_H

#include "eunomia.bpf.h"
#include "header.bpf.h"
#include "skb.bpf.h"
#include "sock.bpf.h"
#include "tcp.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct net___cookie {
	u64 net_cookie;
};
struct nsproxy___net {
	struct net___cookie *net_ns;
};
struct sock_cgroup_data {
	struct cgroup *cgroup; /* since Linux 5.16 never that of another hierarchy (8520e224f547) */
};
struct sock___cgroup {
	struct sock_cgroup_data sk_cgrp_data;
};
struct sock___backlog {
	u32 sk_max_ack_backlog;
};
#pragma clang attribute pop

#define EU_ROOT_CGROUP 1
#define EU_TCP_NEW_SYN_RECV 12 /* include/net/tcp_states.h */
#define BPF_F_CLONE (1U << 9)

/* Which end of a connection a socket is. */
enum eu_side {
	EU_SIDE_UNKNOWN, /* it was there before the session */
	EU_SIDE_CONNECTED,
	EU_SIDE_ACCEPTED, /* a listening socket, too: those that it accepts inherit it */
} __attribute__((packed));

struct eu_owner {
	struct eu_header header; /* of one that is not wanted, the pid alone */
	bool wanted;             /* the filter's verdict, while the process was there */
	bool inherited; /* from the listening socket, or one of several: whose it is, is known when a process receives from it */
	enum eu_side side;
	__u8 reserved[5];
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct eu_owner);
} eu_owners SEC(".maps");

/*
 * Listening sockets of processes that are not wanted, of which nothing is in eu_owners. Nothing is copied to what they accept: the iterator
 * alone asks, who would take a process that listens by the same socket for the one that began to.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, bool);
} eu_strangers SEC(".maps");

/* A process of a network namespace, by the cookie of that, which no later one has. */
struct eu_inhabitant {
	__u64 cgroup_id;
	__u32 init_pid; /* as in struct eu_header */
	__u32 mount_ns;
	__u16 init_start;
	bool contained; /* in a pid namespace below the initial one */
	__u8 reserved[5];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct eu_inhabitant);
} eu_inhabitants SEC(".maps");

/* ---- Network namespaces ---- */

static __always_inline struct net *eu_net_of_sock(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net);
}

/*
 * The first process that is seen in a namespace stands for it; one in a pid namespace of its own, as containers have, comes before one
 * that has none: an engine runs tools of its own in a namespace that it prepares.
 */
static __always_inline void eu_inhabit(const struct eu_header *h, struct task_struct *task)
{
	__u64 cookie = BPF_CORE_READ((struct nsproxy___net *)eu_far(task)->nsproxy, net_ns, net_cookie);
	bool contained = eu_far(task)->thread_pid->level;
	struct eu_inhabitant *known, inhabitant = {};

	if (!cookie)
		return;
	known = bpf_map_lookup_elem(&eu_inhabitants, &cookie);
	if (known && (known->contained || !contained))
		return;
	inhabitant.cgroup_id = h->cgroup_id;
	inhabitant.init_pid = h->init_pid;
	inhabitant.init_start = h->init_start;
	inhabitant.mount_ns = h->mount_ns;
	inhabitant.contained = contained;
	bpf_map_update_elem(&eu_inhabitants, &cookie, &inhabitant, BPF_ANY);
}

/* What a container runs is executed in its namespaces. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(owner_exec, struct task_struct *task)
{
	struct eu_header h;

	eu_fill(&h);
	eu_inhabit(&h, task);
	return 0;
}

/* ---- Sockets ---- */

/* Not one of the smaller structs that stand for a connection before it is made and after it has ended. */
static __always_inline bool eu_is_full_sock(struct sock *sk)
{
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	return state != EU_SOCKET_STATE_TIME_WAIT && state != EU_TCP_NEW_SYN_RECV;
}

/* The v2 cgroup of the process that made the socket; 0: not known, or the root's, as of sockets of the kernel. */
static __always_inline __u64 eu_cgroup_of_sock(struct sock *sk)
{
	__u64 id;

	if (!bpf_core_field_exists(struct sock_cgroup_data, cgroup) || !eu_is_full_sock(sk))
		return 0;
	id = BPF_CORE_READ((struct sock___cgroup *)sk, sk_cgrp_data.cgroup, kn, id);
	return id == EU_ROOT_CGROUP ? 0 : id;
}

/* A socket of which no process is known is in no such target: eu_find_container. */
#define eu_by_process (eu_by_pid || eu_by_uid || eu_by_comm)

/*
 * Is a socket of which nothing is known as good as one of a process that is not wanted? Not for a tracker that defines EU_MARK_UNWANTED: it
 * asks another socket then.
 */
static __always_inline bool eu_unknown_is_unwanted(struct sock *sk)
{
#ifdef EU_MARK_UNWANTED
	return false;
#else
	__u8 *verdict;
	__u64 id;

	if (eu_by_process)
		return true;
	if (!eu_by_cgroup || eu_where)
		return false;
	id = eu_cgroup_of_sock(sk);
	verdict = id ? bpf_map_lookup_elem(&eu_cgroups, &id) : NULL;
	return verdict && *verdict != EU_KEEP;
#endif
}

static __always_inline void eu_fill_owned(struct eu_owner *owner, struct task_struct *task, bool wanted)
{
	if (wanted)
		eu_uring_fill(&owner->header, task);
	else
		owner->header.pid = task->tgid;
	owner->wanted = wanted;
}

/*
 * Does it listen, or was it accepted? A socket has listen(2)'s backlog of the one that accepted it (sk_clone(), net/core/sock.c), and one
 * that was never either has none. Where that does not hold, there is an owner (eu_own, eu_own_child).
 */
static __always_inline bool eu_has_backlog(struct sock *sk)
{
	return BPF_CORE_READ((struct sock___backlog *)sk, sk_max_ack_backlog);
}

/* Is a process that is not wanted as good as none? `listens`: the socket listens. */
static __always_inline bool eu_leave(struct sock *sk, enum eu_side side, bool listens)
{
#ifdef EU_SIDES_OF_ALL
	return false;
#else
	if (side == EU_SIDE_UNKNOWN || eu_has_backlog(sk) != (side == EU_SIDE_ACCEPTED) || !eu_unknown_is_unwanted(sk))
		return false;
	return !listens || eu_in_sock(&eu_strangers, sk);
#endif
}

static __always_inline void eu_own(struct sock *sk, enum eu_side side, bool inherited)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct eu_owner *owner;
	bool wanted;

	if (task->flags & PF_KTHREAD)
		return;
	wanted = eu_uring_wanted(task);
	if (!wanted && eu_leave(sk, side, inherited)) {
		bpf_sk_storage_delete(&eu_owners, sk);
		return;
	}
	owner = eu_in_sock(&eu_owners, sk);
	if (!owner)
		return;
	eu_fill_owned(owner, task, wanted);
	owner->inherited = inherited;
	owner->side = side;
}

/* Of a connection that comes to be, in softirq: of one whose listening socket has no owner, and which the backlog would not tell. */
static __always_inline void eu_own_child(struct sock *sk)
{
	struct eu_owner *owner;

	if (eu_has_backlog(sk) || !eu_unknown_is_unwanted(sk))
		return;
	if (bpf_sk_storage_get(&eu_owners, sk, NULL, 0))
		return;
	owner = eu_in_sock(&eu_owners, sk);
	if (!owner)
		return;
	owner->inherited = true;
	owner->side = EU_SIDE_ACCEPTED;
}

/* The first two are in the context of the process that calls connect(2) or listen(2). */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(owner_state, struct sock *sk, int last_state, int state)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (state == EU_SOCKET_STATE_SYN_SENT)
		eu_own(sk, EU_SIDE_CONNECTED, false);
	else if (state == EU_SOCKET_STATE_LISTEN)
		eu_own(sk, EU_SIDE_ACCEPTED, true);
	else if (last_state == EU_SOCKET_STATE_LISTEN && state == EU_SOCKET_STATE_SYN_RECV)
		eu_own_child(sk);
	return 0;
}

/* Does nothing that a filter asks for differ from what was seen of the owner? */
static __always_inline bool eu_is_owner(const struct eu_owner *owner, struct task_struct *task)
{
	const struct eu_header *h = &owner->header;
	struct task_struct *far = eu_far(task);

	return owner->wanted && h->pid == task->tgid && h->tid == task->pid && h->uid == far->cred->uid.val &&
	       h->gid == far->cred->gid.val && h->cgroup_id == far->cgroups->dfl_cgrp->kn->id &&
	       ((__u64 *)h->comm)[0] == ((__u64 *)task->comm)[0] && ((__u64 *)h->comm)[1] == ((__u64 *)task->comm)[1];
}

/*
 * Where nobody has locked the socket, the kernel reads from it by itself, in a softirq, for a parser of streams (sockmaps, TLS): the
 * current task is a stranger.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(owner_receive, struct sock *sk)
{
	struct eu_owner *owner;

	if (!sk->sk_lock.owned)
		return 0;
	owner = bpf_sk_storage_get(&eu_owners, sk, NULL, 0);
	if (!owner && eu_has_backlog(sk))
		eu_own(sk, EU_SIDE_ACCEPTED, false);
	else if (owner && (owner->inherited ||
			   (owner->side == EU_SIDE_ACCEPTED && !eu_is_owner(owner, bpf_get_current_task_btf()))))
		eu_own(sk, owner->side, false);
	return 0;
}

/* The loader runs it once, for each file of each process, after the others are attached. */
SEC("iter/task_file")
int owner_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct eu_owner *owner;
	struct socket *socket;
	struct eu_header h;
	bool listens, wanted;
	struct sock *sk;

	if (!task || !file || task->flags & PF_KTHREAD)
		return 0;
	eu_fill_task(&h, task);
	eu_inhabit(&h, task);
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !eu_sock_is_inet(sk))
		return 0;
	owner = bpf_sk_storage_get(&eu_owners, sk, NULL, 0);
	if (owner) { /* several processes hold it: who receives from it next tells */
		if (owner->header.pid != h.pid)
			owner->inherited = true;
		return 0;
	}
	listens = sk->__sk_common.skc_state == EU_SOCKET_STATE_LISTEN;
	wanted = eu_header_wanted(&h);
	if (listens &&
	    (bpf_sk_storage_get(&eu_strangers, sk, NULL, 0) || (!wanted && eu_leave(sk, EU_SIDE_ACCEPTED, true))))
		return 0;
	owner = eu_in_sock(&eu_owners, sk);
	if (!owner)
		return 0;
	owner->header = h;
	owner->wanted = wanted;
	if (listens) {
		owner->inherited = true;
		owner->side = EU_SIDE_ACCEPTED;
	}
	return 0;
}

/* ---- Whose it is ---- */

/* No process is known. */
static __always_inline bool eu_find_container(struct eu_header *h, struct sock *sk, struct net *net)
{
	struct eu_inhabitant *inhabitant;
	__u64 cookie;

	if (eu_by_process)
		return false;
	__builtin_memset(h, 0, sizeof(*h));
	h->boot_ns = bpf_ktime_get_boot_ns();
	h->tracker = eu_tracker;
	if (sk)
		h->cgroup_id = eu_cgroup_of_sock(sk);
	if (!h->cgroup_id && net) {
		cookie = BPF_CORE_READ((struct net___cookie *)net, net_cookie);
		inhabitant = bpf_map_lookup_elem(&eu_inhabitants, &cookie);
		if (inhabitant) {
			h->cgroup_id = inhabitant->cgroup_id;
			h->init_pid = inhabitant->init_pid;
			h->init_start = inhabitant->init_start;
			h->mount_ns = inhabitant->mount_ns;
		}
	}
	return (!eu_where || eu_header_passes(h)) && eu_cgroup_holds_header(h);
}

/* Whose a full socket is, or NULL. */
static __always_inline struct eu_owner *eu_owner_of(struct sock *sk)
{
	return bpf_sk_storage_get(&eu_owners, sk, NULL, 0);
}

/*
 * Fills the header with whose it is; the first of these that is known: the process, the container of the socket, that of the network
 * namespace. All but the header may be NULL. False where the session does not want it.
 */
static __always_inline bool eu_fill_owner(struct eu_header *h, const struct eu_owner *owner, struct sock *sk,
					  struct net *net)
{
	if (!owner)
		return eu_find_container(h, sk, net);
	if (!owner->wanted)
		return false;
	*h = owner->header;
	h->boot_ns = bpf_ktime_get_boot_ns();
	return true;
}

/* The same with the socket's own network namespace. */
static __always_inline bool eu_fill_owner_of_sock(struct eu_header *h, const struct eu_owner *owner, struct sock *sk)
{
	if (!owner)
		return !eu_by_process && eu_find_container(h, sk, eu_net_of_sock(sk));
	return eu_fill_owner(h, owner, sk, NULL);
}

#endif
