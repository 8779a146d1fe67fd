/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Calls that change what is mounted where, when they end. */
#include "peer.bpf.h"

enum operation {
	MOUNT = 1,
	BIND,
	REMOUNT,
	MOVE,
	SET_PROPAGATION,
	ATTACH,
	SET_ATTRIBUTES,
	UNMOUNT,
	PIVOT_ROOT,
};

struct record {
	struct facts facts;
	__s32 error;
	__u32 operation, flags, attributes_known;
	__u64 attributes[3]; /* of mount_setattr: set, cleared, propagation */
	char source[TEXT], target[TEXT], fs_type[TEXT], options[TEXT];
	struct path_text source_directory, target_directory; /* where relative paths start */
};
RECORD(record);

SEC("tp_btf/sys_exit")
int BPF_PROG(mount_exit, struct pt_regs *regs, long ret)
{
	const void *source = NULL, *target = NULL, *fs_type = NULL, *options = NULL, *attributes = NULL;
	__s32 source_directory = AT_FDCWD, target_directory = AT_FDCWD;
	__u32 operation, flags = 0;
	struct record *record;

	switch (NR(regs)) {
	case __NR_mount:
		flags = ARG4(regs);
		operation = flags & 32         ? REMOUNT
			    : flags & 4096     ? BIND
			    : flags & 8192     ? MOVE
			    : flags & 0x1e0000 ? SET_PROPAGATION
					       : MOUNT;
		source = (void *)ARG1(regs);
		target = (void *)ARG2(regs);
		fs_type = (void *)ARG3(regs);
		options = (void *)ARG5(regs);
		break;
	case __NR_umount2:
		operation = UNMOUNT;
		target = (void *)ARG1(regs);
		flags = ARG2(regs);
		break;
	case __NR_pivot_root:
		operation = PIVOT_ROOT;
		source = (void *)ARG1(regs);
		target = (void *)ARG2(regs);
		break;
	case __NR_move_mount:
		operation = ATTACH;
		source_directory = ARG1(regs);
		source = (void *)ARG2(regs);
		target_directory = ARG3(regs);
		target = (void *)ARG4(regs);
		flags = ARG5(regs);
		break;
	case __NR_mount_setattr:
		operation = SET_ATTRIBUTES;
		target_directory = ARG1(regs);
		target = (void *)ARG2(regs);
		flags = ARG3(regs);
		attributes = (void *)ARG4(regs);
		break;
	default: return 0;
	}
	if (!wanted())
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	record->error = error_of(ret);
	record->operation = operation;
	record->flags = flags;
	record->attributes_known = 0;
	record->source[0] = record->target[0] = record->fs_type[0] = record->options[0] = 0;
	no_path(&record->source_directory);
	no_path(&record->target_directory);
	if (source) {
		read_text(record->source, source);
		put_directory(&record->source_directory, record->source, source_directory);
	}
	if (target) {
		read_text(record->target, target);
		put_directory(&record->target_directory, record->target, target_directory);
	}
	if (fs_type)
		read_text(record->fs_type, fs_type);
	if (options)
		read_text(record->options, options);
	if (attributes)
		record->attributes_known =
			!bpf_probe_read_user(record->attributes, sizeof(record->attributes), attributes);
	SUBMIT(record);
	return 0;
}
