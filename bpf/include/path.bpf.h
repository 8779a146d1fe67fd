/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The path of a file or directory, as text, and where that text leads: enum eu_path_state.
 *
 * The walk goes from the dentry up over mounts and writes names from the end of a buffer to its start. It ends at the
 * root of the mount namespace, not at the process's root: chroot(2), which needs no privilege in a user namespace, can
 * hide no part of a path. It runs in bpf_loop (Linux 5.17): unrolled, it exceeds the verifier's million instructions.
 * Unlike d_path() it takes no lock: a rename during the walk can mix the old and the new names.
 */
#ifndef EUNOMIA_PATH_BPF_H
#define EUNOMIA_PATH_BPF_H

#include "record.bpf.h"
#include "file.bpf.h"

#define EU_NAME_MAX 256
#define EU_PATH_DEPTH 4096     /* steps; each writes two characters at least or crosses a mount */
#define EU_PATH_MARK_MAX 64    /* of what is put before a path that is not whole */
#define EU_PATH_TEXT_MASK 8191 /* holds a mark and a path */

/* Only the text of the first is an absolute path. 0: there is no path. The schema's PathState has the same names. */
enum eu_path_state {
	EU_PATH_STATE_ROOTED = 1,      /* below the root of the mount namespace that it is seen from: the task's */
	EU_PATH_STATE_OTHER_NAMESPACE, /* below the root of another one: "(unreachable)/etc/passwd" */
	EU_PATH_STATE_DETACHED,        /* below no root: "(unreachable)/passwd" */
	EU_PATH_STATE_ANONYMOUS,       /* on no mounted file system: "pipe:[4711]", "/memfd:name (deleted)" */
	EU_PATH_STATE_TRUNCATED,       /* longer than the text: "(truncated)/and/its/end" */
} __attribute__((packed));

struct eu_path_walk {
	struct dentry *dentry;
	struct dentry *root; /* of the mount that the dentry is on */
	struct mount *mount;
	char *text;
	__u32 at;   /* first byte in use */
	bool whole; /* the walk has come to the root of the topmost mount */
	bool cut;   /* a name had no room, or there were too many steps */
};

static long eu_path_step(__u32 index, void *context)
{
	struct eu_path_walk *walk = context;
	struct dentry *dentry = walk->dentry, *parent;
	const unsigned char *name;
	__u32 length, at;

	if (dentry == walk->root) {
		struct mount *mount = walk->mount;
		struct mount *above = EU_READ(mount, mnt_parent);

		if (!above || above == mount) {
			walk->whole = true;
			walk->cut = false;
			return 1;
		}
		walk->dentry = EU_READ(mount, mnt_mountpoint);
		walk->mount = above;
		walk->root = EU_READ(above, mnt.mnt_root);
		return 0;
	}
	parent = EU_READ(dentry, d_parent);
	/* The root of a file system that is not the mount's: nameless, or moved out of a bind mount. */
	if (dentry == parent) {
		walk->cut = false;
		return 1;
	}
	length = EU_READ(dentry, d_name.len) & (EU_NAME_MAX - 1);
	name = EU_READ(dentry, d_name.name);
	if (walk->at < length + 1)
		return 1;
	at = (walk->at - length) & (EU_PATH_MAX - 1);
	if (bpf_probe_read_kernel(walk->text + at, length, name))
		return 1;
	at = (at - 1) & (EU_PATH_MAX - 1);
	walk->text[at] = '/';
	walk->at = at;
	walk->dentry = parent;
	return 0;
}

/* include/linux/err.h: the kernel's own mounts (pipefs, nsfs, the tmpfs of memfds) have an error for a namespace (MNT_NS_INTERNAL). */
static __always_inline bool eu_is_internal(const struct mnt_namespace *ns)
{
	return (unsigned long)ns >= (unsigned long)-4095;
}

/* Those of open_tree(2) and fsmount(2) are in a namespace of their own, which no process is in and which has no number. */
struct mnt_namespace___seq { /* before Linux 6.18, which moved it to ns_common (ns_id) */
	__u64 seq;
} __attribute__((preserve_access_index));

