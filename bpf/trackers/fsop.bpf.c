/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * fsop: one event for each call that changes names, ownership, permissions, sizes or extended attributes of files, when it ends, and for each
 * such request of io_uring.
 *
 * No tracepoint passes a dentry for these. So paths are reported as they were passed, with the directory where each starts; what goes by a
 * descriptor is reported by the descriptor's own path.
 */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "file.bpf.h"
#include "path.bpf.h"
#include "uring.bpf.h"

enum fsop_capture {
	FSOP_CAPTURE_PATH,
	FSOP_CAPTURE_DIRECTORY,
	FSOP_CAPTURE_NEW_PATH,
	FSOP_CAPTURE_NEW_DIRECTORY,
	FSOP_CAPTURE_RESOLVED,
	FSOP_CAPTURE_RESOLVED_STATE,
	FSOP_CAPTURE_ATTRIBUTE,
};

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

struct fsop_event {
	struct eu_header header;
	eu_errno errno;
	enum fsop_operation operation;
	enum eu_path_state resolved_state;
	__u8 reserved[2];
	__u32 flags;  /* as passed: their names depend on the operation */
	__u32 mode;   /* of MKDIR, MKNOD and CHMOD */
	__u32 device; /* of MKNOD, as passed */
	__u32 owner;  /* of CHOWN; ~0: unchanged */
	__u32 group;
	__s64 length; /* of TRUNCATE, in bytes */
	eu_str path;
	eu_str directory; /* where a relative `path` starts */
	eu_str new_path;  /* of RENAME, LINK, SYMLINK */
	eu_str new_directory;
	eu_str resolved;  /* of a descriptor */
	eu_str attribute; /* of SETXATTR and REMOVEXATTR */
};
EU_EVENT(fsop);
EU_CAPTURES(fsop);

EU_SCRATCH(fsop);

EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(operation);
EU_WHERE_TEXT(path);
EU_WHERE_TEXT(new_path);

const volatile bool failed_only = false; /* option: only calls that fail */
const volatile __u32 operations = 0;     /* option: bits 1 << operation; 0 is all */

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

/* 16-bit ids: the kernel's low2highuid (include/linux/highuid.h) */
static __always_inline __u32 long_id(__u32 id, __u32 call)
{
	if (!(call & CALL_SHORT))
		return id;
	return (__u16)id == 0xffff ? ~0U : (__u16)id;
}

