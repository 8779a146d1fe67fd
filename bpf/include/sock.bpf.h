/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sockets of IPv4 and IPv6: the one behind a file, its addresses and ports, and those that a system call is given. */
#ifndef EUNOMIA_SOCK_BPF_H
#define EUNOMIA_SOCK_BPF_H

#include "record.bpf.h"
#include <bpf/bpf_endian.h>

/* include/linux/socket.h, include/uapi/linux/in.h */
#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6

/* include/net/tcp_states.h. The schema's SocketState has the same names. */
enum eu_socket_state {
	EU_SOCKET_STATE_ESTABLISHED = 1,
	EU_SOCKET_STATE_SYN_SENT,
	EU_SOCKET_STATE_SYN_RECV,
	EU_SOCKET_STATE_FIN_WAIT1,
	EU_SOCKET_STATE_FIN_WAIT2,
	EU_SOCKET_STATE_TIME_WAIT,
	EU_SOCKET_STATE_CLOSE,
	EU_SOCKET_STATE_CLOSE_WAIT,
	EU_SOCKET_STATE_LAST_ACK,
	EU_SOCKET_STATE_LISTEN,
	EU_SOCKET_STATE_CLOSING,
} __attribute__((packed));

/* ---- Addresses ---- */

static __always_inline void eu_map_ipv4(eu_ip *ip, __be32 address)
{
	__builtin_memset(ip->bytes, 0, 10);
	ip->bytes[10] = ip->bytes[11] = 0xff;
	__builtin_memcpy(ip->bytes + 12, &address, 4);
}

static __always_inline bool eu_is_ipv4(const eu_ip *ip)
{
	const __u32 *words = (const __u32 *)ip->bytes;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

/* 0.0.0.0, also as an IPv6 socket has it, or :: */
static __always_inline bool eu_is_unspecified(const eu_ip *ip)
{
	const __u32 *words = (const __u32 *)ip->bytes;

	return !words[3] && !words[0] && !words[1] && (!words[2] || words[2] == bpf_htonl(0xffff));
}

/* struct sockaddr_in and sockaddr_in6, as user space passes them. */
struct eu_sockaddr {
	__u16 family;
	__be16 port;
	__be32 ipv4; /* or the flow label */
	__u8 ipv6[16];
};
#define EU_NO_FAMILY 0xffff /* of one that cannot be read, or is too short for its family */

/* Reads what connect(2) or bind(2) is given. AF_UNSPEC may be as short as its family alone. */
static __always_inline void eu_read_sockaddr(struct eu_sockaddr *a, const void *from, __u32 length)
{
	const void *ipv6 = from + __builtin_offsetof(struct eu_sockaddr, ipv6);

	if (bpf_probe_read_user(a, 8, from) || (a->family != AF_UNSPEC && length < 16) ||
	    (a->family == AF_INET6 && (length < 24 || bpf_probe_read_user(a->ipv6, 16, ipv6))))
		a->family = EU_NO_FAMILY;
}

/* Its address; false, and `ip` as it was, where it is of another family. */
static __always_inline bool eu_sockaddr_ip(const struct eu_sockaddr *a, eu_ip *ip)
{
	if (a->family == AF_INET)
		eu_map_ipv4(ip, a->ipv4);
	else if (a->family == AF_INET6)
		__builtin_memcpy(ip, a->ipv6, 16);
	else
		return false;
	return true;
}

/* ---- Sockets ---- */

/* The socket that a file stands for, of whatever family, or NULL. */
static __always_inline struct sock *eu_sock(struct file *file)
{
	struct socket *socket;

	if (!file)
		return NULL;
	socket = EU_READ(file, private_data);
	if (!socket || EU_READ(socket, file) != file)
		return NULL;              /* another kind of file */
	return BPF_CORE_READ(socket, sk); /* a number to the verifier, as functions take it */
}

static __always_inline __u16 eu_sock_family(struct sock *sk)
{
	return EU_READ(sk, __sk_common.skc_family);
}

static __always_inline bool eu_sock_is_inet(struct sock *sk)
{
	__u16 family = eu_sock_family(sk);

	return family == AF_INET || family == AF_INET6;
}

/* Not skc_num: a socket that closes has given its port back before tracepoints run. */
static __always_inline __u16 eu_sock_local_port(struct sock *sk)
{
	return bpf_ntohs(EU_READ((struct inet_sock *)sk, inet_sport));
}

static __always_inline void eu_sock_local_ip(struct sock *sk, __u16 family, eu_ip *ip)
{
	if (family == AF_INET6)
		bpf_core_read(ip, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	else
		eu_map_ipv4(ip, EU_READ(sk, __sk_common.skc_rcv_saddr));
}

static __always_inline void eu_sock_remote_ip(struct sock *sk, __u16 family, eu_ip *ip)
{
	if (family == AF_INET6)
		bpf_core_read(ip, 16, &sk->__sk_common.skc_v6_daddr);
	else
		eu_map_ipv4(ip, EU_READ(sk, __sk_common.skc_daddr));
}

#endif
