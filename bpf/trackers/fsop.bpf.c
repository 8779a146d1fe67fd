/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * fsop: one event for each call that changes names, ownership, permissions, sizes or extended attributes of files,
 * when it ends, and for each such request of io_uring.
 *
 * No tracepoint passes a dentry for these. So paths are reported as they were passed, with the directory where each starts; what goes by a
 * descriptor is reported by the descriptor's own path.
 */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "file.bpf.h"
#include "fsop_args.bpf.h"
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

struct fsop_event {
	struct eu_header header;
	eu_errno errno;
	enum fsop_operation fsop_operation;
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

static __always_inline void fill_args(struct fsop_event *event, const struct fsop_args *args, long ret)
{
	event->errno = ret < 0 ? ret : 0;
	event->fsop_operation = args->operation;
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
	fsop_read_call(call.value, call.narrow, given, &args);
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
	if (eu_captures(FSOP_CAPTURE_DIRECTORY) && args.path && args.operation != FSOP_OPERATION_SYMLINK &&
	    eu_is_relative(area, event->path, args.path))
		event->directory = eu_put_directory(area, &size, args.directory);
	if (eu_captures(FSOP_CAPTURE_NEW_DIRECTORY) && args.new_path &&
	    eu_is_relative(area, event->new_path, args.new_path))
		event->new_directory = eu_put_directory(area, &size, args.new_directory);
	if (!args.path)
		put_descriptor(area, &size, eu_file(bpf_get_current_task_btf(), args.descriptor));
	if (eu_captures(FSOP_CAPTURE_ATTRIBUTE) && args.attribute)
		event->attribute = eu_put_user_str(area, &size, args.attribute, EU_NAME_MAX);
	eu_output(area, size);
	return 0;
}

/* ---- io_uring ---- */

struct fsop_request {
	struct eu_uring_request request;
	struct eu_header header; /* of who submitted it */
	struct fsop_args args;   /* pointers are no addresses here: not NULL where there is one of `texts` */
	struct fsop_texts texts;
};
EU_URING_REQUESTS(fsop, 4096);

EU_SCRATCH(uring);

static __always_inline eu_str put_base(struct eu_area *area, __u32 *size, __s32 descriptor, const char *text)
{
	return text[0] == '/' ? 0 : eu_put_directory(area, size, descriptor);
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
		event->path = eu_put_kernel_str(area, &size, request->texts.path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(path, area, event->path))
		return 0;
	if (eu_captures(FSOP_CAPTURE_NEW_PATH) && request->args.new_path)
		event->new_path = eu_put_kernel_str(area, &size, request->texts.new_path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(new_path, area, event->new_path))
		return 0;
	/* Else its process has ended, and a kernel thread does the ring's last work. */
	at_home = bpf_get_current_task_btf()->tgid == request->header.pid;
	if (at_home && eu_captures(FSOP_CAPTURE_DIRECTORY) && request->args.path &&
	    request->args.operation != FSOP_OPERATION_SYMLINK)
		event->directory = put_base(area, &size, request->args.directory, request->texts.path);
	if (at_home && eu_captures(FSOP_CAPTURE_NEW_DIRECTORY) && request->args.new_path)
		event->new_directory = put_base(area, &size, request->args.new_directory, request->texts.new_path);
	if (!request->args.path)
		put_descriptor(area, &size, (struct file *)file);
	if (eu_captures(FSOP_CAPTURE_ATTRIBUTE) && request->args.attribute)
		event->attribute = eu_put_kernel_str(area, &size, request->texts.attribute, EU_NAME_MAX);
	eu_output(area, size);
	return 0;
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

	if (!fsop_may_change(opcode))
		return;
	eu_uring_replace(&fsop_requests, req, request_ended);
	if (!eu_uring_wanted(task))
		return;
	request = (void *)eu_scratch(uring);
	if (!request)
		return;
	eu_uring_remember(&request->request, req);
	fsop_read_request(req, opcode, &request->args, &request->texts);
	if (!is_selected(request->args.operation))
		return;
	eu_uring_fill(&request->header, task);
	eu_uring_keep(&fsop_requests, req, &request->request, request_ended);
}

EU_URING_SUBMIT(fsop, submitted)
EU_URING_COMPLETE(fsop, fsop_may_change, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
