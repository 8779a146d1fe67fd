/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Absolute paths, as seen from the root of the file's mount namespace (a chroot is not a
 * namespace: its prefix shows; an unlinked file has its former path). The walk goes from the
 * dentry up over mounts and writes names from the end of a buffer to its start. It runs in
 * bpf_loop (Linux 5.17): unrolled, it exceeds the verifier's million instructions.
 */
#ifndef EUNOMIA_PATH_BPF_H
#define EUNOMIA_PATH_BPF_H

#include "eunomia.bpf.h"

#define EU_NAME_MAX 256
#define EU_PATH_DEPTH 4096 /* steps; each writes two characters at least or crosses a mount */

struct eu_path_walk {
	struct dentry *dentry;
	struct dentry *root; /* of the mount that the dentry is on */
	struct mount *mount;
	char *text;
	__u32 at;   /* first byte in use */
	bool whole; /* the walk has come to an end of the tree */
};

static long eu_path_step(__u32 index, void *context)
{
	struct eu_path_walk *walk = context;
	struct dentry *dentry = walk->dentry, *parent;
	const unsigned char *name;
	__u32 length, at;

	if (dentry == walk->root) {
		struct mount *mount = walk->mount;
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (!above || above == mount) {
			walk->whole = true;
			return 1;
		}
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = above;
		walk->root = BPF_CORE_READ(above, mnt.mnt_root);
		return 0;
	}
	length = BPF_CORE_READ(dentry, d_name.len) & (EU_NAME_MAX - 1);
	name = BPF_CORE_READ(dentry, d_name.name);
	parent = BPF_CORE_READ(dentry, d_parent);
	if (walk->at < length + 1)
		return 1;
	at = (walk->at - length) & (EU_PATH_MAX - 1);
	if (bpf_probe_read_kernel(walk->text + at, length, name))
		return 1;
	at = (at - 1) & (EU_PATH_MAX - 1);
	walk->text[at] = '/';
	walk->at = at;
	if (dentry == parent) { /* outside of any tree: a memfd; nameless: a pipe, a socket */
		walk->whole = length > 0;
		return 1;
	}
	walk->dentry = parent;
	return 0;
}

/*
 * Writes the text of the `struct path` at `address` to `offset` of the area and returns its length. Not
 * static, so that the verifier judges it once a program, however many paths that captures. It builds
 * the text in the area's slack, whose end it then moves to its place.
 */
__attribute__((noinline)) int eu_write_path(struct eu_area *area, __u32 offset, __u64 address)
{
	const struct path *path = (void *)address;
	struct eu_path_walk walk = {};
	struct vfsmount *vfsmount;
	__u32 at, length;

	if (!area || !path)
		return 0;
	offset &= EU_RECORD_MAX - 1;
	vfsmount = BPF_CORE_READ(path, mnt);
	walk.dentry = BPF_CORE_READ(path, dentry);
	if (!walk.dentry || !vfsmount)
		return 0;
	walk.root = BPF_CORE_READ(vfsmount, mnt_root);
	walk.mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	walk.text = (char *)area->bytes + EU_RECORD_MAX;
	walk.at = EU_PATH_MAX - 1;
	bpf_loop(EU_PATH_DEPTH, eu_path_step, &walk, 0);

	at = walk.at;
	if (walk.whole && at == EU_PATH_MAX - 1) { /* no name at all: the root itself */
		area->bytes[offset] = '/';
		return 1;
	}
	if (!walk.whole)
		at++; /* so that what was cut does not look absolute */
	length = (EU_PATH_MAX - 1 - at) & (EU_PATH_MAX - 1);
	at &= EU_PATH_MAX - 1;
	if (bpf_probe_read_kernel(area->bytes + offset, length, area->bytes + EU_RECORD_MAX + at))
		return 0;
	return length;
}

/*
 * Appends the absolute path of `path`, an address in kernel memory, to the record; "" where there is none
 * (a pipe, a socket). A path longer than 4094 bytes loses its start, and with it its leading "/".
 */
static __always_inline eu_str eu_put_path(struct eu_area *area, __u32 *size, const void *path)
{
	__u32 offset = *size & (EU_RECORD_MAX - 1);
	__u32 length = eu_write_path(area, offset, (__u64)path) & (EU_PATH_MAX - 1);

	*size = offset + length;
	return eu_text(offset, length);
}

#endif
