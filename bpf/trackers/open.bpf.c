/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * open: one event for each open, openat, openat2, creat and open_by_handle_at, at its end, so that
 * the outcome is known, and for each of io_uring's.
 */
#include "eunomia.bpf.h"
#include "compat.bpf.h"
#include "file.bpf.h"
#include "path.bpf.h"
#include "uring.bpf.h"

enum open_capture {
	OPEN_CAPTURE_PATH,
	OPEN_CAPTURE_RESOLVED,
	OPEN_CAPTURE_RESOLVED_STATE,
	OPEN_CAPTURE_DIRECTORY,
};

struct open_event {
	struct eu_header header;
	eu_errno errno;
	__s32 fd;      /* -1 when the open failed */
	__u64 flags;   /* O_* as passed, all 64 bits of openat2's; or UNKNOWN_FLAGS */
	__u64 resolve; /* RESOLVE_* of openat2 */
	__u32 mode;    /* as passed, where the flags may create a file; else 0 */
	bool how;      /* openat2's struct open_how was read: `resolve` is known */
	enum eu_path_state resolved_state;
	bool deleted; /* known where resolved_state is */
	__u8 reserved;
	eu_str path; /* as the caller passed it, read when the call ends; null of open_by_handle_at, which takes a handle */
	eu_str resolved;  /* of the file that was opened; null when the open failed */
	eu_str directory; /* where a relative `path` starts, of an open that failed */
};
EU_EVENT(open);
EU_CAPTURES(open);

EU_SCRATCH(open);

EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(fd);
EU_WHERE_BITS(flags);
EU_WHERE_TEXT(path);
EU_WHERE_TEXT(resolved);

const volatile bool failed_only = false; /* option: only opens that failed */
const volatile bool writes_only = false; /* option: only O_WRONLY, O_RDWR, O_CREAT and O_TRUNC */

/* include/uapi/asm-generic/fcntl.h; the same on x86 and arm64 */
#define O_ACCMODE 3
#define O_WRONLY 1
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_TMPFILE_BIT 020000000

#if defined(__TARGET_ARCH_arm64)
#define O_LARGEFILE_BIT 0400000ULL
#else
#define O_LARGEFILE_BIT 0100000ULL
#endif

/* include/linux/errno.h: the kernel's own "will be restarted, or end as EINTR" */
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516
#define EINTR 4

/* The flags of an openat2 whose struct open_how could not be read. */
#define UNKNOWN_FLAGS (~0ULL)

struct open_args {
	const char *path; /* NULL: the call takes none */
	__u64 flags;
	__u64 resolve;
	__u32 mode;
	__s32 directory; /* a descriptor, or AT_FDCWD */
	bool how;
};

/* include/uapi/linux/openat2.h: struct open_how, which user space passes */
struct passed_how {
	__u64 flags;
	__u64 mode;
	__u64 resolve;
};
#define RESOLVE_IN_ROOT 0x10 /* an absolute path starts at the directory too */

static __always_inline bool read_args(struct pt_regs *regs, long nr, struct open_args *args)
{
	struct passed_how how = {};
	struct eu_call call;

	args->directory = AT_FDCWD;
	args->resolve = 0;
	args->how = false;
	eu_read_call(regs, nr, &call);
	if (call.nr == EU_NR_openat) {
		args->directory = call.args[0];
		args->path = (void *)call.args[1];
		args->flags = (__u32)call.args[2];
		args->mode = call.args[3];
	} else if (call.nr == EU_NR_openat2) {
		args->directory = call.args[0];
		args->path = (void *)call.args[1];
		args->how = !bpf_probe_read_user(&how, sizeof(how), (void *)call.args[2]);
		args->flags = args->how ? eu_load(how.flags) : UNKNOWN_FLAGS;
		args->mode = eu_load(how.mode);
		args->resolve = eu_load(how.resolve);
	} else if (call.nr == EU_NR_open) {
		args->path = (void *)call.args[0];
		args->flags = (__u32)call.args[1];
		args->mode = call.args[2];
	} else if (call.nr == EU_NR_creat) {
		args->path = (void *)call.args[0];
		args->flags = O_CREAT | O_WRONLY | O_TRUNC;
		args->mode = call.args[1];
	} else if (call.nr == EU_NR_open_by_handle_at) {
		args->path = NULL;
		args->flags = (__u32)call.args[2];
		args->mode = 0;
	} else {
		return false;
	}
	if (!(args->flags & (O_CREAT | O_TMPFILE_BIT)))
		args->mode = 0;
	return true;
}

