/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a system call, or a request of io_uring, asks to change: the arguments of all that the tracker fsop reports, in one form. */
#ifndef EUNOMIA_FSOP_ARGS_BPF_H
#define EUNOMIA_FSOP_ARGS_BPF_H

#include "path.bpf.h"
#include "uring.bpf.h"

enum fsop_operation {
	FSOP_OPERATION_UNLINK = 1,
	FSOP_OPERATION_RMDIR,
	FSOP_OPERATION_RENAME,
	FSOP_OPERATION_LINK,
	FSOP_OPERATION_SYMLINK,
	FSOP_OPERATION_MKDIR,
	FSOP_OPERATION_MKNOD,
	FSOP_OPERATION_CHMOD,
	FSOP_OPERATION_CHOWN,
	FSOP_OPERATION_TRUNCATE,
	FSOP_OPERATION_SETXATTR,
	FSOP_OPERATION_REMOVEXATTR,
} __attribute__((packed));

/* include/uapi/linux/fcntl.h */
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200

struct fsop_args {
	const char *path; /* NULL: the call takes none */
	const char *new_path;
	const char *attribute;
	__s64 length;
	__s32 directory; /* a descriptor, or AT_FDCWD */
	__s32 new_directory;
	__s32 descriptor; /* where there is no path */
	__u32 operation;
	__u32 flags;
	__u32 mode;
	__u32 device;
	__u32 owner;
	__u32 group;
};

static __always_inline void fsop_clear(struct fsop_args *args)
{
	__builtin_memset(args, 0, sizeof(*args));
	args->directory = args->new_directory = AT_FDCWD;
	args->descriptor = -1;
	args->owner = args->group = ~0U;
}

/* ---- Of a system call ---- */

/* What a call is, as src/trackers/fsop.ts has it for each name: its operation, and where its arguments are. */
#define CALL_OPERATION(c) ((c)&15)
#define CALL_PATH(c) ((c) >> 4 & 3)   /* the argument that is the path */
#define CALL_AT (1 << 6)              /* the one before is a directory's descriptor */
#define CALL_DESCRIPTOR (1 << 7)      /* no path: the first argument is a descriptor */
#define CALL_TWO (1 << 8)             /* a second path follows, */
#define CALL_TWO_AT (1 << 9)          /* behind a descriptor */
#define CALL_FLAGS(c) ((c) >> 10 & 7) /* the argument that has flags; 0: none */
#define CALL_NOFOLLOW (1 << 13)       /* the call itself says so */
#define CALL_WIDE (1 << 14)           /* the length has two arguments */
#define CALL_SHORT (1 << 15)          /* ids have 16 bits */

/* 16-bit ids: the kernel's low2highuid (include/linux/highuid.h) */
static __always_inline __u32 long_id(__u32 id, __u32 call)
{
	if (!(call & CALL_SHORT))
		return id;
	return (__u16)id == 0xffff ? ~0U : (__u16)id;
}

static __always_inline void fsop_read_call(__u32 call, bool narrow, unsigned long given[8], struct fsop_args *args)
{
	__u32 path = CALL_PATH(call), next = call & CALL_DESCRIPTOR ? 1 : path + 1;
	__u32 flags = CALL_FLAGS(call);

	fsop_clear(args);
	args->operation = CALL_OPERATION(call);
	if (call & CALL_DESCRIPTOR) {
		args->descriptor = given[0];
	} else {
		args->path = (void *)given[path & 7];
		if (call & CALL_AT)
			args->directory = given[(path - 1) & 7];
	}
	if (call & CALL_TWO_AT) {
		args->new_directory = given[(path + 1) & 7];
		args->new_path = (void *)given[(path + 2) & 7];
	} else if (call & CALL_TWO) {
		args->new_path = (void *)given[(path + 1) & 7];
	}
	if (flags)
		args->flags = given[flags & 7];
	if (call & CALL_NOFOLLOW)
		args->flags |= AT_SYMLINK_NOFOLLOW;
	switch (args->operation) {
	case FSOP_OPERATION_UNLINK:
		if (args->flags & AT_REMOVEDIR)
			args->operation = FSOP_OPERATION_RMDIR;
		break;
	case FSOP_OPERATION_MKNOD:
		args->device = given[(next + 1) & 7];
		/* fallthrough */
	case FSOP_OPERATION_MKDIR:
	case FSOP_OPERATION_CHMOD: args->mode = (__u16)given[next & 7]; break;
	case FSOP_OPERATION_CHOWN:
		args->owner = long_id(given[next & 7], call);
		args->group = long_id(given[(next + 1) & 7], call);
		break;
	case FSOP_OPERATION_TRUNCATE:
		if (call & CALL_WIDE)
			args->length = (__s64)((__u64)(__u32)given[(next + 1) & 7] << 32 | (__u32)given[next & 7]);
		else
			args->length = narrow ? (__s64)(__s32)given[next & 7] : (__s64)given[next & 7];
		break;
	case FSOP_OPERATION_SETXATTR:
	case FSOP_OPERATION_REMOVEXATTR:
		args->attribute =
			(void *)given[(flags == next ? next + 1 : next) & 7]; /* setxattrat: flags come first */
		break;
	}
}

