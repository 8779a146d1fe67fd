/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * sni: one event for each ClientHello that a process sends over TCP, on whatever port: the first message of TLS, which is not encrypted.
 *
 * A process writes it in one piece, which is one packet here: segmentation comes later.
 */
#include "eunomia.bpf.h"
#include "areas.bpf.h"
#include "cgroup.bpf.h"
#include "packet.bpf.h"
#include "sock.bpf.h"
#include "uring.bpf.h"

struct sni_event {
	struct eu_header header;
	eu_ip local_address;
	eu_ip remote_address;
	__u16 local_port;
	__u16 remote_port;
	__u32 hello_bytes;
	__u8 ip_version;
	bool malformed;
	__u8 reserved[2];
	eu_str name;
	eu_bytes ja4; /* the message's beginning, from which this and more is made; captured on demand */
};
EU_EVENT(sni);

enum sni_capture {
	SNI_CAPTURE_JA4,
};
EU_CAPTURES(sni);

EU_AREAS(sni);

EU_WHERE_NUMBER(remote_port);
EU_WHERE_ADDRESS(remote_address);
EU_WHERE_TEXT(name);

const volatile bool named_only = false; /* option: only messages with a name, or whose name cannot be read */

#define RECORD_HEADER 5 /* of TLS: type, version, length (RFC 8446, 5.1) */
#define HELLO_HEADER 4  /* type, length */
#define RECORD_HANDSHAKE 22
#define CLIENT_HELLO 1
#define RANDOM_END (HELLO_HEADER + 2 + 32)
#define SERVER_NAME 0
#define HOST_NAME 0
#define EXTENSIONS_MAX (EU_AREA_INPUT_MAX / 4) /* so many have room: of type and length alone */
#define NAME_MAX 255

/* In the area's `state`: where in the input. */
struct walk {
	__u32 at;
	__u32 end;
	__u32 to; /* in the record */
	__u32 found;
};

static __always_inline __u32 byte_at(const struct eu_claimed *area, __u32 at)
{
	return area->input[at & (EU_AREA_INPUT_MAX - 1)];
}

static __always_inline __u32 number_at(const struct eu_claimed *area, __u32 at)
{
	return byte_at(area, at) << 8 | byte_at(area, at + 1);
}

/* One extension: its type, its length, and what it says. Ends at the server's name. */
static long next_extension(__u32 i, struct eu_claimed **claimed)
{
	struct eu_claimed *area = *claimed;
	struct walk *walk = (void *)area->state;
	__u32 at = walk->at;

	if (at + 4 > walk->end)
		return 1;
	if (number_at(area, at) == SERVER_NAME) {
		walk->found = at + 4;
		return 1;
	}
	walk->at = at + 4 + number_at(area, at + 2);
	return 0;
}

/* In lower case, since names of hosts compare so. */
static long next_character(__u32 i, struct eu_claimed **claimed)
{
	struct eu_claimed *area = *claimed;
	struct walk *walk = (void *)area->state;
	__u8 byte;

	if (walk->at >= walk->end)
		return 1;
	byte = byte_at(area, walk->at);
	if (byte <= ' ' || byte > '~') { /* no name of a host; a NUL would end it for filters, and for nobody else */
		walk->found = 0;
		return 1;
	}
	if (byte >= 'A' && byte <= 'Z')
		byte += 'a' - 'A';
	area->record[walk->to & (EU_AREA_RECORD_MAX - 1)] = byte;
	walk->at++;
	walk->to++;
	return 0;
}

/*
 * Appends the name of the server at *size. The input's first `there` bytes are of the hello, and maybe of what follows it. False if the
 * name cannot be read: a hello that has none is read to its end, else one could hide a name in what is not.
 */
static __always_inline bool read_name(struct eu_claimed *area, __u32 there, struct sni_event *event, __u32 *size)
{
	struct walk *walk = (void *)area->state;
	__u32 at = RANDOM_END, length;
	bool cut;

	if (there > event->hello_bytes)
		there = event->hello_bytes;
	at += 1 + byte_at(area, at);   /* the session's id */
	at += 2 + number_at(area, at); /* cipher suites */
	if (at >= there)
		return false;
	at += 1 + byte_at(area, at); /* ways of compression */
	if (at == there)
		return there == event->hello_bytes; /* before TLS 1.2 there need be no extensions */
	if (at + 2 > there)
		return false;
	*walk = (struct walk){ .at = at + 2, .end = at + 2 + number_at(area, at) };
	cut = walk->end > there;
	if (cut)
		walk->end = there;
	bpf_loop(EXTENSIONS_MAX, next_extension, &area, 0);
	at = walk->found;
	if (!at)
		return !cut && walk->at == walk->end;
	/* A list of names, of which there is one: its length, the kind, the name's length. */
	if (at + 5 > there || byte_at(area, at + 2) != HOST_NAME)
		return false;
	length = number_at(area, at + 3);
	if (!length || length > NAME_MAX || at + 5 + length > there)
		return false;
	*walk = (struct walk){ .at = at + 5, .end = at + 5 + length, .to = *size, .found = at };
	bpf_loop(NAME_MAX, next_character, &area, 0);
	if (!walk->found)
		return false;
	event->name = eu_text(*size, length);
	*size += length;
	return true;
}

