/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The system calls that open files: their arguments. Trackers: open, opencount. */
#ifndef EUNOMIA_OPEN_CALL_BPF_H
#define EUNOMIA_OPEN_CALL_BPF_H

#include "compat.bpf.h"
#include "path.bpf.h"

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

/* What the caller gets, who does not see the kernel's own errors. */
static __always_inline long open_result(long ret)
{
	return ret <= -ERESTARTSYS && ret >= -ERESTART_RESTARTBLOCK ? -EINTR : ret;
}

#endif
