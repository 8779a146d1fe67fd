/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * dns: one event for each query that a process sends to a DNS server, and one for each response that it receives.
 *
 * A packet's ports do not tell: at egress it has gone through NAT (to Docker's 127.0.0.11, port 53, it leaves with another port). So
 * connect and sendmsg, which see what the process asked for, mark the socket. A response arrives in softirq, over loopback in
 * the process of the server, where the current task is a stranger: who asked is remembered with the query.
 */
#include "eunomia.bpf.h"
#include "areas.bpf.h"
#include "cgroup.bpf.h"
#include "packet.bpf.h"
#include "sock.bpf.h"
#include "dns_message.bpf.h"
#include "uring.bpf.h"

enum dns_operation {
	DNS_OPERATION_QUERY = 1,
	DNS_OPERATION_RESPONSE,
} __attribute__((packed));

enum dns_protocol {
	DNS_PROTOCOL_UDP = 1,
	DNS_PROTOCOL_TCP,
} __attribute__((packed));

struct dns_event {
	struct eu_header header; /* of the process that asked */
	eu_duration_ns latency_ns;
	eu_ip local_address;
	eu_ip server_address; /* as the process addressed it */
	__u32 message_bytes;
	__u16 local_port;
	__u16 server_port;
	enum dns_operation operation;
	enum dns_protocol protocol;
	__u8 ip_version;
	bool malformed;
	/* Of the message. What is not known of it is 0, and numbers are one more than in the message. */
	__u32 message_id;
	__u32 question_type;
	__u32 question_class;
	__u32 questions;
	__u32 answer_count;
	__u8 opcode;
	__u8 rcode;
	bool authoritative;
	bool truncated;
	eu_str name;
	eu_bytes answers; /* of a response: the message's beginning, which has them; captured on demand */
};
EU_EVENT(dns);

enum dns_capture {
	DNS_CAPTURE_ANSWERS,
};
EU_CAPTURES(dns);

EU_AREAS(dns);

EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(question_type);
EU_WHERE_NUMBER(rcode);
EU_WHERE_NUMBER(latency_ns);
EU_WHERE_NUMBER(server_port);
EU_WHERE_ADDRESS(server_address);
EU_WHERE_TEXT(name);

#define PORTS 8
const volatile __u16 ports[PORTS] = {}; /* option: of DNS servers, in network byte order; the rest is 0 */
const volatile __u32 operations = 0;    /* option: bits 1 << operation; 0 is all */

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define HALF_DUE 0x10000
#define STEPS_MAX (3 * 1024) /* three a message of a segment of TCP */
#define DATAGRAMS_MAX 128    /* include/linux/udp.h: UDP_MAX_SEGMENTS */

enum direction { SENT, RECEIVED };

/* Whom the next packet of a UDP socket is addressed to, as sendmsg has just said. */
enum addressed { NOT_SAID, TO_SERVER, TO_OTHER };

/* A socket that speaks to a DNS server. */
struct client {
	struct eu_header header; /* of the process that connected, or sent first */
	eu_ip server;
	__be16 port;
	bool known;  /* the two are those that sendmsg or connect said last */
	bool wanted; /* the target holds the process, and the filter may take it */
	__u8 addressed;
	__be16 other; /* with TO_OTHER: the port that was said */
	bool owned;
	/* Of a stream, by direction: what comes next, the next message's length or, if that is known, the message. */
	bool synchronised[2];
	__u32 next[2];
	__u32 due[2]; /* that length; 0: it is yet to come; with HALF_DUE: so is its second byte */
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct client);
} dns_clients SEC(".maps");

/* Queries without a response yet. */
struct query_key {
	__u64 socket; /* its cookie */
	__u32 id;
	__u32 reserved; /* 0 */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct query_key);
	__type(value, struct eu_header); /* of the event: who asked, and when */
} dns_queries SEC(".maps");

static __always_inline bool is_server_port(__be16 port)
{
	bool found = false;

#pragma unroll
	for (int i = 0; i < PORTS; i++)
		found |= ports[i] && ports[i] == port;
	return found;
}

