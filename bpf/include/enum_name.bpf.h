/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Names of values of the kernel's own enums, as its BTF has them: numbers of what the kernel adds to in its middle, as reasons for drops,
 * are others in each version. The record has the name, so that a recording is read alike on any machine.
 */
#ifndef EUNOMIA_ENUM_NAME_BPF_H
#define EUNOMIA_ENUM_NAME_BPF_H

#include "eunomia.bpf.h"

#define EU_ENUM_NAME_LEN 64

/* include/uapi/linux/bpf.h */
struct btf_ptr {
	void *ptr;
	__u32 type_id;
	__u32 flags;
};
#define EU_BTF_PLAIN (1ULL << 0 | 1ULL << 1 | 1ULL << 3) /* BTF_F_COMPACT, NONAME, ZERO: nothing but the name */

/*
 * Writes the name without its prefix; a number of which the enum has no name is written as a number. `text` is an array of
 * EU_ENUM_NAME_LEN characters, empty where this kernel has no such enum.
 */
static __always_inline void eu_enum_name(char *text, __u32 type_id, __u32 value, const char *prefix,
					 __u32 prefix_length)
{
	struct btf_ptr what = { .ptr = &value, .type_id = type_id };
	char whole[EU_ENUM_NAME_LEN + 16] = {};

	__builtin_memset(text, 0, EU_ENUM_NAME_LEN);
	if (!type_id || bpf_snprintf_btf(whole, sizeof(whole), &what, sizeof(what), EU_BTF_PLAIN) <= 0)
		return;
	bpf_probe_read_kernel_str(text, EU_ENUM_NAME_LEN,
				  whole + (bpf_strncmp(whole, prefix_length, prefix) ? 0 : prefix_length));
}

#endif
