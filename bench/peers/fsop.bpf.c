/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Calls that change names, ownership, permissions, sizes or extended attributes of files, when they end. */
#include "peer.bpf.h"

#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200

enum operation {
	UNLINK = 1,
	RMDIR,
	RENAME,
	LINK,
	SYMLINK,
	MKDIR,
	MKNOD,
	CHMOD,
	CHOWN,
	TRUNCATE,
	SETXATTR,
	REMOVEXATTR,
};

struct record {
	struct facts facts;
	__s32 error;
	__u32 operation, flags, mode, device, owner, group;
	__s64 length;
	char path[TEXT], new_path[TEXT], attribute[TEXT];
	struct path_text directory, new_directory; /* where relative paths start */
	struct path_text resolved;                 /* of a descriptor */
};
RECORD(record);

struct call {
	const void *path, *new_path, *attribute;
	__s64 length;
	__s32 directory, new_directory, descriptor;
	__u32 operation, flags, mode, device, owner, group;
};

/* Which of the calls it is, and what it was passed. */
static __always_inline bool read_call(struct pt_regs *regs, struct call *call)
{
	call->path = (void *)ARG1(regs);
	call->directory = call->new_directory = AT_FDCWD;
	call->descriptor = -1;
	call->owner = call->group = ~0U;
	switch (NR(regs)) {
#ifdef __NR_unlink
	case __NR_unlink: call->operation = UNLINK; return true;
	case __NR_rmdir: call->operation = RMDIR; return true;
	case __NR_rename:
		call->operation = RENAME;
		call->new_path = (void *)ARG2(regs);
		return true;
	case __NR_link:
		call->operation = LINK;
		call->new_path = (void *)ARG2(regs);
		return true;
	case __NR_symlink:
		call->operation = SYMLINK;
		call->new_path = (void *)ARG2(regs);
		return true;
	case __NR_mkdir:
		call->operation = MKDIR;
		call->mode = ARG2(regs);
		return true;
	case __NR_mknod:
		call->operation = MKNOD;
		call->mode = ARG2(regs);
		call->device = ARG3(regs);
		return true;
	case __NR_chmod:
		call->operation = CHMOD;
		call->mode = ARG2(regs);
		return true;
	case __NR_lchown: call->flags = AT_SYMLINK_NOFOLLOW; /* fallthrough */
	case __NR_chown:
		call->operation = CHOWN;
		call->owner = ARG2(regs);
		call->group = ARG3(regs);
		return true;
#endif
	case __NR_unlinkat:
		call->operation = ARG3(regs) & AT_REMOVEDIR ? RMDIR : UNLINK;
		call->directory = ARG1(regs);
		call->path = (void *)ARG2(regs);
		call->flags = ARG3(regs);
		return true;
#ifdef __NR_renameat
	case __NR_renameat:
#endif
	case __NR_renameat2:
		call->operation = RENAME;
		call->directory = ARG1(regs);
		call->path = (void *)ARG2(regs);
		call->new_directory = ARG3(regs);
		call->new_path = (void *)ARG4(regs);
		if (NR(regs) == __NR_renameat2)
			call->flags = ARG5(regs);
		return true;
	case __NR_linkat:
		call->operation = LINK;
		call->directory = ARG1(regs);
		call->path = (void *)ARG2(regs);
		call->new_directory = ARG3(regs);
		call->new_path = (void *)ARG4(regs);
		call->flags = ARG5(regs);
		return true;
	case __NR_symlinkat:
		call->operation = SYMLINK;
		call->new_directory = ARG2(regs);
		call->new_path = (void *)ARG3(regs);
		return true;
	case __NR_mkdirat:
		call->operation = MKDIR;
		call->directory = ARG1(regs);
		call->path = (void *)ARG2(regs);
		call->mode = ARG3(regs);
		return true;
	case __NR_mknodat:
		call->operation = MKNOD;
		call->directory = ARG1(regs);
		call->path = (void *)ARG2(regs);
		call->mode = ARG3(regs);
		call->device = ARG4(regs);
		return true;
	case __NR_fchmod:
		call->operation = CHMOD;
		call->path = NULL;
		call->descriptor = ARG1(regs);
		call->mode = ARG2(regs);
		return true;
	case __NR_fchmodat:
		call->operation = CHMOD;
		call->directory = ARG1(regs);
		call->path = (void *)ARG2(regs);
		call->mode = ARG3(regs);
		return true;
	case __NR_fchown:
		call->operation = CHOWN;
		call->path = NULL;
		call->descriptor = ARG1(regs);
		call->owner = ARG2(regs);
		call->group = ARG3(regs);
		return true;
	case __NR_fchownat:
		call->operation = CHOWN;
		call->directory = ARG1(regs);
		call->path = (void *)ARG2(regs);
		call->owner = ARG3(regs);
		call->group = ARG4(regs);
		call->flags = ARG5(regs);
		return true;
	case __NR_truncate:
		call->operation = TRUNCATE;
		call->length = ARG2(regs);
		return true;
	case __NR_ftruncate:
		call->operation = TRUNCATE;
		call->path = NULL;
		call->descriptor = ARG1(regs);
		call->length = ARG2(regs);
		return true;
	case __NR_lsetxattr:
	case __NR_setxattr:
		call->operation = SETXATTR;
		call->attribute = (void *)ARG2(regs);
		call->flags = ARG5(regs);
		return true;
	case __NR_fsetxattr:
		call->operation = SETXATTR;
		call->path = NULL;
		call->descriptor = ARG1(regs);
		call->attribute = (void *)ARG2(regs);
		call->flags = ARG5(regs);
		return true;
	case __NR_lremovexattr:
	case __NR_removexattr:
		call->operation = REMOVEXATTR;
		call->attribute = (void *)ARG2(regs);
		return true;
	case __NR_fremovexattr:
		call->operation = REMOVEXATTR;
		call->path = NULL;
		call->descriptor = ARG1(regs);
		call->attribute = (void *)ARG2(regs);
		return true;
	}
	return false;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(fsop_exit, struct pt_regs *regs, long ret)
{
	struct record *record;
	struct call call = {};

	if (!read_call(regs, &call) || !wanted())
		return 0;
	record = RESERVE(struct record);
	if (!record)
		return 0;
	fill(&record->facts);
	record->error = error_of(ret);
	record->operation = call.operation;
	record->flags = call.flags;
	record->mode = call.mode;
	record->device = call.device;
	record->owner = call.owner;
	record->group = call.group;
	record->length = call.length;
	record->path[0] = record->new_path[0] = record->attribute[0] = 0;
	no_path(&record->directory);
	no_path(&record->new_directory);
	no_path(&record->resolved);
	if (call.path) {
		read_text(record->path, call.path);
		if (call.operation != SYMLINK)
			put_directory(&record->directory, record->path, call.directory);
	} else {
		struct file *file = file_of(call.descriptor);

		if (file)
			put_path(&record->resolved, &file->f_path);
	}
	if (call.new_path) {
		read_text(record->new_path, call.new_path);
		put_directory(&record->new_directory, record->new_path, call.new_directory);
	}
	if (call.attribute)
		read_text(record->attribute, call.attribute);
	SUBMIT(record);
	return 0;
}
