/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the peers share: programs of C on libbpf as their authors would write them, which report the same as a tracker of Eunomia. The
 * target is a constant, as in libbpf-tools; pointers are followed directly where the verifier allows it; only losses are counted. One
 * ABI is known, the architecture's own; io_uring is not. Nothing here is Eunomia's but the kernel's types (vmlinux.h).
 */
#ifndef PEER_BPF_H
#define PEER_BPF_H

#include "vmlinux.h"
#include <asm/unistd.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#if defined(__TARGET_ARCH_x86)
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	unsigned long di, si, dx, r10, r8, orig_ax;
};
#pragma clang attribute pop
#define NR(r) ((long)(r)->orig_ax)
#define ARG1(r) ((r)->di)
#define ARG2(r) ((r)->si)
#define ARG3(r) ((r)->dx)
#define ARG4(r) ((r)->r10)
#define ARG5(r) ((r)->r8)
#else
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
};
#pragma clang attribute pop
#define NR(r) ((long)(r)->syscallno)
#define ARG1(r) ((r)->orig_x0)
#define ARG2(r) ((r)->regs[1])
#define ARG3(r) ((r)->regs[2])
#define ARG4(r) ((r)->regs[3])
#define ARG5(r) ((r)->regs[4])
#endif

#define TEXT 256 /* as in opensnoop: NAME_MAX and a NUL */
#define AT_FDCWD (-100)
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

/* When, and who. */
struct facts {
	__u64 boot_ns, cgroup_id, start_boot_ns;
	__u32 pid, tid, ppid, uid, gid, mount_ns;
	char comm[16];
};

const volatile __u32 target_pid = 0; /* 0: all */
__u64 lost = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

/* `struct NAME` is what each record of the ring is: user space finds it by this variable in the object's BTF. */
#define RECORD(name) const struct name *record_type __attribute__((unused))

static __always_inline bool wanted(void)
{
	return !target_pid || bpf_get_current_pid_tgid() >> 32 == target_pid;
}

static __always_inline void fill(struct facts *facts)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 pid_tgid = bpf_get_current_pid_tgid(), uid_gid = bpf_get_current_uid_gid();

	facts->boot_ns = bpf_ktime_get_boot_ns();
	facts->cgroup_id = bpf_get_current_cgroup_id();
	facts->start_boot_ns = task->group_leader->start_boottime;
	facts->pid = pid_tgid >> 32;
	facts->tid = pid_tgid;
	facts->ppid = task->real_parent->tgid;
	facts->uid = uid_gid;
	facts->gid = uid_gid >> 32;
	facts->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	bpf_get_current_comm(facts->comm, sizeof(facts->comm));
}

/*
 * Nobody is woken: user space looks by itself each millisecond. To wake it for each record, as a plain submit does where the reader keeps
 * up, takes the traced process microseconds.
 */
#define SUBMIT(record) bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP)

/* Room for one record, or NULL. */
#define RESERVE(type)                                                         \
	({                                                                    \
		type *reserved = bpf_ringbuf_reserve(&ring, sizeof(type), 0); \
		if (!reserved)                                                \
			__sync_fetch_and_add(&lost, 1);                       \
		reserved;                                                     \
	})

static __always_inline void read_text(char *text, const void *from)
{
	if (bpf_probe_read_user_str(text, TEXT, from) < 0)
		text[0] = 0;
}

static __always_inline __s32 error_of(long ret)
{
	return ret < 0 && ret >= -4095 ? ret : 0;
}

/* ---- Descriptors and paths ---- */

static __always_inline struct file *file_of(__u32 fd)
{
	struct fdtable *table = bpf_get_current_task_btf()->files->fdt;
	struct file *file = NULL;

	if (fd < table->max_fds)
		bpf_probe_read_kernel(&file, sizeof(file), table->fd + fd);
	return file;
}

