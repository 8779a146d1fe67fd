/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The header and first question of a DNS message (RFC 1035, 4.1), which anybody may have made to be misread. */
#ifndef EUNOMIA_DNS_MESSAGE_BPF_H
#define EUNOMIA_DNS_MESSAGE_BPF_H

#include "areas.bpf.h"
#include <bpf/bpf_endian.h>

#define EU_DNS_HEADER 12
#define EU_DNS_NAME_MAX 255 /* bytes of a name, with the lengths of its labels */
#define EU_DNS_LABEL_MAX 63
#define EU_DNS_RESPONSE 0x8000
#define EU_DNS_AUTHORITATIVE 0x0400
#define EU_DNS_TRUNCATED 0x0200

struct eu_dns_message {
	__u32 there; /* bytes of it in the area's input */
	__u16 id;
	__u16 flags;
	__u16 questions;
	__u16 answers;
	/* The first question */
	__u16 type;
	__u16 class;
	eu_str name;
};

static __always_inline __u16 eu_dns_u16(const struct eu_claimed *area, __u32 at)
{
	at &= EU_AREA_INPUT_MAX - 1;
	return area->input[at] << 8 | area->input[at + 1];
}

/* Copies the message's beginning into the area, and reads its header where it is whole. */
static __always_inline void eu_dns_read_header(struct eu_dns_message *message, struct __sk_buff *skb, __u32 at,
					       __u32 length, struct eu_claimed *area)
{
	if (length > EU_AREA_INPUT_MAX)
		length = EU_AREA_INPUT_MAX;
	if (!length || bpf_skb_load_bytes(skb, at, area->input, length))
		return;
	message->there = length;
	if (length < EU_DNS_HEADER)
		return;
	message->id = eu_dns_u16(area, 0);
	message->flags = eu_dns_u16(area, 2);
	message->questions = eu_dns_u16(area, 4);
	message->answers = eu_dns_u16(area, 6);
}

/* ---- Names ---- */

/* In the area's `state`. */
struct eu_dns_name {
	__u32 at;    /* in the input */
	__u32 there; /* the input's end */
	__u32 left;  /* of the label */
	__u32 to;    /* in the record */
	__u32 whole;
	__u32 labels;
};

static __always_inline void eu_dns_put_byte(struct eu_claimed *area, struct eu_dns_name *name, __u8 byte)
{
	area->record[name->to & (EU_AREA_RECORD_MAX - 1)] = byte;
	name->to++;
}

/* One byte of the name. In lower case, since names compare so (RFC 4343), and as dig writes it: "\.", "\\", "\032". */
static long eu_dns_step(__u32 i, struct eu_claimed **claimed)
{
	struct eu_claimed *area = *claimed;
	struct eu_dns_name *name = (void *)area->state;
	__u8 byte;

	if (name->at >= name->there)
		return 1;
	byte = area->input[name->at & (EU_AREA_INPUT_MAX - 1)];
	name->at++;
	if (!name->left) {
		name->whole = !byte;
		if (!byte ||
		    byte > EU_DNS_LABEL_MAX) /* its end; a pointer: there is no name before this one to point to */
			return 1;
		name->left = byte;
		if (name->labels++)
			eu_dns_put_byte(area, name, '.');
		return 0;
	}
	name->left--;
	if (byte >= 'A' && byte <= 'Z')
		byte += 'a' - 'A';
	if (byte <= ' ' || byte > '~') {
		eu_dns_put_byte(area, name, '\\');
		eu_dns_put_byte(area, name, '0' + byte / 100);
		eu_dns_put_byte(area, name, '0' + byte / 10 % 10);
		byte = '0' + byte % 10;
	} else if (byte == '.' || byte == '\\') {
		eu_dns_put_byte(area, name, '\\');
	}
	eu_dns_put_byte(area, name, byte);
	return 0;
}

/* Appends the first question's name at *size, and reads its type and class; false if it is not well-formed. */
static __always_inline bool eu_dns_read_question(struct eu_dns_message *message, struct eu_claimed *area, __u32 *size)
{
	struct eu_dns_name *name = (void *)area->state;

	*name = (struct eu_dns_name){ .at = EU_DNS_HEADER, .there = message->there, .to = *size };
	bpf_loop(EU_DNS_NAME_MAX, eu_dns_step, &area, 0);
	if (!name->whole || name->at + 4 > message->there)
		return false;
	if (!name->labels)
		eu_dns_put_byte(area, name, '.');
	message->name = eu_text(*size, name->to - *size);
	message->type = eu_dns_u16(area, name->at);
	message->class = eu_dns_u16(area, name->at + 2);
	*size = name->to;
	return true;
}

/* Appends the message at *size. */
static __always_inline eu_bytes eu_dns_put(const struct eu_dns_message *message, struct eu_claimed *area, __u32 *size)
{
	__u32 offset = *size & (EU_AREA_RECORD_MAX / 2 - 1);
	__u32 length = message->there;

	if (!length || length > EU_AREA_INPUT_MAX)
		return 0;
	if (bpf_probe_read_kernel(area->record + offset, length, area->input))
		return 0;
	*size = offset + length;
	return eu_text(offset, length);
}

#endif
