/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* File descriptors. */
#ifndef EUNOMIA_FILE_BPF_H
#define EUNOMIA_FILE_BPF_H

#include "record.bpf.h"

/* The address of the file that the task's descriptor stands for, or NULL. Another thread may have closed it. */
static __always_inline struct file *eu_file(struct task_struct *task, __u32 fd)
{
	struct files_struct *files = EU_READ(task, files);
	struct fdtable *table = EU_READ(files, fdt);
	struct file **slot, *file = NULL;

	if (fd >= EU_READ(table, max_fds))
		return NULL;
	slot = EU_READ(table, fd) + fd;
	if (eu_has_bpf_rdonly_cast) /* a number by a load: a struct of the kernel's that begins with one, whatever it stands for */
		return (void *)eu_far((struct rb_node *)slot)->__rb_parent_color;
	bpf_probe_read_kernel(&file, sizeof(file), slot);
	return file;
}

#endif