static __always_inline bool eu_is_detached(struct mnt_namespace *ns)
{
	if (!ns || eu_is_internal(ns))
		return true;
	if (bpf_core_field_exists(struct mnt_namespace___seq, seq))
		return !BPF_CORE_READ((struct mnt_namespace___seq *)ns, seq);
	return !EU_READ(ns, ns.ns_id);
}

/* The first four characters of a file system's name. */
#define EU_FS(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)
/* As eu_write_path returns it. */
#define EU_PATH_RESULT(length, state, deleted) ((length) << 16 | (deleted) << 8 | (state))
#define EU_ANONYMOUS_MAX (EU_NAME_MAX + 32)

/*
 * What the kernel's d_dname functions write for a file without a path (fs/pipe.c, net/socket.c, fs/nsfs.c, fs/anon_inodes.c,
 * fs/pidfs.c, fs/libfs.c simple_dname).
 */
static __always_inline int eu_write_anonymous(char *to, struct dentry *dentry)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	__u64 number = BPF_CORE_READ(inode, i_ino);
	__u64 name = (__u64)BPF_CORE_READ(dentry, d_name.name);
	bool deleted = false;
	__u32 type = 0;
	long n;

	bpf_probe_read_kernel(&type, sizeof(type), BPF_CORE_READ(inode, i_sb, s_type, name));
	if (type == EU_FS('p', 'i', 'p', 'e')) {
		n = BPF_SNPRINTF(to, EU_ANONYMOUS_MAX, "pipe:[%lu]", number);
	} else if (type == EU_FS('s', 'o', 'c', 'k')) {
		n = BPF_SNPRINTF(to, EU_ANONYMOUS_MAX, "socket:[%lu]", number);
	} else if (type == EU_FS('n', 's', 'f', 's')) {
		struct ns_common *ns = BPF_CORE_READ(inode, i_private);

		name = (__u64)BPF_CORE_READ(ns, ops, name);
		n = BPF_SNPRINTF(to, EU_ANONYMOUS_MAX, "%s:[%lu]", name, number);
	} else if (type == EU_FS('a', 'n', 'o', 'n')) {
		n = BPF_SNPRINTF(to, EU_ANONYMOUS_MAX, "anon_inode:%s", name);
	} else if (type == EU_FS('p', 'i', 'd', 'f')) {
		n = BPF_SNPRINTF(to, EU_ANONYMOUS_MAX, "anon_inode:[pidfd]");
	} else {
		n = BPF_SNPRINTF(to, EU_ANONYMOUS_MAX, "/%s (deleted)", name);
		deleted = true;
	}
	n = n > 1 && n <= EU_ANONYMOUS_MAX ? n - 1 : 0; /* without its NUL */
	return EU_PATH_RESULT(n, EU_PATH_STATE_ANONYMOUS, deleted);
}

/* As eu_write_path. */
static __always_inline int eu_write_path_here(struct eu_area *area, __u32 offset, __u64 address, __u64 seen_from)
{
	const struct path *path = (void *)address;
	struct eu_path_walk walk = { .cut = true };
	struct vfsmount *vfsmount;
	struct mount *top;
	struct mnt_namespace *ns;
	struct dentry *dentry;
	__u32 state, at, length;
	bool deleted;

	if (!area || !path)
		return 0;
	offset &= EU_RECORD_MAX - 1;
	vfsmount = EU_READ(path, mnt);
	dentry = EU_READ(path, dentry);
	if (!dentry || !vfsmount)
		return 0;
	walk.dentry = dentry;
	walk.root = EU_READ(vfsmount, mnt_root);
	walk.mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	walk.text = (char *)area->bytes + EU_RECORD_MAX + EU_PATH_MARK_MAX;
	walk.at = EU_PATH_MAX - 1;
	bpf_loop(EU_PATH_DEPTH, eu_path_step, &walk, 0);

	top = walk.mount;
	ns = EU_READ(top, mnt_ns);
	if (!walk.whole && !walk.cut && eu_is_internal(ns))
		return eu_write_anonymous((char *)area->bytes + offset, dentry);
	if (walk.cut)
		state = EU_PATH_STATE_TRUNCATED;
	else if (!walk.whole || eu_is_detached(ns))
		state = EU_PATH_STATE_DETACHED;
	else if ((__u64)ns == seen_from)
		state = EU_PATH_STATE_ROOTED;
	else
		state = EU_PATH_STATE_OTHER_NAMESPACE;
	/* As d_unlinked() has it: its name has left the cache of names. */
	deleted = !EU_READ(dentry, d_hash.pprev) && EU_READ(dentry, d_parent) != dentry;

	at = walk.at & (EU_PATH_MAX - 1);
	if (at == EU_PATH_MAX - 1) /* no name at all: the root itself */
		walk.text[--at] = '/';
	length = EU_PATH_MAX - 1 - at;
	if (state == EU_PATH_STATE_TRUNCATED) {
		at += EU_PATH_MARK_MAX - (sizeof("(truncated)") - 1);
		length += sizeof("(truncated)") - 1;
		__builtin_memcpy(area->bytes + EU_RECORD_MAX + at, "(truncated)", sizeof("(truncated)") - 1);
	} else if (state != EU_PATH_STATE_ROOTED) {
		at += EU_PATH_MARK_MAX - (sizeof("(unreachable)") - 1);
		length += sizeof("(unreachable)") - 1;
		__builtin_memcpy(area->bytes + EU_RECORD_MAX + at, "(unreachable)", sizeof("(unreachable)") - 1);
	} else {
		at += EU_PATH_MARK_MAX;
	}
	if (bpf_probe_read_kernel(area->bytes + offset, length & EU_PATH_TEXT_MASK, area->bytes + EU_RECORD_MAX + at))
		return 0;
	return EU_PATH_RESULT(length, state, deleted);
}