/* The current process becomes the socket's. */
static __always_inline void own(struct client *client)
{
	struct task_struct *task = bpf_get_current_task_btf();

	client->wanted = eu_uring_wanted(task);
	if (client->wanted)
		eu_uring_fill(&client->header, task);
	client->owned = true;
}

/* ---- What processes ask for ---- */

static __always_inline void address(struct bpf_sock_addr *ctx, const eu_ip *ip, bool sends)
{
	__u32 protocol = ctx->protocol;
	__be16 port = ctx->user_port;
	struct bpf_sock *sk = ctx->sk;
	bool server = is_server_port(port);
	struct client *client;

	if (!sk || (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP))
		return;
	client = bpf_sk_storage_get(&dns_clients, sk, NULL, server ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!client) {
		/* No memory: its message will not be seen. After connect it is tried again with each packet (adopt). */
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
		own(client);
	client->synchronised[SENT] = client->synchronised[RECEIVED] = false;
}

static __always_inline void address_ipv4(struct bpf_sock_addr *ctx, bool sends)
{
	eu_ip ip;

	eu_map_ipv4(&ip, ctx->user_ip4);
	address(ctx, &ip, sends);
}

static __always_inline void address_ipv6(struct bpf_sock_addr *ctx, bool sends)
{
	eu_ip ip;
	__u32 *words = (__u32 *)ip.bytes;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	address(ctx, &ip, sends);
}

EU_CGROUP_PROGRAM("cgroup/connect4", dns_connect4, struct bpf_sock_addr)
{
	address_ipv4(ctx, false);
}

EU_CGROUP_PROGRAM("cgroup/connect6", dns_connect6, struct bpf_sock_addr)
{
	address_ipv6(ctx, false);
}

EU_CGROUP_PROGRAM("cgroup/sendmsg4", dns_sendmsg4, struct bpf_sock_addr)
{
	address_ipv4(ctx, true);
}

EU_CGROUP_PROGRAM("cgroup/sendmsg6", dns_sendmsg6, struct bpf_sock_addr)
{
	address_ipv6(ctx, true);
}

/* ---- Messages ---- */

/* A message of a packet, and the packet. */
struct seen {
	struct __sk_buff *skb;
	struct client *client;
	__u64 socket; /* its cookie */
	struct eu_packet packet;
	__u32 at;      /* where the message begins */
	__u32 there;   /* bytes of it that the packet has */
	__u32 length;  /* of the message */
	__u32 payload; /* where that of the packet begins */
	__u32 bytes;   /* of that */
	union {
		__u32 part;     /* of UDP: the bytes of each datagram */
		__u32 sequence; /* of TCP: that of the first byte */
	};
	eu_ip server; /* as the process addressed it, with its port */
	__be16 port;
	__u16 local_port;
	enum dns_protocol protocol;
	__u8 direction;
	bool serves; /* the local port is a server's: the socket may be a server's, which speaks to another server */
};

/* Is a message one of a process that is wanted? */
static __always_inline bool is_wanted(struct seen *m)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct query_key key = { .socket = m->socket };
	__be16 id = 0;

	if (m->direction == RECEIVED) {
		if (m->client->wanted)
			return true;
		if (m->there >= sizeof(id) && bpf_skb_load_bytes(m->skb, m->at, &id, sizeof(id)))
			return false;
		key.id = bpf_ntohs(id);
		return bpf_map_lookup_elem(&dns_queries, &key);
	}
	if (m->protocol == DNS_PROTOCOL_TCP) /* softirq sends, too */
		return m->client->wanted;
	return !(task->flags & PF_KTHREAD) && eu_uring_wanted(task);
}

static __always_inline void fill_asker(struct seen *m, struct dns_event *event)
{
	if (m->protocol == DNS_PROTOCOL_TCP)
		event->header = m->client->header;
	else
		eu_uring_fill(&event->header, bpf_get_current_task_btf());
}

/* The query that a response is to, for its header and latency; false: nobody's that is wanted. */
static __always_inline bool read_query(struct seen *m, struct dns_event *event, struct query_key *key, __u64 now)
{
	struct eu_header *query = bpf_map_lookup_elem(&dns_queries, key);

	if (!query) { /* of before the session, answered already, never asked, or forgotten */
		event->header = m->client->header;
		return m->client->owned && m->client->wanted;
	}
	event->header = *query;
	event->latency_ns = now - query->boot_ns;
	bpf_map_delete_elem(&dns_queries, key);
	return true;
}

