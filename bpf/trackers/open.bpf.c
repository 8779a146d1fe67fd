/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* open: one event for each open, openat, openat2 and creat, at its end, so that the outcome is known. */
#include "eunomia.bpf.h"
#include "file.bpf.h"
#include "path.bpf.h"
#include "syscall.bpf.h"

enum open_capture {
	OPEN_CAPTURE_PATH,
	OPEN_CAPTURE_RESOLVED,
};

struct open_event {
	struct eu_header header;
	eu_errno errno;
	__s32 fd; /* -1 when the open failed */
	eu_open_flags flags;
	__u32 mode;      /* as passed, where the flags may create a file; else 0 */
	eu_str path;     /* as the caller passed it */
	eu_str resolved; /* absolute in the file's mount namespace; null when the open failed */
};
EU_EVENT(open);
EU_CAPTURES(open);

EU_SCRATCH(open);

EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(fd);
EU_WHERE_BITS(flags);
EU_WHERE_TEXT(path);

const volatile bool failed_only = false; /* option: only opens that failed */
const volatile bool writes_only = false; /* option: only O_WRONLY, O_RDWR, O_CREAT and O_TRUNC */

/* include/uapi/asm-generic/fcntl.h; the same on x86 and arm64 */
#define O_ACCMODE 3
#define O_WRONLY 1
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_TMPFILE_BIT 020000000

/* include/linux/errno.h: the kernel's own "will be restarted, or end as EINTR" */
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516
#define EINTR 4

struct open_args {
	const char *path;
	__u32 flags;
	__u32 mode;
};

/* struct open_how of openat2(2), which user space passes */
struct open_request {
	__u64 flags;
	__u64 mode;
};

static __always_inline bool read_args(struct pt_regs *regs, long nr, struct open_args *args)
{
	struct open_request how = {};

	if (nr == EU_NR_openat) {
		args->path = (void *)eu_arg2(regs);
		args->flags = eu_arg3(regs);
		args->mode = eu_arg4(regs);
	} else if (nr == EU_NR_openat2) {
		args->path = (void *)eu_arg2(regs);
		bpf_probe_read_user(&how, sizeof(how), (void *)eu_arg3(regs)); /* bad memory: zeroes */
		args->flags = eu_load(how.flags);
		args->mode = eu_load(how.mode);
	} else if (nr == EU_NR_open) {
		args->path = (void *)eu_arg1(regs);
		args->flags = eu_arg2(regs);
		args->mode = eu_arg3(regs);
	} else if (nr == EU_NR_creat) {
		args->path = (void *)eu_arg1(regs);
		args->flags = O_CREAT | O_WRONLY | O_TRUNC;
		args->mode = eu_arg2(regs);
	} else {
		return false;
	}
	if (!(args->flags & (O_CREAT | O_TMPFILE_BIT)))
		args->mode = 0;
	return true;
}

static __always_inline void fill_open(struct open_event *event, const struct open_args *args, long ret)
{
	eu_fill(&event->header);
	event->errno = ret < 0 ? ret : 0;
	event->fd = ret < 0 ? -1 : ret;
	event->flags = args->flags;
	event->mode = args->mode;
	event->path = event->resolved = 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(open_exit, struct pt_regs *regs, long ret)
{
	long nr = eu_syscall_nr(regs);
	struct open_args args;
	struct open_event *event;
	struct eu_area *area;
	__u32 size = sizeof(*event);

	if (nr != EU_NR_openat && nr != EU_NR_openat2 && nr != EU_NR_open && nr != EU_NR_creat)
		return 0;
	if (failed_only && ret >= 0)
		return 0;
	if (eu_syscall_is_32bit() || !eu_wanted() || !read_args(regs, nr, &args))
		return 0;
	if (writes_only && !(args.flags & (O_ACCMODE | O_CREAT | O_TRUNC)))
		return 0;
	if (ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK)
		ret = -EINTR;
	if (eu_where && (!eu_passes(errno, ret < 0 ? -ret : 0) || !eu_passes(fd, ret < 0 ? -1 : ret) ||
			 !eu_passes_bits(flags, args.flags)))
		return 0;

	if (!eu_captures(OPEN_CAPTURE_PATH) && !(eu_captures(OPEN_CAPTURE_RESOLVED) && ret >= 0)) {
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
	if (eu_captures(OPEN_CAPTURE_PATH))
		event->path = eu_put_user_str(area, &size, args.path, EU_PATH_MAX);
	if (eu_where && !eu_passes_text(path, area, event->path))
		return 0;
	if (eu_captures(OPEN_CAPTURE_RESOLVED) && ret >= 0) {
		struct file *file = eu_file(bpf_get_current_task_btf(), ret);

		event->resolved = eu_put_path(area, &size, &file->f_path);
	}
	eu_output(area, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