/*
 * Writes the text of the `struct path` at `address` to `offset` of the area. Returns an EU_PATH_RESULT, or 0 where there
 * is no path. `seen_from` is the address of the mount namespace that it is a path in. Not static, so that the verifier checks
 * it once per program, however many paths that captures. It builds the text in the area's slack, whose end it then moves to
 * its place.
 */
__attribute__((noinline)) int eu_write_path(struct eu_area *area, __u32 offset, __u64 address, __u64 seen_from)
{
	return eu_write_path_here(area, offset, address, seen_from);
}

/*
 * Appends the path of `path`, an address in kernel memory, to the record: its text, unless that is not `wanted`. Where there is none all of
 * it is null.
 */
struct eu_path {
	eu_str text;
	enum eu_path_state state;
	bool deleted;
};

/* `seen_from`: the address of a task's mount namespace. */
static __always_inline struct eu_path eu_put_path_seen_from(struct eu_area *area, __u32 *size, const void *path,
							    bool wanted, __u64 seen_from)
{
	__u32 offset = *size & (EU_RECORD_MAX - 1);
	__u32 result = eu_write_path(area, offset, (__u64)path, seen_from);
	__u32 length = result >> 16 & EU_PATH_TEXT_MASK;
	struct eu_path put = { .state = result & 0xff, .deleted = result >> 8 & 1 };

	if (wanted && put.state) {
		put.text = eu_text(offset, length);
		*size = offset + length;
	}
	return put;
}

/* The same as the current task sees it. */
static __always_inline struct eu_path eu_put_path(struct eu_area *area, __u32 *size, const void *path, bool wanted)
{
	struct nsproxy *nsproxy = EU_READ(bpf_get_current_task_btf(), nsproxy);
	__u64 ns = (__u64)BPF_CORE_READ(nsproxy, mnt_ns); /* a number to the verifier */

	return eu_put_path_seen_from(area, size, path, wanted, ns);
}

#define AT_FDCWD -100 /* include/uapi/linux/fcntl.h */

/* Is a path that the current task passed relative? `text`: as it is in the record, or 0 where it is not; then user memory tells. */
static __always_inline bool eu_is_relative(const struct eu_area *area, eu_str text, const char *path)
{
	char first;

	if (text)
		return !(text >> 16) || area->bytes[text & (EU_RECORD_MAX - 1)] != '/';
	return !bpf_probe_read_user(&first, 1, path) && first != '/';
}

/* Appends the path of what a descriptor of the current task stands for, or of its working directory. */
static __always_inline eu_str eu_put_directory(struct eu_area *area, __u32 *size, __s32 descriptor)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const void *directory;

	if (descriptor == AT_FDCWD) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);

		directory = &fs->pwd;
	} else {
		struct file *file = eu_file(task, descriptor);

		directory = &file->f_path;
	}
	return eu_put_path(area, size, directory, true).text;
}

#endif