static __always_inline bool passes(struct dns_event *event)
{
	return eu_passes(operation, event->operation) && eu_passes(question_type, event->question_type) &&
	       eu_passes(rcode, event->rcode) && eu_passes(latency_ns, event->latency_ns) &&
	       eu_passes(server_port, event->server_port) &&
	       eu_passes_address(server_address, &event->server_address, false);
}

static __always_inline void fill(struct seen *m, struct dns_event *event, const struct eu_dns_message *message)
{
	bool whole = message->there >= EU_DNS_HEADER;
	bool response = m->direction == RECEIVED;

	event->message_bytes = m->length;
	event->local_address = response ? m->packet.target : m->packet.source;
	event->server_address = m->server;
	event->local_port = m->local_port;
	event->server_port = bpf_ntohs(m->port);
	event->protocol = m->protocol;
	event->ip_version = m->packet.version;
	event->message_id = whole ? message->id + 1 : 0;
	event->opcode = whole ? (message->flags >> 11 & 15) + 1 : 0;
	event->rcode = whole && response ? (message->flags & 15) + 1 : 0;
	event->authoritative = message->flags & EU_DNS_AUTHORITATIVE;
	event->truncated = message->flags & EU_DNS_TRUNCATED;
	event->questions = whole ? message->questions + 1 : 0;
	event->answer_count = whole && response ? message->answers + 1 : 0;
	event->question_type = event->question_class = 0;
	event->name = 0;
	/* What a server sends is a response, and what is sent to it is none. */
	event->malformed = !whole || !(message->flags & EU_DNS_RESPONSE) == response;
}

/* Not inlined: the verifier then checks it once per place that calls it, of which there are two. */
static __attribute__((noinline)) int take(struct seen *m)
{
	struct eu_dns_message message = {};
	struct query_key key = { .socket = m->socket };
	bool response = m->direction == RECEIVED;
	__u64 now = bpf_ktime_get_boot_ns();
	struct dns_event *event;
	struct eu_claimed *area;
	__u32 size = sizeof(*event);

	if (!is_wanted(m)) /* before an area is claimed: where there is none, the message counts as lost */
		return 0;
	area = eu_claim(dns);
	if (!area)
		return 0;
	event = (void *)area->record;
	event->latency_ns = EU_NO_DURATION;
	eu_dns_read_header(&message, m->skb, m->at, m->there, area);
	key.id = message.id;
	/* A server's response to another server, and the query before it. */
	if (m->serves && message.there >= EU_DNS_HEADER && !(message.flags & EU_DNS_RESPONSE) == response)
		goto out;
	if (!response)
		fill_asker(m, event);
	else if (!read_query(m, event, &key, now))
		goto out;
	event->header.boot_ns = now;
	event->operation = response ? DNS_OPERATION_RESPONSE : DNS_OPERATION_QUERY;
	fill(m, event, &message);
	if (!response && !event->malformed)
		bpf_map_update_elem(&dns_queries, &key, &event->header, BPF_ANY);
	if (operations && !(operations & (1U << (event->operation & 31))))
		goto out;
	if (message.questions && eu_dns_read_question(&message, area, &size)) {
		event->name = message.name;
		event->question_type = message.type + 1;
		event->question_class = message.class + 1;
	} else if (message.questions) {
		event->malformed = true;
	}
	if (eu_where && (!passes(event) || !eu_passes_text(name, (struct eu_area *)area, event->name)))
		goto out;
	event->answers = 0;
	if (response && eu_captures(DNS_CAPTURE_ANSWERS))
		event->answers = eu_dns_put(&message, area, &size);
	eu_output_claimed(area, size);
out:
	eu_release(area);
	return 0;
}

/*
 * Takes a byte of the next message's length, or the message, from a segment; ends bpf_loop when there is no more. `next` may be behind the
 * segment, when that is sent again, or before it, when one is missing that will come.
 */
