/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * mount: one event for each call that changes what is mounted where, when it ends: mount, umount, pivot_root, and of the newer calls
 * move_mount, which attaches what fsopen, fsconfig and fsmount, or open_tree, have made, and mount_setattr.
 *
 * No tracepoint passes a mount. So paths are reported as they were passed, with the directory where each starts; what goes by a descriptor
 * is reported by the descriptor's own path. Container runtimes name targets by /proc/self/fd/N: these are descriptors too.
 */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "file.bpf.h"
#include "path.bpf.h"

enum mount_capture {
	MOUNT_CAPTURE_OPTIONS,
};

enum mount_operation {
	MOUNT_OPERATION_MOUNT = 1,
	MOUNT_OPERATION_BIND,
	MOUNT_OPERATION_REMOUNT,
	MOUNT_OPERATION_MOVE,
	MOUNT_OPERATION_SET_PROPAGATION,
	MOUNT_OPERATION_ATTACH,
	MOUNT_OPERATION_SET_ATTRIBUTES,
	MOUNT_OPERATION_UNMOUNT,
	MOUNT_OPERATION_PIVOT_ROOT,
} __attribute__((packed));

/* What a call is, in the table of src/trackers/mount.ts. */
enum call {
	CALL_MOUNT = 1,
	CALL_UMOUNT2,
	CALL_UMOUNT, /* i386's, without flags */
	CALL_PIVOT_ROOT,
	CALL_MOVE_MOUNT,
	CALL_MOUNT_SETATTR,
};

struct mount_event {
	struct eu_header header;
	eu_errno errno;
	enum mount_operation mount_operation;
	enum eu_path_state resolved_state;
	bool attributes_known; /* of SET_ATTRIBUTES: the caller's structure was read */
	__u8 reserved;
	__u32 flags; /* as passed: their names depend on the operation; of mount(2) without its magic number */
	__u32 attributes_set;
	__u32 attributes_cleared;
	__u32 propagation; /* of SET_ATTRIBUTES */
	eu_str source;
	eu_str source_directory; /* where a relative `source` starts */
	eu_str target;
	eu_str target_directory;
	eu_str resolved; /* of a target that is a descriptor */
	eu_str old_root; /* of PIVOT_ROOT */
	eu_str fs_type;
	eu_str options;
};
EU_EVENT(mount);
EU_CAPTURES(mount);

EU_SCRATCH(mount);

EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(operation);
EU_WHERE_TEXT(source);
EU_WHERE_TEXT(target);
EU_WHERE_TEXT(fs_type);

const volatile bool failed_only = false; /* option: only calls that fail */
const volatile __u32 operations = 0;     /* option: bits 1 << operation; 0 is all */

/* include/uapi/linux/mount.h, include/uapi/linux/fcntl.h, include/linux/fs.h */
#define MS_REMOUNT (1 << 5)
#define MS_BIND (1 << 12)
#define MS_MOVE (1 << 13)
#define MS_PROPAGATION (1 << 17 | 1 << 18 | 1 << 19 | 1 << 20) /* UNBINDABLE, PRIVATE, SLAVE, SHARED */
#define MS_MGC_VAL 0xc0ed0000
#define MS_MGC_MSK 0xffff0000
#define MOVE_MOUNT_F_EMPTY_PATH 0x4
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#define AT_EMPTY_PATH 0x1000

#define TYPE_MAX 64
#define OPTIONS_MAX 4096

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct mount___named {
	const char *mnt_devname;
};
struct vfsmount___super {
	struct super_block *mnt_sb;
};
#pragma clang attribute pop

/* include/uapi/linux/mount.h: struct mount_attr, which user space passes */
struct passed_attributes {
	__u64 set;
	__u64 cleared;
	__u64 propagation;
};

struct mount_args {
	const char *source; /* NULL: none, or a descriptor's */
	const char *target; /* NULL: a descriptor's */
	const char *old_root;
	const char *fs_type;
	const char *options;
	const void *attributes;
	__s32 source_descriptor; /* what the source starts at, or is */
	__s32 target_descriptor;
	__u32 operation;
	__u32 flags;
};

