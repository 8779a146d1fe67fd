/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* file: one record for each open descriptor of each process, whatever it stands for. */
#include "descriptors.bpf.h"
#include "path.bpf.h"

/* The type bits of the mode, shifted; include/uapi/linux/stat.h. The schema's FileType has the same names. */
enum eu_file_type {
	EU_FILE_TYPE_FIFO = 1,
	EU_FILE_TYPE_CHARACTER_DEVICE = 2,
	EU_FILE_TYPE_DIRECTORY = 4,
	EU_FILE_TYPE_BLOCK_DEVICE = 6,
	EU_FILE_TYPE_REGULAR = 8,
	EU_FILE_TYPE_SYMBOLIC_LINK = 10,
	EU_FILE_TYPE_SOCKET = 12,
} __attribute__((packed));

struct file_event {
	struct eu_header header;
	__u64 inode;
	__u64 position;
	__s32 fd;
	__u32 flags; /* as open(2) takes them */
	__u32 device;
	eu_str path;
	eu_str file_system;
	enum eu_file_type type; /* 0: an anonymous inode has none */
	enum eu_path_state path_state;
	bool deleted; /* known where path_state is */
	__u8 reserved;
};
EU_EVENT(file);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block___device {
	u32 s_dev;
};
struct file___position {
	s64 f_pos;
	struct inode *f_inode;
};
#pragma clang attribute pop

#define O_CLOEXEC 02000000 /* the descriptor's, not the file's */
#define TYPE_SHIFT 12
#define FILE_SYSTEM_MAX 32

SEC("iter/task_file")
int snap_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file =
		(void *)eu_address(ctx->file); /* a number from here on: its path's address goes to a global function */
	struct file_event *event;
	struct super_block___device *file_system;
	struct inode *inode;
	struct eu_area *area;
	struct eu_path path;
	__u32 size = sizeof(*event);

	if (!task || !file || !eu_tells_descriptors(ctx->meta, task))
		return 0;
	area = eu_snapshot_area();
	if (!area)
		return 0;
	event = (void *)area;
	__builtin_memset(event, 0, sizeof(*event));
	eu_fill_task(&event->header, task);
	inode = BPF_CORE_READ((struct file___position *)file, f_inode);
	event->fd = ctx->fd;
	event->flags = BPF_CORE_READ(file, f_flags) & ~O_CLOEXEC;
	event->position = BPF_CORE_READ((struct file___position *)file, f_pos);
	event->inode = BPF_CORE_READ(inode, i_ino);
	event->type = BPF_CORE_READ(inode, i_mode) >> TYPE_SHIFT;
	file_system = (void *)BPF_CORE_READ(inode, i_sb);
	event->device = BPF_CORE_READ(file_system, s_dev);
	event->file_system = eu_put_kernel_str(area, &size, BPF_CORE_READ(inode, i_sb, s_type, name), FILE_SYSTEM_MAX);
	path = eu_put_path_seen_from(area, &size, &file->f_path, true, (__u64)BPF_CORE_READ(task, nsproxy, mnt_ns));
	event->path = path.text;
	event->path_state = path.state;
	event->deleted = path.deleted;
	eu_snapshot_put(ctx->meta, event, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
