/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Objects of System V IPC: what the kernel has of a segment, a queue or a set, by the id that a call passes. */
#ifndef EUNOMIA_SYSV_BPF_H
#define EUNOMIA_SYSV_BPF_H

#include "task.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ipc_ids {
	struct idr ipcs_idr;
};
struct ipc_namespace {
	struct ipc_ids ids[3];
	struct ns_common ns;
};
struct nsproxy___ipc {
	struct ipc_namespace *ipc_ns;
};
struct kern_ipc_perm {
	int id;
	int key;
};
struct shmid_kernel {
	unsigned long shm_segsz;
	struct pid *shm_cprid;
};
struct sem_array {
	int sem_nsems;
};
struct shm_file_data {
	int id;
	struct file *file;
};
struct vm_area_struct {
	unsigned long vm_start;
	struct file *vm_file;
};
#pragma clang attribute pop

/* include/linux/ipc_namespace.h: the order in which a namespace has its objects */
enum eu_sysv_kind {
	EU_SYSV_SEM,
	EU_SYSV_MSG,
	EU_SYSV_SHM,
};

struct eu_sysv {
	__s32 id; /* -1: none, or not known */
	__u32 key;
	__u64 size;       /* of a segment, in bytes */
	__u64 creator;    /* of a segment: the address of its struct pid */
	__u32 semaphores; /* of a set; else 0 */
	bool known;       /* the kernel has an object of that id */
	__u8 reserved[3];
};

static __always_inline struct ipc_namespace *eu_ipc_ns(void)
{
	return BPF_CORE_READ((struct nsproxy___ipc *)eu_far(bpf_get_current_task_btf())->nsproxy, ipc_ns);
}

/* include/linux/ipc_namespace.h, ipc/util.h: an id has the object's index in its lower 15 bits, or, booted with ipcmni_extend, 24 */
#define EU_IPC_INDEX 0x7fff
#define EU_IPC_INDEX_EXTENDED 0xffffff

static __always_inline __u64 eu_sysv_at(__u64 head, __u32 index, __s32 id)
{
	struct kern_ipc_perm *object = (void *)eu_idr_find(head, index);

	return object && BPF_CORE_READ(object, id) == id ? (__u64)object : 0;
}

/* Not static: verified once a program. Fills what `found` has of the object with this id, in the namespace of the current task. */
__attribute__((noinline)) int eu_find_sysv(struct eu_sysv *found, __u32 kind, __s32 id)
{
	struct ipc_namespace *ns = eu_ipc_ns();
	struct ipc_ids *ids = (void *)ns + bpf_core_field_offset(struct ipc_namespace, ids) +
			      (kind & 3) * bpf_core_type_size(struct ipc_ids);
	struct kern_ipc_perm *object;
	__u64 head;

	if (!found)
		return 0;
	__builtin_memset(found, 0, sizeof(*found));
	found->id = id;
	if (id < 0 || !ns)
		return 0;
	head = (__u64)BPF_CORE_READ(ids, ipcs_idr.idr_rt.xa_head);
	object = (void *)eu_sysv_at(head, id & EU_IPC_INDEX, id);
	if (!object)
		object = (void *)eu_sysv_at(head, id & EU_IPC_INDEX_EXTENDED, id);
	if (!object)
		return 0;
	found->known = true;
	found->key = BPF_CORE_READ(object, key);
	/* The object is the first member of each kind's struct. */
	if (kind == EU_SYSV_SHM) {
		found->size = BPF_CORE_READ((struct shmid_kernel *)object, shm_segsz);
		found->creator = (__u64)BPF_CORE_READ((struct shmid_kernel *)object, shm_cprid);
	} else if (kind == EU_SYSV_SEM) {
		found->semaphores = BPF_CORE_READ((struct sem_array *)object, sem_nsems);
	}
	return 0;
}

struct eu_attached {
	__u64 address;
	__s32 id; /* -1: no segment is attached there */
};

static long eu_read_attached(struct task_struct *task, struct vm_area_struct *vma, struct eu_attached *attached)
{
	struct file *file = BPF_CORE_READ(vma, vm_file);
	struct shm_file_data *data;

	if (!file || BPF_CORE_READ(vma, vm_start) != attached->address)
		return 0;
	/* Of an attached segment the file is a copy of another one, which its private data has (ipc/shm.c: do_shmat). */
	data = BPF_CORE_READ(file, private_data);
	if (data && BPF_CORE_READ(data, file, f_path.dentry) == BPF_CORE_READ(file, f_path.dentry))
		attached->id = BPF_CORE_READ(data, id);
	return 0;
}

/* The id of the segment that the current process has attached at an address, or -1. */
static __always_inline __s32 eu_shm_attached(__u64 address)
{
	struct eu_attached attached = { .address = address, .id = -1 };

	bpf_find_vma(bpf_get_current_task_btf(), address, eu_read_attached, &attached, 0);
	return attached.id;
}

#endif
