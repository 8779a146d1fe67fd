/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ipc: who sent a descriptor. The kernel does not keep it, so it is remembered where the message is sent. */
#ifndef EUNOMIA_IPC_SENDER_BPF_H
#define EUNOMIA_IPC_SENDER_BPF_H

#include "header.bpf.h"
#include "rights.bpf.h"
#include "unix.bpf.h"

/* Who sent a file to a socket last: the same file comes out there. */
struct sent {
	__u64 file;
	__u64 socket; /* that receives; 0: one that the message names */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct sent);
	__type(value, struct eu_header);
} ipc_sent SEC(".maps");

enum use { USE_REMEMBER, USE_SENT, USE_RECEIVED };

static __always_inline void remember(const struct eu_rights *rights, struct file *file)
{
	struct eu_header header;
	struct sent sent = { .file = (__u64)file };
	struct unix_sock *socket = (void *)rights->socket;

	if (!file)
		return;
	sent.socket = (__u64)BPF_CORE_READ(socket, peer);
	eu_uring_fill(&header, bpf_get_current_task_btf());
	bpf_map_update_elem(&ipc_sent, &sent, &header, BPF_ANY);
}

static __always_inline void find_sender(struct eu_header *peer, const struct eu_rights *rights, struct file *file)
{
	struct sent sent = { .file = (__u64)file, .socket = rights->socket };
	struct eu_header *header = bpf_map_lookup_elem(&ipc_sent, &sent);

	if (!header) {
		sent.socket = 0;
		header = bpf_map_lookup_elem(&ipc_sent, &sent);
	}
	if (header)
		*peer = *header;
}

/* The Unix domain socket that a file stands for, or 0. */
static __always_inline __u64 unix_socket(struct file *file)
{
	struct sock *sk = eu_sock(file);

	return sk && eu_sock_family(sk) == AF_UNIX ? (__u64)sk : 0;
}

#endif
