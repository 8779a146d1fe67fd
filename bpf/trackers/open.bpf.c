/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * open: one event for each open, openat, openat2, creat and open_by_handle_at, at its end, so that
 * the outcome is known, and for each of io_uring's.
 */
#include "eunomia.bpf.h"
#include "compat.bpf.h"
#include "open_call.bpf.h"
#include "stack.bpf.h"

enum open_capture {
	OPEN_CAPTURE_PATH,
	OPEN_CAPTURE_RESOLVED,
	OPEN_CAPTURE_RESOLVED_STATE,
	OPEN_CAPTURE_DIRECTORY,
	OPEN_CAPTURE_STACK,
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
	eu_stack stack;   /* of an open that was refused; null of io_uring's */
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
	event->path = event->resolved = event->directory = event->stack = 0;
}

/* Whether a text is captured or filtered by: the record is then built in scratch memory. */
static __always_inline bool has_text(long ret)
{
	__u64 of_opened = 1ULL << OPEN_CAPTURE_RESOLVED | 1ULL << OPEN_CAPTURE_RESOLVED_STATE;
	__u64 of_failed = 1ULL << OPEN_CAPTURE_DIRECTORY | 1ULL << OPEN_CAPTURE_STACK;
	__u64 texts = 1ULL << OPEN_CAPTURE_PATH | (ret < 0 ? of_failed : of_opened);

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
	ret = open_result(ret);
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
	if (ret < 0 && eu_captures(OPEN_CAPTURE_DIRECTORY) &&
	    (args.resolve & RESOLVE_IN_ROOT || eu_is_relative(area, event->path, args.path)))
		event->directory = eu_put_directory(area, &size, args.directory);
	if (eu_captures(OPEN_CAPTURE_STACK) && eu_is_refusal(ret))
		event->stack = eu_put_stack(area, &size, regs);
	eu_output(area, size);
	return 0;
}

/* ---- io_uring ---- */

static __always_inline bool request_passes(const struct open_args *args)
{
	if (writes_only && !(args->flags & (O_ACCMODE | O_CREAT | O_TRUNC)))
		return false;
	return !eu_where || eu_passes_bits(flags, args->flags);
}

#include "open_uring.bpf.h"

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
		event->directory = eu_put_directory(area, &size, request->args.directory);
	eu_output(area, size);
	return 0;
}

EU_URING_SUBMIT(open, submitted)
EU_URING_COMPLETE(open, may_open, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
