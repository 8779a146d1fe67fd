/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which sockets speak to a DNS server, to which one, and for which process, for the tracker dns.
 *
 * A packet's ports do not tell: at egress it has gone through NAT (to Docker's 127.0.0.11, port 53, it leaves with another port). So
 * connect and sendmsg, which see what the process asked for, mark the socket.
 */
#ifndef EUNOMIA_DNS_CLIENT_BPF_H
#define EUNOMIA_DNS_CLIENT_BPF_H

#include "packet.bpf.h"
#include "sock.bpf.h"
#include "uring.bpf.h"

#define PORTS 8
const volatile __u16 ports[PORTS] = {}; /* option: of DNS servers, in network byte order; the rest is 0 */

#define DNS_HALF_DUE 0x10000

enum direction { SENT, RECEIVED };

/* Whom the next packet of a UDP socket is addressed to, as sendmsg has just said. */
enum addressed { NOT_SAID, TO_SERVER, TO_OTHER };

/* A socket that speaks to a DNS server. */
struct dns_client {
	struct eu_header header; /* of the process that connected, or sent first */
	eu_ip server;
	__be16 port;
	bool known;  /* the two are those that sendmsg or connect said last */
	bool wanted; /* the target holds the process, and the filter may take it */
	__u8 addressed;
	__be16 other; /* with TO_OTHER: the port that was said */
	bool owned;
	/* Of UDP, which several processes may ask by: one that is wanted has sent a query, one that is not has sent something. */
	bool asked;
	bool shared;
	/* Of a stream, by direction: what comes next, the next message's length or, if that is known, the message. */
	bool synchronised[2];
	__u32 next[2];
	__u32 due[2]; /* that length; 0: it is yet to come; with DNS_HALF_DUE: so is its second byte */
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dns_client);
} dns_clients SEC(".maps");

static __always_inline bool dns_is_server_port(__be16 port)
{
	bool found = false;

#pragma unroll
	for (int i = 0; i < PORTS; i++)
		found |= ports[i] && ports[i] == port;
	return found;
}

/* The current process becomes the socket's. */
static __always_inline void dns_own(struct dns_client *client)
{
	struct task_struct *task = bpf_get_current_task_btf();

	client->wanted = eu_uring_wanted(task);
	if (client->wanted)
		eu_uring_fill(&client->header, task);
	client->owned = true;
}

/* ---- What processes ask for ---- */

static __always_inline void dns_address(struct bpf_sock_addr *ctx, const eu_ip *ip, bool sends)
{
	__u32 protocol = ctx->protocol;
	__be16 port = ctx->user_port;
	struct bpf_sock *sk = ctx->sk;
	bool server = dns_is_server_port(port);
	struct dns_client *client;

	if (!sk || (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP))
		return;
	client = server ? eu_in_sock(&dns_clients, sk) : bpf_sk_storage_get(&dns_clients, sk, NULL, 0);
	if (!client) {
		/* No memory: its message will not be seen. After connect it is tried again with each packet (dns_adopt). */
		if (server && sends && eu_wanted())
			eu_count(true);
		return;
	}
	client->addressed = server ? TO_SERVER : TO_OTHER;
	client->other = port;
	if (!server)
		return;
	client->server = *ip;
	client->port = port;
	client->known = true;
	if (protocol != IPPROTO_UDP || !client->owned)
		dns_own(client);
	client->synchronised[SENT] = client->synchronised[RECEIVED] = false;
}

static __always_inline void dns_address_ipv4(struct bpf_sock_addr *ctx, bool sends)
{
	eu_ip ip;

	eu_map_ipv4(&ip, ctx->user_ip4);
	dns_address(ctx, &ip, sends);
}

static __always_inline void dns_address_ipv6(struct bpf_sock_addr *ctx, bool sends)
{
	eu_ip ip;
	__u32 *words = (__u32 *)ip.bytes;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	dns_address(ctx, &ip, sends);
}

/* ---- What their packets are to ---- */

/* include/linux/tcp.h: a process holds the lock of the socket, which softirq leaves alone then. */
static __always_inline bool dns_is_locked(struct bpf_sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return tcp && BPF_CORE_READ((struct sock *)tcp, sk_lock.owned);
}

