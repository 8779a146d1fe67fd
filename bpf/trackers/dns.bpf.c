/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * dns: one event for each query that a process sends to a DNS server, and one for each response that it receives.
 *
 * A response arrives in softirq, over loopback in the process of the server, where the current task is a stranger: who asked is
 * remembered with the query.
 */
#include "eunomia.bpf.h"
#include "areas.bpf.h"
#include "cgroup.bpf.h"
#include "dns_client.bpf.h"
#include "dns_message.bpf.h"

enum dns_operation {
	DNS_OPERATION_QUERY = 1,
	DNS_OPERATION_RESPONSE,
} __attribute__((packed));

struct dns_event {
	struct eu_header header; /* of the process that asked */
	eu_duration_ns latency_ns;
	eu_ip local_address;
	eu_ip server_address; /* as the process addressed it */
	__u32 message_bytes;
	__u16 local_port;
	__u16 server_port;
	enum dns_operation dns_operation;
	__u8 protocol; /* IPPROTO_* */
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

const volatile __u32 operations = 0; /* option: bits 1 << operation; 0 is all */

#define STEPS_MAX (3 * 1024) /* three a message of a segment of TCP */
#define DATAGRAMS_MAX 128    /* include/linux/udp.h: UDP_MAX_SEGMENTS */

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

/* ---- What processes ask for ---- */

EU_CGROUP_PROGRAM("cgroup/connect4", dns_connect4, struct bpf_sock_addr)
{
	dns_address_ipv4(ctx, false);
}

EU_CGROUP_PROGRAM("cgroup/connect6", dns_connect6, struct bpf_sock_addr)
{
	dns_address_ipv6(ctx, false);
}

EU_CGROUP_PROGRAM("cgroup/sendmsg4", dns_sendmsg4, struct bpf_sock_addr)
{
	dns_address_ipv4(ctx, true);
}

EU_CGROUP_PROGRAM("cgroup/sendmsg6", dns_sendmsg6, struct bpf_sock_addr)
{
	dns_address_ipv6(ctx, true);
}

/* ---- Messages ---- */

/* A message of a packet, and the packet. */
struct seen {
	struct __sk_buff *skb;
	struct dns_client *client;
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
	struct dns_server server;
	__u16 local_port;
	__u8 protocol; /* IPPROTO_* */
	__u8 direction;
	bool serves; /* the local port is a server's: the socket may be a server's, which speaks to another server */
};

/* Can a packet have a message of a process that is wanted? Before it is read. */
static __always_inline bool may_be_wanted(struct bpf_sock *sk, struct dns_client *client, __u8 direction)
{
	struct task_struct *task;

	if (sk->protocol == IPPROTO_TCP) /* softirq sends, too */
		return client->wanted;
	if (direction == RECEIVED)
		return client->wanted || client->asked;
	task = bpf_get_current_task_btf();
	if (!(task->flags & PF_KTHREAD) && eu_uring_wanted(task))
		return true;
	client->addressed = NOT_SAID; /* it was said of this packet */
	client->shared = true;
	return false;
}

/* Is a message of such a packet one of a process that is wanted? */
static __always_inline bool is_wanted(struct seen *m)
{
	struct query_key key = { .socket = m->socket };
	__be16 id = 0;

	if (m->direction == SENT || m->client->wanted)
		return true;
	if (m->there >= sizeof(id) && bpf_skb_load_bytes(m->skb, m->at, &id, sizeof(id)))
		return false;
	key.id = bpf_ntohs(id);
	return bpf_map_lookup_elem(&dns_queries, &key);
}

static __always_inline void fill_asker(struct seen *m, struct dns_event *event)
{
	if (m->protocol == IPPROTO_TCP)
		event->header = m->client->header;
	else
		eu_uring_fill(&event->header, bpf_get_current_task_btf());
}

/* The query that a response is to, for its header and latency; false: nobody's that is wanted. */
static __always_inline bool read_query(struct seen *m, struct dns_event *event, struct query_key *key, __u64 now)
{
	struct eu_header *query = bpf_map_lookup_elem(&dns_queries, key);

	/* Of before the session, answered already, never asked, or forgotten; or asked by another process, who is not wanted. */
	if (!query) {
		event->header = m->client->header;
		return m->client->owned && m->client->wanted && !m->client->shared;
	}
	event->header = *query;
	event->latency_ns = eu_since(now, query->boot_ns);
	bpf_map_delete_elem(&dns_queries, key);
	return true;
}

static __always_inline bool passes(struct dns_event *event)
{
	return eu_passes(operation, event->dns_operation) && eu_passes(question_type, event->question_type) &&
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
	event->server_address = m->server.address;
	event->local_port = m->local_port;
	event->server_port = bpf_ntohs(m->server.port);
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
	event->dns_operation = response ? DNS_OPERATION_RESPONSE : DNS_OPERATION_QUERY;
	fill(m, event, &message);
	if (!response && !event->malformed) {
		m->client->asked = true;
		bpf_map_update_elem(&dns_queries, &key, &event->header, BPF_ANY);
	}
	if (operations && !(operations & (1U << (event->dns_operation & 31))))
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
	if (!due || due & DNS_HALF_DUE) {
		if (bpf_skb_load_bytes(m->skb, m->payload + skip, &byte, sizeof(byte)))
			return 1;
		m->client->due[direction] = due ? (due & 0xff00) | byte : DNS_HALF_DUE | byte << 8;
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
	m->protocol = IPPROTO_TCP;
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
	m->protocol = IPPROTO_UDP;
	if (m->part)
		bpf_loop(DATAGRAMS_MAX, take_part, m, 0);
}

/* The packet's socket, where it may be one that speaks to a server. Most packets of other sockets end here. */
static __always_inline struct bpf_sock *possible_client(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk || (sk->protocol != IPPROTO_UDP && (sk->protocol != IPPROTO_TCP || !dns_is_server_port(sk->dst_port))))
		return NULL;
	return sk->family == AF_INET || sk->family == AF_INET6 ? sk : NULL;
}

static __always_inline void take_packet(struct __sk_buff *skb, struct bpf_sock *sk, struct dns_client *client,
					__u8 direction)
{
	struct seen m = { .skb = skb, .client = client, .direction = direction };
	__u32 protocol = sk->protocol;
	__be16 ends[2];

	if (!eu_read_packet(skb, &m.packet) || m.packet.protocol != protocol ||
	    bpf_skb_load_bytes(skb, m.packet.at, ends, sizeof(ends)))
		return;
	if (direction == RECEIVED) {
		if (!dns_is_server_port(ends[0]))
			return;
		m.server = (struct dns_server){ m.packet.source, ends[0] };
	} else if (!dns_find_server(client, sk, &m.packet.target, ends[1], &m.server)) {
		return;
	}
	m.socket = bpf_get_socket_cookie(skb);
	m.local_port = sk->src_port;
	m.serves = dns_is_server_port(bpf_htons(m.local_port));
	if (protocol == IPPROTO_TCP)
		take_segment(&m);
	else
		take_datagram(&m);
}

EU_CGROUP_PROGRAM("cgroup_skb/egress", dns_egress, struct __sk_buff)
{
	struct bpf_sock *sk = possible_client(ctx);
	struct dns_client *client;

	if (!sk)
		return;
	client = bpf_sk_storage_get(&dns_clients, sk, NULL, 0);
	if (!client)
		client = dns_adopt(sk);
	if (client && may_be_wanted(sk, client, SENT))
		take_packet(ctx, sk, client, SENT);
}

EU_CGROUP_PROGRAM("cgroup_skb/ingress", dns_ingress, struct __sk_buff)
{
	struct bpf_sock *sk = possible_client(ctx);
	struct dns_client *client = sk ? bpf_sk_storage_get(&dns_clients, sk, NULL, 0) : NULL;

	if (client && may_be_wanted(sk, client, RECEIVED))
		take_packet(ctx, sk, client, RECEIVED);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
