/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * tcprtt: round-trip times of TCP connections by process and peer, with histograms.
 *
 * tcp_probe runs for each segment that an established connection receives, before the segment is looked at: the smoothed round-trip time is
 * that of the segments before. It is counted where it differs from the one at the segment before, so that it was measured in between; a
 * connection that receives much is not counted for each segment. What the last segments measure is seen when the connection's state
 * changes: of a server that responds and closes, that is the time of its response.
 */
#include "eunomia.bpf.h"
#include "aggregate.bpf.h"
#include "ends.bpf.h"
#include "owner.bpf.h"

struct tcprtt_event {
	struct eu_header header; /* of the owner of the connection that was seen first; boot_ns is of the reading */
	eu_ip remote_address;
	__u16 local_port;  /* of a connection that was accepted; else 0 */
	__u16 remote_port; /* of a connection that the process made; else 0 */
	__u8 ip_version;
	__u8 reserved[3];
	eu_total count;
	eu_total srtt_ns;
	eu_total deviation_ns;
	eu_log2 srtt_histogram_ns;
};

struct tcprtt_key {
	struct eu_aggregate_key process; /* `what`: both ports */
	eu_ip remote_address;
};
EU_AGGREGATES_BY(tcprtt, struct tcprtt_key);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct tcp_sock___rtt {
	u32 srtt_us; /* times 8 */
	u32 mdev_us; /* times 4 */
};
#pragma clang attribute pop

/* What was counted last of a connection. */
struct seen {
	__u32 srtt_us;
	__u32 mdev_us;
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct seen);
} tcprtt_seen SEC(".maps");

/* No run of a program interrupts another run of it on its CPU, and no two of these programs are of one connection at once. */
static __always_inline void add(struct tcprtt_event *total, const struct eu_ends *ends, const struct seen *now)
{
	__u64 ns = now->srtt_us * 125ULL;

	total->remote_address = ends->remote_address;
	total->local_port = ends->local_port;
	total->remote_port = ends->remote_port;
	total->ip_version = ends->ip_version;
	__sync_fetch_and_add(&total->count, 1);
	__sync_fetch_and_add(&total->srtt_ns, ns);
	__sync_fetch_and_add(&total->deviation_ns, now->mdev_us * 250ULL);
	__sync_fetch_and_add(&total->srtt_histogram_ns.slots[eu_log2_slot(ns)], 1);
}

static __always_inline void look(struct sock *sk)
{
	struct tcp_sock___rtt *tcp = (void *)bpf_skc_to_tcp_sock(sk);
	struct tcprtt_event *total;
	struct tcprtt_key key = {};
	struct seen now, *seen;
	struct eu_header header;
	struct eu_owner *owner;
	struct eu_ends ends;

	if (!tcp)
		return;
	now.srtt_us = tcp->srtt_us;
	now.mdev_us = tcp->mdev_us;
	if (!now.srtt_us)
		return;
	seen = eu_in_sock(&tcprtt_seen, sk);
	if (!seen || (seen->srtt_us == now.srtt_us && seen->mdev_us == now.mdev_us))
		return;
	*seen = now;
	owner = eu_owner_of(sk);
	if (!eu_fill_owner_of_sock(&header, owner, sk))
		return;
	eu_read_ends(&ends, sk);
	if (!owner || owner->side != EU_SIDE_ACCEPTED)
		ends.local_port = 0;
	if (!owner || owner->side != EU_SIDE_CONNECTED)
		ends.remote_port = 0;
	if (eu_where && (!eu_passes(local_port, ends.local_port) || !eu_passes(remote_port, ends.remote_port) ||
			 !eu_passes_address(remote_address, &ends.remote_address, false)))
		return;
	key.process = eu_aggregate_key_of(&header, (__u32)ends.local_port << 16 | ends.remote_port);
	key.remote_address = ends.remote_address;
	total = eu_aggregate_for(&key, &header);
	if (total) {
		add(total, &ends, &now);
		return;
	}
	total = eu_reserve(struct tcprtt_event);
	if (!total)
		return;
	bpf_probe_read_kernel(total, sizeof(*total), &eu_aggregate_zero);
	total->header = header;
	add(total, &ends, &now);
	eu_submit(total);
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(rtt_received, struct sock *sk)
{
	look(sk);
	return 0;
}

/* After the segment that changes it was looked at. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(rtt_state, struct sock *sk)
{
	look(sk);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