/* fs/namespace.c, path_mount(): which of several flags it goes by. */
static __always_inline __u32 operation_of(__u32 flags)
{
	if (flags & MS_REMOUNT)
		return MOUNT_OPERATION_REMOUNT;
	if (flags & MS_BIND)
		return MOUNT_OPERATION_BIND;
	if (flags & MS_PROPAGATION)
		return MOUNT_OPERATION_SET_PROPAGATION;
	return flags & MS_MOVE ? MOUNT_OPERATION_MOVE : MOUNT_OPERATION_MOUNT;
}

static __always_inline bool is_empty(const char *text)
{
	char first;

	return !text || (!bpf_probe_read_user(&first, 1, text) && !first);
}

static __always_inline void read_mount(unsigned long given[EU_CALL_ARGS], struct mount_args *args)
{
	args->flags = given[3];
	if ((args->flags & MS_MGC_MSK) == MS_MGC_VAL)
		args->flags &= ~MS_MGC_MSK;
	args->operation = operation_of(args->flags);
	args->target = (void *)given[1];
	/* What an operation does not use is not read: the kernel ignores it, and it may be anything. */
	if (args->operation == MOUNT_OPERATION_MOUNT || args->operation == MOUNT_OPERATION_BIND ||
	    args->operation == MOUNT_OPERATION_MOVE)
		args->source = (void *)given[0];
	if (args->operation == MOUNT_OPERATION_MOUNT)
		args->fs_type = (void *)given[2];
	if (args->operation == MOUNT_OPERATION_MOUNT || args->operation == MOUNT_OPERATION_REMOUNT)
		args->options = (void *)given[4];
}

static __always_inline void read_args(__u32 call, unsigned long given[EU_CALL_ARGS], struct mount_args *args)
{
	__builtin_memset(args, 0, sizeof(*args));
	args->source_descriptor = args->target_descriptor = AT_FDCWD;
	switch (call) {
	case CALL_MOUNT: read_mount(given, args); break;
	case CALL_UMOUNT2:
		args->flags = given[1];
		/* fallthrough */
	case CALL_UMOUNT:
		args->operation = MOUNT_OPERATION_UNMOUNT;
		args->target = (void *)given[0];
		break;
	case CALL_PIVOT_ROOT:
		args->operation = MOUNT_OPERATION_PIVOT_ROOT;
		args->target = (void *)given[0];
		args->old_root = (void *)given[1];
		break;
	case CALL_MOVE_MOUNT:
		args->operation = MOUNT_OPERATION_ATTACH;
		args->flags = given[4];
		args->source_descriptor = given[0];
		args->target_descriptor = given[2];
		if (!(args->flags & MOVE_MOUNT_F_EMPTY_PATH) || !is_empty((void *)given[1]))
			args->source = (void *)given[1];
		if (!(args->flags & MOVE_MOUNT_T_EMPTY_PATH) || !is_empty((void *)given[3]))
			args->target = (void *)given[3];
		break;
	case CALL_MOUNT_SETATTR:
		args->operation = MOUNT_OPERATION_SET_ATTRIBUTES;
		args->flags = given[2];
		args->target_descriptor = given[0];
		if (!(args->flags & AT_EMPTY_PATH) || !is_empty((void *)given[1]))
			args->target = (void *)given[1];
		args->attributes = (void *)given[3];
		break;
	}
}

static __always_inline void fill_args(struct mount_event *event, const struct mount_args *args, long ret)
{
	struct passed_attributes passed = {};

	event->errno = ret < 0 ? ret : 0;
	event->mount_operation = args->operation;
	event->resolved_state = 0;
	event->reserved = 0;
	event->flags = args->flags;
	event->attributes_known = args->attributes && !bpf_probe_read_user(&passed, sizeof(passed), args->attributes);
	event->attributes_set = passed.set;
	event->attributes_cleared = passed.cleared;
	event->propagation = passed.propagation;
	event->source = event->source_directory = event->target = event->target_directory = 0;
	event->resolved = event->old_root = event->fs_type = event->options = 0;
}

/* Of what move_mount has attached by its descriptor: what it was mounted from, and the type of its file system. */
static __always_inline void put_attached(struct eu_area *area, __u32 *size, __s32 descriptor)
{
	struct mount_event *event = (void *)area;
	struct file *file = eu_file(bpf_get_current_task_btf(), descriptor);
	struct vfsmount *vfsmount = file ? BPF_CORE_READ(file, f_path.mnt) : NULL;
	struct mount *mount;

	if (!vfsmount)
		return;
	mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	event->source =
		eu_put_kernel_str(area, size, BPF_CORE_READ((struct mount___named *)mount, mnt_devname), EU_PATH_MAX);
	event->fs_type = eu_put_kernel_str(
		area, size, BPF_CORE_READ((struct vfsmount___super *)vfsmount, mnt_sb, s_type, name), TYPE_MAX);
}