static long take_next(__u32 i, struct seen *m)
{
	__u32 direction = m->direction & 1, next = m->client->next[direction], due = m->client->due[direction];
	__u32 skip = next - m->sequence;
	__u8 byte;

	if (skip >= m->bytes)
		return 1;
	if (!due || due & HALF_DUE) {
		if (bpf_skb_load_bytes(m->skb, m->payload + skip, &byte, sizeof(byte)))
			return 1;
		m->client->due[direction] = due ? (due & 0xff00) | byte : HALF_DUE | byte << 8;
		m->client->next[direction] = next + 1;
		return 0;
	}
	m->client->next[direction] = next + due;
	m->client->due[direction] = 0;
	m->at = m->payload + skip;
	m->length = due;
	m->there = m->bytes - skip < due ? m->bytes - skip : due;
	take(m);
	return 0;
}

static __always_inline void take_segment(struct seen *m)
{
	struct eu_tcp_header tcp;
	__u32 direction = m->direction & 1, header;

	if (bpf_skb_load_bytes(m->skb, m->packet.at, &tcp, sizeof(tcp)))
		return;
	header = (tcp.offset >> 4) * 4;
	m->payload = m->packet.at + header;
	if (m->payload > m->skb->len)
		return;
	m->bytes = m->skb->len - m->payload;
	m->sequence = bpf_ntohl(tcp.sequence);
	m->protocol = DNS_PROTOCOL_TCP;
	if (tcp.flags & EU_TCP_SYN)
		m->sequence++;
	if (!m->client->synchronised[direction] && (tcp.flags & EU_TCP_SYN || m->bytes)) {
		/*
		 * A connection of before the session: what begins a segment begins a message, mostly. A SYN later on is another's, who would
		 * have the rest of the stream missed: the kernel drops it.
		 */
		m->client->next[direction] = m->sequence;
		m->client->due[direction] = 0;
		m->client->synchronised[direction] = true;
	}
	if (!m->bytes)
		return;
	bpf_loop(STEPS_MAX, take_next, m, 0);
	/* More messages than that: what follows in the segment is not looked at (one lost event), and the next one begins anew. */
	if (m->client->next[direction] - m->sequence < m->bytes) {
		m->client->synchronised[direction] = false;
		if (m->client->wanted)
			eu_count(true);
	}
}

/* One of several datagrams that were sent as one (UDP_SEGMENT), or received so (UDP_GRO). */
static long take_part(__u32 i, struct seen *m)
{
	__u32 from = i * m->part;

	if (from >= m->bytes)
		return 1;
	m->at = m->payload + from;
	m->length = m->there = m->bytes - from < m->part ? m->bytes - from : m->part;
	take(m);
	return 0;
}

static __always_inline void take_datagram(struct seen *m)
{
	m->payload = m->packet.at + sizeof(struct eu_udp_header);
	if (m->payload > m->skb->len)
		return;
	m->bytes = m->skb->len - m->payload;
	m->part = m->skb->gso_size ?: m->bytes;
	m->protocol = DNS_PROTOCOL_UDP;
	if (m->part)
		bpf_loop(DATAGRAMS_MAX, take_part, m, 0);
}

/* include/linux/tcp.h: a process holds the lock of the socket, which softirq leaves alone then. */
static __always_inline bool is_locked_by_process(struct bpf_sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return tcp && BPF_CORE_READ((struct sock *)tcp, sk_lock.owned);
}