/* A socket that was connected before the session. */
static __always_inline struct dns_client *dns_adopt(struct bpf_sock *sk)
{
	struct dns_client *client;

	if (!dns_is_server_port(sk->dst_port) || (sk->protocol == IPPROTO_TCP && !dns_is_locked(sk)))
		return NULL;
	if (bpf_get_current_task_btf()->flags & PF_KTHREAD)
		return NULL;
	client = eu_in_sock(&dns_clients, sk);
	if (client)
		dns_own(client);
	else if (eu_wanted())
		eu_count(true);
	return client;
}

/* How a packet's server is known. */
enum dns_known_by { NO_SERVER, SERVER_SAID, SERVER_CONNECTED, SERVER_OF_PACKET };

/*
 * NAT may have changed a packet's port, so that it tells little. What sendmsg said may be of another packet: of one that was never sent
 * (MSG_PROBE), or of another thread's. So it does not hide a query, unless the packet's port is the one that was said.
 */
static __always_inline enum dns_known_by dns_known_by(struct dns_client *client, struct bpf_sock *sk, __be16 port,
						      __be16 peer)
{
	__u8 addressed = client->addressed;

	if (sk->protocol == IPPROTO_TCP)
		return SERVER_CONNECTED;
	client->addressed = NOT_SAID;
	if (addressed == TO_SERVER)
		return SERVER_SAID;
	if (addressed == TO_OTHER && port == client->other)
		return NO_SERVER;
	if (dns_is_server_port(peer))
		return SERVER_CONNECTED;
	if (dns_is_server_port(port))
		return SERVER_OF_PACKET;
	return !peer && client->known ? SERVER_SAID : NO_SERVER;
}

/* clang else makes one load of several, at an offset or from a pointer that depends, which the verifier refuses. */
#define LOAD(field)                   \
	({                            \
		__u32 loaded = field; \
		barrier_var(loaded);  \
		loaded;               \
	})

static __always_inline void dns_read_peer(struct bpf_sock *sk, eu_ip *peer)
{
	__u32 ipv4 = LOAD(sk->dst_ip4), *words = (__u32 *)peer->bytes;
	__u32 ipv6[] = { LOAD(sk->dst_ip6[0]), LOAD(sk->dst_ip6[1]), LOAD(sk->dst_ip6[2]), LOAD(sk->dst_ip6[3]) };

	if (sk->family == AF_INET) {
		eu_map_ipv4(peer, ipv4);
		return;
	}
	words[0] = ipv6[0];
	words[1] = ipv6[1];
	words[2] = ipv6[2];
	words[3] = ipv6[3];
}

static __always_inline bool dns_is_same(const eu_ip *a, const eu_ip *b)
{
	const __u64 *left = (const __u64 *)a->bytes, *right = (const __u64 *)b->bytes;

	return left[0] == right[0] && left[1] == right[1];
}

/* As the process addressed it. */
struct dns_server {
	eu_ip address;
	__be16 port;
};

/* The server that a packet is sent to, as the process addressed it; false: none. `target` and `port` are the packet's. */
static __always_inline bool dns_find_server(struct dns_client *client, struct bpf_sock *sk, const eu_ip *target,
					    __be16 port, struct dns_server *found)
{
	__be16 peer_port = LOAD(sk->dst_port);
	enum dns_known_by known = dns_known_by(client, sk, port, peer_port);

	if (known == NO_SERVER)
		return false;
	found->address = *target;
	found->port = port;
	if (known == SERVER_OF_PACKET)
		return true;
	if (peer_port) {
		eu_ip peer __attribute__((aligned(8)));

		dns_read_peer(sk, &peer);
		/* A packet to the peer itself is not to somebody else whom sendmsg said. */
		if (known == SERVER_CONNECTED || (port == peer_port && dns_is_same(&peer, target))) {
			found->address = peer;
			found->port = peer_port;
			return true;
		}
	}
	if (eu_is_unspecified(&client->server))
		return true; /* the kernel took a loopback address */
	found->address = client->server;
	found->port = LOAD(client->port);
	return true;
}

#endif