/* N of "/proc/self/fd/N" and "/proc/thread-self/fd/N"; -1 of any other text. */
static __always_inline __s32 descriptor_of(const struct eu_area *area, eu_str text)
{
	static const char self[] = "/proc/self/fd/", thread[] = "/proc/thread-self/fd/";
	char head[32] = {};
	__u32 length = text >> 16, at;
	__s32 descriptor = 0;

	/* Most end here, by a load: the rest takes three helpers. */
	if (!text || length >= sizeof(head) || area->bytes[(text & (EU_RECORD_MAX - 1)) + 1] != 'p')
		return -1;
	bpf_probe_read_kernel(head, length & (sizeof(head) - 1), area->bytes + (text & (EU_RECORD_MAX - 1)));
	if (!bpf_strncmp(head, sizeof(self) - 1, self))
		at = sizeof(self) - 1;
	else if (!bpf_strncmp(head, sizeof(thread) - 1, thread))
		at = sizeof(thread) - 1;
	else
		return -1;
	for (int i = 0; i < 10; i++) {
		char digit = head[(at + i) & (sizeof(head) - 1)];

		if (!digit)
			return i ? descriptor : -1;
		if (digit < '0' || digit > '9')
			return -1;
		descriptor = descriptor * 10 + (digit - '0');
	}
	return -1;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(mount_exit, struct pt_regs *regs, long ret)
{
	struct eu_matched_call call = eu_match_call(eu_syscall_nr(regs));
	unsigned long given[EU_CALL_ARGS];
	struct mount_args args;
	struct mount_event *event;
	struct eu_area *area;
	__u32 size = sizeof(*event);
	__s32 descriptor;

	if (!call.value || (failed_only && ret >= 0))
		return 0;
	if (!eu_wanted())
		return 0;
	eu_read_args(regs, call.narrow, given);
	read_args(call.value, given, &args);
	ret = eu_user_ret(ret);
	if (operations && !(operations >> (args.operation & 31) & 1))
		return 0;
	if (eu_where && (!eu_passes(operation, args.operation) || !eu_passes(errno, ret < 0 ? -ret : 0)))
		return 0;
	area = eu_scratch(mount);
	if (!area)
		return 0;
	event = (void *)area;
	eu_fill(&event->header);
	fill_args(event, &args, ret);
	if (args.source)
		event->source = eu_put_user_str(area, &size, args.source, EU_PATH_MAX);
	if (args.fs_type)
		event->fs_type = eu_put_user_str(area, &size, args.fs_type, TYPE_MAX);
	if (args.operation == MOUNT_OPERATION_ATTACH && !args.source)
		put_attached(area, &size, args.source_descriptor);
	if (args.target)
		event->target = eu_put_user_str(area, &size, args.target, EU_PATH_MAX);
	if (eu_where && (!eu_passes_text(source, area, event->source) || !eu_passes_text(target, area, event->target) ||
			 !eu_passes_text(fs_type, area, event->fs_type)))
		return 0;
	if (args.source && args.operation != MOUNT_OPERATION_MOUNT && eu_is_relative(area, event->source, args.source))
		event->source_directory = eu_put_directory(area, &size, args.source_descriptor);
	if (args.target && eu_is_relative(area, event->target, args.target))
		event->target_directory = eu_put_directory(area, &size, args.target_descriptor);
	if (args.old_root)
		event->old_root = eu_put_user_str(area, &size, args.old_root, EU_PATH_MAX);
	descriptor = args.target ? descriptor_of(area, event->target) : args.target_descriptor;
	if (descriptor >= 0) {
		struct file *file = eu_file(bpf_get_current_task_btf(), descriptor);

		if (file) {
			struct eu_path resolved = eu_put_path(area, &size, &file->f_path, true);

			event->resolved = resolved.text;
			event->resolved_state = resolved.state;
		}
	}
	if (eu_captures(MOUNT_CAPTURE_OPTIONS) && args.options)
		event->options = eu_put_user_str(area, &size, args.options, OPTIONS_MAX);
	eu_output(area, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
