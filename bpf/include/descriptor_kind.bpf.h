/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a file descriptor refers to. */
#ifndef EUNOMIA_DESCRIPTOR_KIND_BPF_H
#define EUNOMIA_DESCRIPTOR_KIND_BPF_H

#include "file.bpf.h"

/* The schema's DescriptorKind has the same names. 0: not captured, or there is no descriptor. */
enum eu_descriptor_kind {
	EU_DESCRIPTOR_KIND_CLOSED = 1,
	EU_DESCRIPTOR_KIND_FILE,
	EU_DESCRIPTOR_KIND_DEVICE,
	EU_DESCRIPTOR_KIND_TERMINAL,
	EU_DESCRIPTOR_KIND_PIPE,
	EU_DESCRIPTOR_KIND_INET_SOCKET,
	EU_DESCRIPTOR_KIND_UNIX_SOCKET,
	EU_DESCRIPTOR_KIND_OTHER,
} __attribute__((packed));

#define S_IFMT 0170000 /* include/uapi/linux/stat.h */
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define MINOR_BITS 20 /* include/linux/kdev_t.h */
#define TTY_MAJOR 4   /* include/uapi/linux/major.h, like the next ones */
#define TTYAUX_MAJOR 5
#define UNIX98_PTY_SLAVE_MAJOR 136
#define UNIX98_PTY_MAJOR_COUNT 8
#define EU_AF_UNIX 1 /* include/linux/socket.h, like the next ones */
#define EU_AF_INET 2
#define EU_AF_INET6 10

/* NULL is the file of a descriptor that is closed. */
static __always_inline enum eu_descriptor_kind eu_descriptor_kind(struct file *file)
{
	struct inode *inode;
	__u32 major;
	__u16 family;

	if (!file)
		return EU_DESCRIPTOR_KIND_CLOSED;
	inode = BPF_CORE_READ(file, f_path.dentry, d_inode);
	switch (BPF_CORE_READ(inode, i_mode) & S_IFMT) {
	case S_IFREG:
	case S_IFDIR: return EU_DESCRIPTOR_KIND_FILE;
	case S_IFIFO: return EU_DESCRIPTOR_KIND_PIPE;
	case S_IFBLK: return EU_DESCRIPTOR_KIND_DEVICE;
	case S_IFCHR:
		major = BPF_CORE_READ(inode, i_rdev) >> MINOR_BITS;
		if (major == TTY_MAJOR || major == TTYAUX_MAJOR ||
		    (major >= UNIX98_PTY_SLAVE_MAJOR && major < UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT))
			return EU_DESCRIPTOR_KIND_TERMINAL;
		return EU_DESCRIPTOR_KIND_DEVICE;
	case S_IFSOCK: {
		struct socket *socket = BPF_CORE_READ(file, private_data);

		family = BPF_CORE_READ(socket, sk, __sk_common.skc_family);
		if (family == EU_AF_INET || family == EU_AF_INET6)
			return EU_DESCRIPTOR_KIND_INET_SOCKET;
		return family == EU_AF_UNIX ? EU_DESCRIPTOR_KIND_UNIX_SOCKET : EU_DESCRIPTOR_KIND_OTHER;
	}
	}
	return EU_DESCRIPTOR_KIND_OTHER; /* an eventfd, a timerfd … */
}

#endif
