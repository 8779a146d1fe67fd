/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Names of Unix domain sockets, the same wherever they are shown. */
#ifndef EUNOMIA_UNIX_BPF_H
#define EUNOMIA_UNIX_BPF_H

#include "record.bpf.h"
#include "sock.bpf.h"

/* include/linux/socket.h, include/uapi/linux/un.h */
#define AF_UNIX 1
#define EU_UNIX_PATH_LEN 108

struct eu_unix_name {
	__u16 family;
	char path[EU_UNIX_PATH_LEN];
	char end; /* NUL: a path may fill the whole array */
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sockaddr_un {
	__u16 sun_family;
};
struct unix_address {
	int len; /* with the family */
	struct sockaddr_un name[];
};
struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};
#pragma clang attribute pop

struct eu_abstract_name {
	char *text;
	__u32 length;
	__u32 used; /* up to the last byte that is no NUL */
};

static long eu_show_nul(__u32 i, struct eu_abstract_name *name)
{
	__u32 at = (i + 1) & 127;

	if (at >= name->length || at >= EU_UNIX_PATH_LEN)
		return 1;
	if (name->text[at])
		name->used = at + 1;
	else
		name->text[at] = '@';
	return 0;
}

/*
 * Appends a name of `length` bytes. That of an abstract socket begins with NUL, which is written as "@", as others in it are; those at
 * its end, which are part of the name where a program passes the whole array, are left out.
 */
static __always_inline eu_str eu_put_unix_name(struct eu_area *area, __u32 *size, const struct eu_unix_name *name,
					       __u32 length, bool *abstract)
{
	__u32 offset = *size & (EU_RECORD_MAX - 1);
	char *text = (char *)area->bytes + offset;
	struct eu_abstract_name shown = { .text = text, .used = 1 };

	if (length <= sizeof(name->family) || length > sizeof(name->family) + EU_UNIX_PATH_LEN)
		return 0;
	*abstract = !name->path[0];
	if (!*abstract)
		return eu_put_kernel_str(area, size, name->path, EU_UNIX_PATH_LEN + 1);
	shown.length = length - sizeof(name->family);
	__builtin_memcpy(text, name->path, EU_UNIX_PATH_LEN);
	text[0] = '@';
	bpf_loop(EU_UNIX_PATH_LEN, eu_show_nul, &shown, 0);
	*size = offset + shown.used;
	return eu_text(offset, shown.used);
}

/* The name of a socket. */
static __always_inline eu_str eu_put_unix_bound(struct eu_area *area, __u32 *size, struct sock *sk, bool *abstract)
{
	struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sk, addr);
	__u32 length = BPF_CORE_READ(address, len);
	struct eu_unix_name name = {};

	if (!address || length > sizeof(name) - 1 ||
	    bpf_probe_read_kernel(&name, length, (void *)address + bpf_core_field_offset(struct unix_address, name)))
		return 0;
	return eu_put_unix_name(area, size, &name, length, abstract);
}

#endif