/* A socket that was connected before the session. */
static __always_inline struct client *adopt(struct bpf_sock *sk)
{
	struct client *client;

	if (!is_server_port(sk->dst_port) || (sk->protocol == IPPROTO_TCP && !is_locked_by_process(sk)))
		return NULL;
	if (bpf_get_current_task_btf()->flags & PF_KTHREAD)
		return NULL;
	client = bpf_sk_storage_get(&dns_clients, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (client)
		own(client);
	else if (eu_wanted())
		eu_count(true);
	return client;
}

/* How a packet's server is known. */
enum server { NO_SERVER, SERVER_SAID, SERVER_CONNECTED, SERVER_OF_PACKET };

/*
 * NAT may have changed a packet's port, so that it tells little. What sendmsg said may be of another packet: of one that was never sent
 * (MSG_PROBE), or of another thread's. So it does not hide a query, unless the packet's port is the one that was said.
 */
static __always_inline enum server server_of(struct client *client, struct bpf_sock *sk, __be16 port, __be16 peer)
{
	__u8 addressed = client->addressed;

	if (sk->protocol == IPPROTO_TCP)
		return SERVER_CONNECTED;
	client->addressed = NOT_SAID;
	if (addressed == TO_SERVER)
		return SERVER_SAID;
	if (addressed == TO_OTHER && port == client->other)
		return NO_SERVER;
	if (is_server_port(peer))
		return SERVER_CONNECTED;
	if (is_server_port(port))
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

static __always_inline void read_peer(struct bpf_sock *sk, eu_ip *peer)
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

static __always_inline bool is_same(const eu_ip *a, const eu_ip *b)
{
	const __u64 *left = (const __u64 *)a->bytes, *right = (const __u64 *)b->bytes;

	return left[0] == right[0] && left[1] == right[1];
}

/* The server that a packet is sent to, as the process addressed it; false: none. */
static __always_inline bool find_server(struct seen *m, struct bpf_sock *sk, __be16 port)
{
	__be16 peer_port = LOAD(sk->dst_port);
	enum server server = server_of(m->client, sk, port, peer_port);

	if (server == NO_SERVER)
		return false;
	m->server = m->packet.target;
	m->port = port;
	if (server == SERVER_OF_PACKET)
		return true;
	if (peer_port) {
		eu_ip peer __attribute__((aligned(8)));

		read_peer(sk, &peer);
		/* A packet to the peer itself is not to somebody else whom sendmsg said. */
		if (server == SERVER_CONNECTED || (port == peer_port && is_same(&peer, &m->packet.target))) {
			m->server = peer;
			m->port = peer_port;
			return true;
		}
	}
	if (eu_is_unspecified(&m->client->server))
		return true; /* the kernel took a loopback address */
	m->server = m->client->server;
	m->port = LOAD(m->client->port);
	return true;
}

/* The packet's socket, where it may be one that speaks to a server. Most packets of other sockets end here. */
static __always_inline struct bpf_sock *possible_client(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk || (sk->protocol != IPPROTO_UDP && (sk->protocol != IPPROTO_TCP || !is_server_port(sk->dst_port))))
		return NULL;
	return sk->family == AF_INET || sk->family == AF_INET6 ? sk : NULL;
}

static __always_inline void take_packet(struct __sk_buff *skb, struct bpf_sock *sk, struct client *client,
					__u8 direction)
{
	struct seen m = { .skb = skb, .client = client, .direction = direction };
	__u32 protocol = sk->protocol;
	__be16 ends[2];

	if (!eu_read_packet(skb, &m.packet) || m.packet.protocol != protocol ||
	    bpf_skb_load_bytes(skb, m.packet.at, ends, sizeof(ends)))
		return;
	if (direction == RECEIVED) {
		if (!is_server_port(ends[0]))
			return;
		m.server = m.packet.source;
		m.port = ends[0];
	} else if (!find_server(&m, sk, ends[1])) {
		return;
	}
	m.socket = bpf_get_socket_cookie(skb);
	m.local_port = sk->src_port;
	m.serves = is_server_port(bpf_htons(m.local_port));
	if (protocol == IPPROTO_TCP)
		take_segment(&m);
	else
		take_datagram(&m);
}

EU_CGROUP_PROGRAM("cgroup_skb/egress", dns_egress, struct __sk_buff)
{
	struct bpf_sock *sk = possible_client(ctx);
	struct client *client;

	if (!sk)
		return;
	client = bpf_sk_storage_get(&dns_clients, sk, NULL, 0);
	if (!client)
		client = adopt(sk);
	if (client)
		take_packet(ctx, sk, client, SENT);
}

EU_CGROUP_PROGRAM("cgroup_skb/ingress", dns_ingress, struct __sk_buff)
{
	struct bpf_sock *sk = possible_client(ctx);
	struct client *client = sk ? bpf_sk_storage_get(&dns_clients, sk, NULL, 0) : NULL;

	if (client)
		take_packet(ctx, sk, client, RECEIVED);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