/* Written from its end: begins at `at`, and is empty at TEXT. Twice as long as it may be, so that the verifier believes in masks. */
struct path_text {
	__u32 at;
	__u32 deleted;
	char text[2 * TEXT];
};
#define PATH_DEPTH 32

struct path_walk {
	struct dentry *dentry, *root;
	struct mount *mount;
	struct path_text *path;
};

static long path_step(__u32 index, void *context)
{
	struct path_walk *walk = context;
	struct dentry *dentry = walk->dentry, *parent;
	struct path_text *path = walk->path;
	struct mount *mount = walk->mount;
	__u32 length, at;

	if (dentry == walk->root) {
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (above == mount)
			return 1;
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = above;
		walk->root = BPF_CORE_READ(above, mnt.mnt_root);
		return 0;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	if (parent == dentry)
		return 1;
	length = BPF_CORE_READ(dentry, d_name.len) & (TEXT - 1);
	if (path->at < length + 1)
		return 1;
	at = (path->at - length) & (TEXT - 1);
	bpf_probe_read_kernel(path->text + at, length, BPF_CORE_READ(dentry, d_name.name));
	at = (at - 1) & (TEXT - 1);
	path->text[at] = '/';
	path->at = at;
	walk->dentry = parent;
	return 0;
}

static __always_inline void put_path(struct path_text *path, const struct path *from)
{
	struct vfsmount *mount = BPF_CORE_READ(from, mnt);
	struct dentry *dentry = BPF_CORE_READ(from, dentry);
	struct path_walk walk = {
		.dentry = dentry,
		.root = BPF_CORE_READ(mount, mnt_root),
		.mount = (void *)mount - bpf_core_field_offset(struct mount, mnt),
		.path = path,
	};

	path->at = TEXT - 1;
	path->text[TEXT - 1] = 0;
	path->deleted = !BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry;
	bpf_loop(PATH_DEPTH, path_step, &walk, 0);
	if (path->at == TEXT - 1) {
		path->at--;
		path->text[TEXT - 2] = '/';
	}
}

static __always_inline void no_path(struct path_text *path)
{
	path->at = TEXT - 1;
	path->text[TEXT - 1] = 0;
	path->deleted = 0;
}

/* The directory where a path that the caller passed starts; none of an absolute one. */
static __always_inline void put_directory(struct path_text *directory, const char *path, __s32 fd)
{
	no_path(directory);
	if (path[0] == '/' || !path[0])
		return;
	if (fd == AT_FDCWD) {
		struct fs_struct *fs = bpf_get_current_task_btf()->fs;

		put_path(directory, &fs->pwd);
	} else {
		struct file *file = file_of(fd);

		if (file)
			put_path(directory, &file->f_path);
	}
}

/* ---- Sockets ---- */

static __always_inline struct sock *sock_of(__u32 fd)
{
	struct file *file = file_of(fd);
	struct socket *socket = BPF_CORE_READ(file, private_data);

	if (!socket || BPF_CORE_READ(socket, file) != file)
		return NULL;
	return BPF_CORE_READ(socket, sk);
}

/* IPv4 as ::ffff:a.b.c.d. */
struct address {
	__u8 bytes[16];
};

static __always_inline void put_ipv4(struct address *to, __be32 from)
{
	__u32 *words = (__u32 *)to->bytes;

	words[0] = words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = from;
}

static __always_inline void put_local(struct address *to, struct sock *sk, __u16 family)
{
	if (family == AF_INET6)
		BPF_CORE_READ_INTO(to, sk, __sk_common.skc_v6_rcv_saddr);
	else
		put_ipv4(to, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
}

static __always_inline void put_remote(struct address *to, struct sock *sk, __u16 family)
{
	if (family == AF_INET6)
		BPF_CORE_READ_INTO(to, sk, __sk_common.skc_v6_daddr);
	else
		put_ipv4(to, BPF_CORE_READ(sk, __sk_common.skc_daddr));
}

struct sockaddr_any {
	__u16 family;
	__be16 port;
	__be32 ipv4;
	__u8 ipv6[16];
};

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
