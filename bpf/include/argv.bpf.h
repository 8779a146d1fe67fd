/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The arguments that a program was executed with, where the new program runs: its memory is that of the process, and there. */
#ifndef EUNOMIA_ARGV_BPF_H
#define EUNOMIA_ARGV_BPF_H

/* Puts argv behind what the area has, as it lies in memory: each with its NUL, up to `most` bytes (2^n - 1). */
static __always_inline eu_strs eu_put_argv(struct eu_area *area, __u32 *size, struct mm_struct *mm, __u32 most,
					   bool *truncated)
{
	unsigned long start = BPF_CORE_READ(mm, arg_start);
	unsigned long length = BPF_CORE_READ(mm, arg_end) - start;
	__u32 offset = *size & (EU_RECORD_MAX - 1);

	*truncated = length > most;
	if (length > most)
		length = most;
	length &= most;
	if (bpf_probe_read_user(area->bytes + offset, length, (void *)start)) {
		length = 0;
		*truncated = true;
	}
	*size = offset + length;
	return eu_text(offset, length);
}

#endif