static __always_inline void fill_call(struct open_event *event, const struct open_args *args, long ret)
{
	event->errno = ret < 0 ? ret : 0;
	event->fd = ret < 0 ? -1 : ret;
	event->flags = args->flags;
	event->resolve = args->resolve;
	event->mode = args->mode;
	event->how = args->how;
	event->resolved_state = 0;
	event->deleted = false;
	event->reserved = 0;
	event->path = event->resolved = event->directory = 0;
}

/* Whether a text is captured or filtered by: the record is then built in scratch memory. */
static __always_inline bool has_text(long ret)
{
	__u64 of_opened = 1ULL << OPEN_CAPTURE_RESOLVED | 1ULL << OPEN_CAPTURE_RESOLVED_STATE;
	__u64 texts = 1ULL << OPEN_CAPTURE_PATH | (ret < 0 ? 1ULL << OPEN_CAPTURE_DIRECTORY : of_opened);

	return eu_control.capture & texts || (eu_where && (eu_where_path || eu_where_resolved));
}

static __always_inline void fill_open(struct open_event *event, const struct open_args *args, long ret)
{
	eu_fill(&event->header);
	fill_call(event, args, ret);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(open_exit, struct pt_regs *regs, long ret)
{
	long nr = eu_syscall_nr(regs);
	struct open_args args;
	struct open_event *event;
	struct eu_area *area;
	__u32 size = sizeof(*event);

	if (!eu_may_open(nr))
		return 0;
	if (failed_only && ret >= 0)
		return 0;
	if (!read_args(regs, nr, &args) || !eu_wanted())
		return 0;
	if (writes_only && !(args.flags & (O_ACCMODE | O_CREAT | O_TRUNC)))
		return 0;
	if (ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK)
		ret = -EINTR;
	if (eu_where && (!eu_passes(errno, ret < 0 ? -ret : 0) || !eu_passes(fd, ret < 0 ? -1 : ret) ||
			 (args.flags != UNKNOWN_FLAGS && !eu_passes_bits(flags, args.flags))))
		return 0;

	if (!has_text(ret)) {
		event = eu_reserve(struct open_event);
		if (event) {
			fill_open(event, &args, ret);
			eu_submit(event);
		}
		return 0;
	}
	area = eu_scratch(open);
	if (!area)
		return 0;
	event = (void *)area;
	fill_open(event, &args, ret);
	if (eu_captures(OPEN_CAPTURE_PATH) && args.path)
		event->path = eu_put_user_str(area, &size, args.path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(path, area, event->path))
		return 0;
	if (ret >= 0 && (eu_captures(OPEN_CAPTURE_RESOLVED) || eu_captures(OPEN_CAPTURE_RESOLVED_STATE))) {
		struct file *file = eu_file(bpf_get_current_task_btf(), ret);
		struct eu_path resolved = eu_put_path(area, &size, &file->f_path, eu_captures(OPEN_CAPTURE_RESOLVED));

		event->resolved = resolved.text;
		event->resolved_state = resolved.state;
		event->deleted = resolved.deleted;
	}
	if (eu_where && !eu_passes_text(resolved, area, event->resolved))
		return 0;
	if (ret < 0 && eu_captures(OPEN_CAPTURE_DIRECTORY))
		event->directory =
			eu_put_directory(area, &size, args.directory, args.path, args.resolve & RESOLVE_IN_ROOT);
	eu_output(area, size);
	return 0;
}

/* ---- io_uring ---- */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct open_how {
	__u64 flags, mode, resolve;
};
struct io_open {
	int dfd;
	u32 file_slot; /* of a direct descriptor: its place in the ring's table + 1, or IORING_FILE_INDEX_ALLOC; else 0 */
	struct filename *filename;
	struct open_how how;
};
#pragma clang attribute pop

struct open_request {
	struct eu_uring_request request;
	struct eu_header header; /* of who submitted it */
	struct open_args args;   /* `path` is no address here: not NULL where there is a text */
	__u32 slot;
	__u8 reserved[4];
	char text[EU_PATH_MAX];
};
EU_URING_REQUESTS(open, 4096);

EU_SCRATCH(uring);

/* The file that a request has opened, or NULL. */
static __always_inline struct file *opened_file(struct task_struct *task, const struct open_request *request, long ret)
{
	if (!request->slot)
		return eu_file(task, ret);
	return eu_uring_file((void *)request->request.key.ring,
			     request->slot == IORING_FILE_INDEX_ALLOC ? ret : request->slot - 1);
}

/* Not static: the verifier then checks it once per program. `ret` is EU_URING_UNTOLD of an open that the kernel will not tell of. */
__attribute__((noinline)) int report_request(const struct open_request *request, long ret)
{
	struct eu_area *area;
	struct open_event *event;
	__u32 size = sizeof(*event);
	struct task_struct *task;
	bool has_fd, at_home, relative;

	if (!request || (failed_only && (ret >= 0 || ret == EU_URING_UNTOLD)))
		return 0;
	has_fd = ret >= 0 && !request->slot;
	if (eu_where &&
	    (!eu_passes(errno, ret < 0 && ret != EU_URING_UNTOLD ? -ret : 0) || !eu_passes(fd, has_fd ? ret : -1)))
		return 0;
	area = eu_scratch(uring);
	if (!area)
		return 0;
	event = (void *)area;
	event->header = request->header;
	event->header.boot_ns = bpf_ktime_get_boot_ns();
	fill_call(event, &request->args, ret == EU_URING_UNTOLD ? 0 : ret);
	if (!has_fd)
		event->fd = -1;
	if (eu_captures(OPEN_CAPTURE_PATH) && request->args.path)
		event->path = eu_put_kernel_str(area, &size, request->text, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(path, area, event->path))
		return 0;
	task = bpf_get_current_task_btf();
	at_home = task->tgid ==
		  request->header.pid; /* else its process has ended, and a kernel thread does the ring's last work */
	if (at_home && ret >= 0 && (eu_captures(OPEN_CAPTURE_RESOLVED) || eu_captures(OPEN_CAPTURE_RESOLVED_STATE))) {
		struct file *file = opened_file(task, request, ret);

		if (file) {
			struct eu_path resolved =
				eu_put_path(area, &size, &file->f_path, eu_captures(OPEN_CAPTURE_RESOLVED));

			event->resolved = resolved.text;
			event->resolved_state = resolved.state;
			event->deleted = resolved.deleted;
		}
	}
	if (eu_where && !eu_passes_text(resolved, area, event->resolved))
		return 0;
	relative = request->args.path && (request->text[0] != '/' || request->args.resolve & RESOLVE_IN_ROOT);
	if (at_home && ret < 0 && ret != EU_URING_UNTOLD && relative && eu_captures(OPEN_CAPTURE_DIRECTORY))
		event->directory = eu_put_directory(area, &size, request->args.directory, NULL, true);
	eu_output(area, size);
	return 0;
}

static __always_inline bool may_open(u8 opcode)
{
	return opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2;
}

static __always_inline void request_ended(void *request, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	report_request(request, res);
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct io_open *open = eu_uring_cmd(req);
	struct task_struct *task = bpf_get_current_task_btf();
	struct open_request *request;
	u8 opcode = req->opcode;

	if (!may_open(opcode))
		return;
	eu_uring_replace(&open_requests, req, request_ended);
	if (!eu_uring_wanted(task))
		return;
	request = (void *)eu_scratch(uring);
	if (!request)
		return;
	eu_uring_remember(&request->request, req);
	request->args.flags = BPF_CORE_READ(open, how.flags);
	if (opcode == IORING_OP_OPENAT)
		request->args.flags &= ~O_LARGEFILE_BIT; /* the kernel adds it */
	request->args.directory = BPF_CORE_READ(open, dfd);
	request->args.resolve = BPF_CORE_READ(open, how.resolve);
	request->args.how = opcode == IORING_OP_OPENAT2;
	request->args.mode = BPF_CORE_READ(open, how.mode);
	request->args.path = NULL;
	request->slot = BPF_CORE_READ(open, file_slot);
	__builtin_memset(request->reserved, 0, sizeof(request->reserved));
	if (!(request->args.flags & (O_CREAT | O_TMPFILE_BIT)))
		request->args.mode = 0;
	if (writes_only && !(request->args.flags & (O_ACCMODE | O_CREAT | O_TRUNC)))
		return;
	if (eu_where && !eu_passes_bits(flags, request->args.flags))
		return;
	eu_uring_fill(&request->header, task);
	/* A kernel that keeps it otherwise has no text here, and no error. */
	if (bpf_core_field_exists(struct io_open, filename)) {
		const char *name = BPF_CORE_READ(open, filename, name);

		if (bpf_probe_read_kernel_str(request->text, EU_PATH_MAX, name) > 0)
			request->args.path = (void *)1;
	}
	eu_uring_keep(&open_requests, req, &request->request, request_ended);
}

EU_URING_SUBMIT(open, submitted)
EU_URING_COMPLETE(open, may_open, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