static __always_inline void take(struct __sk_buff *skb, const struct eu_packet *packet, const struct eu_tcp_header *tcp,
				 __u32 at, __u32 record)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u16 local = bpf_ntohs(tcp->source), remote = bpf_ntohs(tcp->target);
	__u32 there = skb->len - at, size = sizeof(struct sni_event);
	struct eu_claimed *area;
	struct sni_event *event;

	if (eu_where && (!eu_passes(remote_port, remote) || !eu_passes_address(remote_address, &packet->target, false)))
		return;
	/* A worker of MPTCP or of a sockmap sends what another process wrote, also with the socket's lock. */
	if (task->flags & PF_KTHREAD || !eu_uring_wanted(task))
		return;
	area = eu_claim(sni);
	if (!area)
		return;
	event = (void *)area->record;
	if (there > EU_AREA_INPUT_MAX)
		there = EU_AREA_INPUT_MAX;
	if (!there || bpf_skb_load_bytes(skb, at, area->input, there))
		goto out;
	eu_uring_fill(&event->header, task);
	event->local_address = packet->source;
	event->remote_address = packet->target;
	event->local_port = local;
	event->remote_port = remote;
	event->ip_version = packet->version;
	event->reserved[0] = event->reserved[1] = 0;
	event->hello_bytes = HELLO_HEADER + (byte_at(area, 1) << 16 | number_at(area, 2));
	event->name = event->ja4 = 0;
	/* What goes on in another record has that one's header in between. */
	event->malformed = record < event->hello_bytes || !read_name(area, there, event, &size);
	if (named_only && !event->name && !event->malformed)
		goto out;
	if (eu_where && !eu_passes_text(name, (struct eu_area *)area, event->name))
		goto out;
	if (eu_captures(SNI_CAPTURE_JA4)) {
		__u32 offset = size & (EU_AREA_RECORD_MAX / 2 - 1);

		if (there <= EU_AREA_INPUT_MAX && !bpf_probe_read_kernel(area->record + offset, there, area->input)) {
			event->ja4 = eu_text(offset, there);
			size = offset + there;
		}
	}
	eu_output_claimed(area, size);
out:
	eu_release(area);
}

/*
 * Is this the first time that the segment is sent, and by the process, which holds the lock of its socket? Then it is the process that
 * writes; segments are sent again by timers and in softirq, where the current task is a stranger.
 */
static __always_inline bool is_written(struct bpf_sock *sk, __u32 sequence)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return tcp && BPF_CORE_READ((struct sock *)tcp, sk_lock.owned) && BPF_CORE_READ(tcp, snd_nxt) == sequence;
}

EU_CGROUP_PROGRAM("cgroup_skb/egress", sni_egress, struct __sk_buff)
{
	struct bpf_sock *sk = ctx->sk;
	struct eu_packet packet;
	struct eu_tcp_header tcp;
	__u8 start[RECORD_HEADER + 1];
	__u32 at;

	if (!sk || ctx->len < sizeof(struct eu_ipv4_header) + sizeof(tcp) + RECORD_HEADER + RANDOM_END)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP || (sk->family != AF_INET && sk->family != AF_INET6))
		return;
	if (!eu_read_packet(ctx, &packet) || packet.protocol != IPPROTO_TCP ||
	    bpf_skb_load_bytes(ctx, packet.at, &tcp, sizeof(tcp)))
		return;
	at = packet.at + (tcp.offset >> 4) * 4;
	if (bpf_skb_load_bytes(ctx, at, start, sizeof(start)))
		return;
	if (start[0] != RECORD_HANDSHAKE || start[1] != 3 || start[RECORD_HEADER] != CLIENT_HELLO)
		return;
	at += RECORD_HEADER;
	if (at + RANDOM_END >= ctx->len || !is_written(sk, bpf_ntohl(tcp.sequence)))
		return;
	take(ctx, &packet, &tcp, at, start[3] << 8 | start[4]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