/* ---- Of a request of io_uring ---- */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct io_rename {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
	int flags;
};
struct io_unlink {
	int dfd;
	int flags;
	struct filename *filename;
};
struct io_mkdir {
	int dfd;
	unsigned short mode;
	struct filename *filename;
};
struct io_link {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
	int flags;
};
struct io_ftrunc {
	__s64 len;
};
struct xattr_name {
	char name[256];
};
struct kernel_xattr_ctx {
	struct xattr_name *kname;
	unsigned int flags;
};
struct io_xattr {
	struct kernel_xattr_ctx ctx;
	struct filename *filename;
};
#pragma clang attribute pop

/* include/uapi/linux/io_uring.h */
#define IORING_OP_RENAMEAT 35
#define IORING_OP_UNLINKAT 36
#define IORING_OP_MKDIRAT 37
#define IORING_OP_SYMLINKAT 38
#define IORING_OP_LINKAT 39
#define IORING_OP_FSETXATTR 41
#define IORING_OP_SETXATTR 42
#define IORING_OP_FTRUNCATE 55

/* The kernel's copies: nobody can change them any more. */
struct fsop_texts {
	char attribute[EU_NAME_MAX];
	char path[EU_PATH_MAX];
	char new_path[EU_PATH_MAX];
};

static __always_inline bool fsop_may_change(u8 opcode)
{
	return (opcode >= IORING_OP_RENAMEAT && opcode <= IORING_OP_LINKAT) || opcode == IORING_OP_FSETXATTR ||
	       opcode == IORING_OP_SETXATTR || opcode == IORING_OP_FTRUNCATE;
}

static __always_inline const char *fsop_copy_name(char *to, const char *name)
{
	return bpf_probe_read_kernel_str(to, EU_PATH_MAX, name) > 0 ? (void *)1 : NULL;
}

/* What the opcode's struct says. A kernel that keeps a text otherwise has none here, and no error. */
static __always_inline void fsop_read_request(struct io_kiocb *req, u8 opcode, struct fsop_args *args,
					      struct fsop_texts *texts)
{
	void *cmd = eu_uring_cmd(req);

	fsop_clear(args);
	if (opcode == IORING_OP_RENAMEAT) {
		struct io_rename *rename = cmd;

		args->operation = FSOP_OPERATION_RENAME;
		args->directory = BPF_CORE_READ(rename, old_dfd);
		args->new_directory = BPF_CORE_READ(rename, new_dfd);
		args->flags = BPF_CORE_READ(rename, flags);
		if (bpf_core_field_exists(struct io_rename, oldpath)) {
			args->path = fsop_copy_name(texts->path, BPF_CORE_READ(rename, oldpath, name));
			args->new_path = fsop_copy_name(texts->new_path, BPF_CORE_READ(rename, newpath, name));
		}
	} else if (opcode == IORING_OP_UNLINKAT) {
		struct io_unlink *unlink = cmd;

		args->flags = BPF_CORE_READ(unlink, flags);
		args->operation = args->flags & AT_REMOVEDIR ? FSOP_OPERATION_RMDIR : FSOP_OPERATION_UNLINK;
		args->directory = BPF_CORE_READ(unlink, dfd);
		if (bpf_core_field_exists(struct io_unlink, filename))
			args->path = fsop_copy_name(texts->path, BPF_CORE_READ(unlink, filename, name));
	} else if (opcode == IORING_OP_MKDIRAT) {
		struct io_mkdir *mkdir = cmd;

		args->operation = FSOP_OPERATION_MKDIR;
		args->directory = BPF_CORE_READ(mkdir, dfd);
		args->mode = BPF_CORE_READ(mkdir, mode);
		if (bpf_core_field_exists(struct io_mkdir, filename))
			args->path = fsop_copy_name(texts->path, BPF_CORE_READ(mkdir, filename, name));
	} else if (opcode == IORING_OP_SYMLINKAT || opcode == IORING_OP_LINKAT) {
		struct io_link *link = cmd;

		args->operation = opcode == IORING_OP_LINKAT ? FSOP_OPERATION_LINK : FSOP_OPERATION_SYMLINK;
		args->new_directory = BPF_CORE_READ(link, new_dfd);
		if (opcode == IORING_OP_LINKAT) { /* the struct is not cleared: a symlink sets neither of these */
			args->directory = BPF_CORE_READ(link, old_dfd);
			args->flags = BPF_CORE_READ(link, flags);
		}
		if (bpf_core_field_exists(struct io_link, oldpath)) {
			args->path = fsop_copy_name(texts->path, BPF_CORE_READ(link, oldpath, name));
			args->new_path = fsop_copy_name(texts->new_path, BPF_CORE_READ(link, newpath, name));
		}
	} else if (opcode == IORING_OP_FTRUNCATE) {
		struct io_ftrunc *truncate = cmd;

		args->operation = FSOP_OPERATION_TRUNCATE;
		args->length = BPF_CORE_READ(truncate, len);
	} else {
		struct io_xattr *xattr = cmd;

		args->operation = FSOP_OPERATION_SETXATTR;
		args->flags = BPF_CORE_READ(xattr, ctx.flags);
		if (opcode == IORING_OP_SETXATTR && bpf_core_field_exists(struct io_xattr, filename))
			args->path = fsop_copy_name(texts->path, BPF_CORE_READ(xattr, filename, name));
		if (bpf_core_field_exists(struct kernel_xattr_ctx, kname)) {
			const void *name = BPF_CORE_READ(xattr, ctx.kname);

			if (bpf_probe_read_kernel_str(texts->attribute, EU_NAME_MAX, name) > 0)
				args->attribute = (void *)1;
		}
	}
}

#endif
