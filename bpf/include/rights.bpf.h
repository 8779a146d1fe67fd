/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Descriptors that messages carry (SCM_RIGHTS): one step of a bpf_loop after the other, over messages, their control data, descriptors. */
#ifndef EUNOMIA_RIGHTS_BPF_H
#define EUNOMIA_RIGHTS_BPF_H

#include "eunomia.bpf.h"

/* include/linux/socket.h, and the kernel's own limits: net/socket.c (messages), include/net/scm.h (descriptors) */
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define EU_MESSAGES_MAX 1024
#define EU_RIGHTS_MAX 253
/* What one call can hold up its CPU for: a call may carry more, of empty control messages by the million. */
#define EU_RIGHTS_STEPS (1 << 17)

/* struct msghdr, of 64 and of 32 bits */
struct eu_msghdr {
	__u64 name;
	__u32 name_length;
	__u32 padding;
	__u64 vector;
	__u64 vector_length;
	__u64 control;
	__u64 control_length;
	__u32 flags;
	__u32 padding_after;
};
struct eu_msghdr_narrow {
	__u32 name, name_length, vector, vector_length, control, control_length, flags;
};
struct eu_cmsghdr {
	__u64 length;
	__s32 level;
	__s32 type;
};
struct eu_cmsghdr_narrow {
	__u32 length;
	__s32 level;
	__s32 type;
};

struct eu_rights;
/* What the tracker does with a descriptor. */
static __always_inline void on_right(const struct eu_rights *rights, __s32 descriptor);

struct eu_rights {
	__u64 message;  /* the next struct msghdr, or mmsghdr */
	__u32 messages; /* that are left */
	bool narrow;
	bool many; /* of sendmmsg and recvmmsg */
	__u8 use;  /* the tracker's own */
	__u8 reserved;
	__u64 control; /* the next control message, and how many bytes are left */
	__u64 left;
	__u64 descriptor; /* the next one, and how many are left */
	__u32 descriptors;
	__u32 count; /* in this message */
	__u64 socket;
	__u64 header; /* the tracker's own */
	__s64 ret;
	__u64 flags; /* of the call */
};

/*
 * In a map, of whose values the verifier follows no states: on the stack they would be too many. Programs of tasks do not interrupt each
 * other.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eu_rights);
} eu_rights_of_cpu SEC(".maps");

/* Whether it has any control data: nearly no message does. */
static __always_inline bool eu_read_msghdr(struct eu_rights *r)
{
	if (r->narrow) {
		struct eu_msghdr_narrow h;

		if (bpf_probe_read_user(&h, sizeof(h), (void *)r->message))
			return false;
		r->control = h.control;
		r->left = h.control_length;
	} else {
		struct eu_msghdr h;

		if (bpf_probe_read_user(&h, sizeof(h), (void *)r->message))
			return false;
		r->control = h.control;
		r->left = h.control_length;
	}
	return r->control && r->left;
}

static __always_inline void eu_next_control(struct eu_rights *r)
{
	__u64 length, header = r->narrow ? sizeof(struct eu_cmsghdr_narrow) : sizeof(struct eu_cmsghdr);
	struct eu_cmsghdr h = {};

	if (r->narrow) {
		struct eu_cmsghdr_narrow n;

		if (r->left < header || bpf_probe_read_user(&n, sizeof(n), (void *)r->control)) {
			r->left = 0;
			return;
		}
		h.length = n.length;
		h.level = n.level;
		h.type = n.type;
	} else if (r->left < header || bpf_probe_read_user(&h, sizeof(h), (void *)r->control)) {
		r->left = 0;
		return;
	}
	if (h.length < header || h.length > r->left) { /* as CMSG_OK has it */
		r->left = 0;
		return;
	}
	if (h.level == SOL_SOCKET && h.type == SCM_RIGHTS) {
		r->descriptor = r->control + header;
		r->descriptors = (h.length - header) / sizeof(__s32);
		if (r->descriptors > EU_RIGHTS_MAX)
			r->descriptors = EU_RIGHTS_MAX;
		r->count = r->descriptors;
	}
	length = r->narrow ? (h.length + 3) & ~3ULL : (h.length + 7) & ~7ULL;
	r->control += length;
	r->left = length < r->left ? r->left - length : 0;
}

/* A loop takes an address of the stack alone. */
struct eu_rights_at {
	struct eu_rights *rights;
};

static long eu_rights_step(__u32 i, struct eu_rights_at *at)
{
	struct eu_rights *r = at->rights;
	__s32 descriptor;

	if (r->descriptors) {
		bool readable = !bpf_probe_read_user(&descriptor, sizeof(descriptor), (void *)r->descriptor);

		r->descriptors--;
		r->descriptor += sizeof(descriptor);
		if (readable)
			on_right(r, descriptor);
		return 0;
	}
	if (r->left) {
		eu_next_control(r);
		return 0;
	}
	if (!r->messages)
		return 1;
	r->messages--;
	if (!eu_read_msghdr(r))
		r->left = 0;
	r->message += r->narrow ? sizeof(struct eu_msghdr_narrow) : sizeof(struct eu_msghdr);
	if (r->many) /* the number of bytes that were sent follows */
		r->message += r->narrow ? 4 : 8;
	return 0;
}

/*
 * Calls on_right for each descriptor of the messages. False where the call carries more than EU_RIGHTS_STEPS allow for: not all were seen.
 */
static __always_inline bool eu_each_right(const struct eu_rights *rights)
{
	__u32 key = 0;
	struct eu_rights_at at = { .rights = bpf_map_lookup_elem(&eu_rights_of_cpu, &key) };

	if (!at.rights)
		return false;
	*at.rights = *rights;
	bpf_loop(EU_RIGHTS_STEPS, eu_rights_step, &at, 0);
	return !at.rights->descriptors && !at.rights->left && !at.rights->messages;
}

#endif