static __always_inline void read_call(__u32 call, bool narrow, unsigned long given[8], struct fsop_args *args)
{
	__u32 path = CALL_PATH(call), next = call & CALL_DESCRIPTOR ? 1 : path + 1;
	__u32 flags = CALL_FLAGS(call);

	__builtin_memset(args, 0, sizeof(*args));
	args->operation = CALL_OPERATION(call);
	args->directory = args->new_directory = AT_FDCWD;
	args->descriptor = -1;
	args->owner = args->group = ~0U;
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

static __always_inline void fill_args(struct fsop_event *event, const struct fsop_args *args, long ret)
{
	event->errno = ret < 0 ? ret : 0;
	event->operation = args->operation;
	event->resolved_state = 0;
	event->reserved[0] = event->reserved[1] = 0;
	event->flags = args->flags;
	event->mode = args->mode;
	event->device = args->device;
	event->owner = args->owner;
	event->group = args->group;
	event->length = args->length;
	event->path = event->directory = event->new_path = event->new_directory = 0;
	event->resolved = event->attribute = 0;
}

static __always_inline bool is_selected(__u32 operation)
{
	return (!operations || operations >> (operation & 31) & 1) && (!eu_where || eu_passes(operation, operation));
}

static __always_inline bool has_text(void)
{
	return eu_control.capture || (eu_where && (eu_where_path || eu_where_new_path));
}

static __always_inline void put_descriptor(struct eu_area *area, __u32 *size, struct file *file)
{
	struct fsop_event *event = (void *)area;
	struct eu_path resolved;

	if (!file || !(eu_captures(FSOP_CAPTURE_RESOLVED) || eu_captures(FSOP_CAPTURE_RESOLVED_STATE)))
		return;
	resolved = eu_put_path(area, size, &file->f_path, eu_captures(FSOP_CAPTURE_RESOLVED));
	event->resolved = resolved.text;
	event->resolved_state = resolved.state;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(fsop_exit, struct pt_regs *regs, long ret)
{
	struct eu_matched_call call = eu_match_call(eu_syscall_nr(regs));
	unsigned long given[8] = {};
	struct fsop_args args;
	struct fsop_event *event;
	struct eu_area *area;
	__u32 size = sizeof(*event);

	if (!call.value || (failed_only && ret >= 0))
		return 0;
	if (!eu_wanted())
		return 0;
	eu_read_args(regs, call.narrow, given);
	read_call(call.value, call.narrow, given, &args);
	ret = eu_user_ret(ret);
	if (!is_selected(args.operation) || (eu_where && !eu_passes(errno, ret < 0 ? -ret : 0)))
		return 0;
	if (!has_text()) {
		event = eu_reserve(struct fsop_event);
		if (event) {
			eu_fill(&event->header);
			fill_args(event, &args, ret);
			eu_submit(event);
		}
		return 0;
	}
	area = eu_scratch(fsop);
	if (!area)
		return 0;
	event = (void *)area;
	eu_fill(&event->header);
	fill_args(event, &args, ret);
	if (eu_captures(FSOP_CAPTURE_PATH) && args.path)
		event->path = eu_put_user_str(area, &size, args.path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(path, area, event->path))
		return 0;
	if (eu_captures(FSOP_CAPTURE_NEW_PATH) && args.new_path)
		event->new_path = eu_put_user_str(area, &size, args.new_path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(new_path, area, event->new_path))
		return 0;
	if (eu_captures(FSOP_CAPTURE_DIRECTORY) && args.path && args.operation != FSOP_OPERATION_SYMLINK)
		event->directory = eu_put_directory(area, &size, args.directory, args.path, false);
	if (eu_captures(FSOP_CAPTURE_NEW_DIRECTORY) && args.new_path)
		event->new_directory = eu_put_directory(area, &size, args.new_directory, args.new_path, false);
	if (!args.path)
		put_descriptor(area, &size, eu_file(bpf_get_current_task_btf(), args.descriptor));
	if (eu_captures(FSOP_CAPTURE_ATTRIBUTE) && args.attribute)
		event->attribute = eu_put_user_str(area, &size, args.attribute, EU_NAME_MAX);
	eu_output(area, size);
	return 0;
}

/* ---- io_uring ---- */

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

/* A request under way. The texts are the kernel's copies: nobody can change them any more. */
struct fsop_request {
	struct eu_uring_request request;
	struct eu_header header; /* of who submitted it */
	struct fsop_args args;   /* pointers are no addresses here: not NULL where there is a text */
	char attribute[EU_NAME_MAX];
	char path[EU_PATH_MAX];
	char new_path[EU_PATH_MAX];
};
EU_URING_REQUESTS(fsop, 4096);

EU_SCRATCH(uring);

static __always_inline bool may_change(u8 opcode)
{
	return (opcode >= IORING_OP_RENAMEAT && opcode <= IORING_OP_LINKAT) || opcode == IORING_OP_FSETXATTR ||
	       opcode == IORING_OP_SETXATTR || opcode == IORING_OP_FTRUNCATE;
}

static __always_inline eu_str put_base(struct eu_area *area, __u32 *size, __s32 descriptor, const char *text)
{
	return text[0] == '/' ? 0 : eu_put_directory(area, size, descriptor, NULL, true);
}

/*
 * Not static: verified once a program. `ret` is EU_URING_UNTOLD of a request whose result the kernel does not report; `file` is
 * the one that the request is about, or 0.
 */
__attribute__((noinline)) int report_request(const struct fsop_request *request, long ret, __u64 file)
{
	struct eu_area *area;
	struct fsop_event *event;
	__u32 size = sizeof(*event);
	bool failed, at_home;

	if (!request)
		return 0;
	failed = ret < 0 && ret != EU_URING_UNTOLD;
	if ((failed_only && !failed) || (eu_where && !eu_passes(errno, failed ? -ret : 0)))
		return 0;
	area = eu_scratch(uring);
	if (!area)
		return 0;
	event = (void *)area;
	event->header = request->header;
	event->header.boot_ns = bpf_ktime_get_boot_ns();
	fill_args(event, &request->args, failed ? ret : 0);
	if (eu_captures(FSOP_CAPTURE_PATH) && request->args.path)
		event->path = eu_put_kernel_str(area, &size, request->path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(path, area, event->path))
		return 0;
	if (eu_captures(FSOP_CAPTURE_NEW_PATH) && request->args.new_path)
		event->new_path = eu_put_kernel_str(area, &size, request->new_path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(new_path, area, event->new_path))
		return 0;
	/* Else its process has ended, and a kernel thread does the ring's last work. */
	at_home = bpf_get_current_task_btf()->tgid == request->header.pid;
	if (at_home && eu_captures(FSOP_CAPTURE_DIRECTORY) && request->args.path &&
	    request->args.operation != FSOP_OPERATION_SYMLINK)
		event->directory = put_base(area, &size, request->args.directory, request->path);
	if (at_home && eu_captures(FSOP_CAPTURE_NEW_DIRECTORY) && request->args.new_path)
		event->new_directory = put_base(area, &size, request->args.new_directory, request->new_path);
	if (!request->args.path)
		put_descriptor(area, &size, (struct file *)file);
	if (eu_captures(FSOP_CAPTURE_ATTRIBUTE) && request->args.attribute)
		event->attribute = eu_put_kernel_str(area, &size, request->attribute, EU_NAME_MAX);
	eu_output(area, size);
	return 0;
}

static __always_inline const char *copy_name(char *to, const char *name)
{
	return bpf_probe_read_kernel_str(to, EU_PATH_MAX, name) > 0 ? (void *)1 : NULL;
}

/* What the opcode's struct says. A kernel that keeps a text otherwise has none here, and no error. */
static __always_inline void read_request(struct io_kiocb *req, u8 opcode, struct fsop_request *request)
{
	struct fsop_args *args = &request->args;
	void *cmd = eu_uring_cmd(req);

	__builtin_memset(args, 0, sizeof(*args));
	args->directory = args->new_directory = AT_FDCWD;
	args->descriptor = -1;
	args->owner = args->group = ~0U;
	if (opcode == IORING_OP_RENAMEAT) {
		struct io_rename *rename = cmd;

		args->operation = FSOP_OPERATION_RENAME;
		args->directory = BPF_CORE_READ(rename, old_dfd);
		args->new_directory = BPF_CORE_READ(rename, new_dfd);
		args->flags = BPF_CORE_READ(rename, flags);
		if (bpf_core_field_exists(struct io_rename, oldpath)) {
			args->path = copy_name(request->path, BPF_CORE_READ(rename, oldpath, name));
			args->new_path = copy_name(request->new_path, BPF_CORE_READ(rename, newpath, name));
		}
	} else if (opcode == IORING_OP_UNLINKAT) {
		struct io_unlink *unlink = cmd;

		args->flags = BPF_CORE_READ(unlink, flags);
		args->operation = args->flags & AT_REMOVEDIR ? FSOP_OPERATION_RMDIR : FSOP_OPERATION_UNLINK;
		args->directory = BPF_CORE_READ(unlink, dfd);
		if (bpf_core_field_exists(struct io_unlink, filename))
			args->path = copy_name(request->path, BPF_CORE_READ(unlink, filename, name));
	} else if (opcode == IORING_OP_MKDIRAT) {
		struct io_mkdir *mkdir = cmd;

		args->operation = FSOP_OPERATION_MKDIR;
		args->directory = BPF_CORE_READ(mkdir, dfd);
		args->mode = BPF_CORE_READ(mkdir, mode);
		if (bpf_core_field_exists(struct io_mkdir, filename))
			args->path = copy_name(request->path, BPF_CORE_READ(mkdir, filename, name));
	} else if (opcode == IORING_OP_SYMLINKAT || opcode == IORING_OP_LINKAT) {
		struct io_link *link = cmd;

		args->operation = opcode == IORING_OP_LINKAT ? FSOP_OPERATION_LINK : FSOP_OPERATION_SYMLINK;
		args->new_directory = BPF_CORE_READ(link, new_dfd);
		if (opcode == IORING_OP_LINKAT) { /* the struct is not cleared: a symlink sets neither of these */
			args->directory = BPF_CORE_READ(link, old_dfd);
			args->flags = BPF_CORE_READ(link, flags);
		}
		if (bpf_core_field_exists(struct io_link, oldpath)) {
			args->path = copy_name(request->path, BPF_CORE_READ(link, oldpath, name));
			args->new_path = copy_name(request->new_path, BPF_CORE_READ(link, newpath, name));
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
			args->path = copy_name(request->path, BPF_CORE_READ(xattr, filename, name));
		if (bpf_core_field_exists(struct kernel_xattr_ctx, kname)) {
			const void *name = BPF_CORE_READ(xattr, ctx.kname);

			if (bpf_probe_read_kernel_str(request->attribute, EU_NAME_MAX, name) > 0)
				args->attribute = (void *)1;
		}
	}
}

static __always_inline void request_ended(void *request, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct file *file = NULL;

	if (why == EU_URING_SUBMITTED)
		file = eu_uring_submitted_file(req, bpf_get_current_task_btf());
	else if (why == EU_URING_COMPLETED)
		file = BPF_CORE_READ(req, file);
	report_request(request, res, (__u64)file);
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fsop_request *request;
	u8 opcode = req->opcode;

	if (!may_change(opcode))
		return;
	eu_uring_replace(&fsop_requests, req, request_ended);
	if (!eu_uring_wanted(task))
		return;
	request = (void *)eu_scratch(uring);
	if (!request)
		return;
	eu_uring_remember(&request->request, req);
	read_request(req, opcode, request);
	if (!is_selected(request->args.operation))
		return;
	eu_uring_fill(&request->header, task);
	eu_uring_keep(&fsop_requests, req, &request->request, request_ended);
}

EU_URING_SUBMIT(fsop, submitted)
EU_URING_COMPLETE(fsop, may_change, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
