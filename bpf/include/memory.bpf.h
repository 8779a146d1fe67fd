/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Memory: what a process has, and what its memory cgroup may have and has. That cgroup is of the v1 hierarchy where memory is there. */
#ifndef EUNOMIA_MEMORY_BPF_H
#define EUNOMIA_MEMORY_BPF_H

#include "record.bpf.h"
#include "path.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	long counter;
} atomic_long_t;

/* Linux 6.2 (f1a7941243c1 "mm: convert mm's rss stats into percpu_counter") */
struct percpu_counter {
	s64 count;
};

struct mm_struct___memory {
	unsigned long total_vm;
	atomic_long_t pgtables_bytes;
	struct percpu_counter rss_stat[4];
};

struct page_counter {
	atomic_long_t usage;
	unsigned long max;
};

struct cgroup___named {
	struct kernfs_node___named {
		const char *name;
	} * kn;
};

struct cgroup_subsys_state {
	struct cgroup___named *cgroup;
	struct cgroup_subsys_state *parent;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	bool oom_lock;
};

struct css_set___memory {
	struct cgroup_subsys_state *subsys[1];
};

enum cgroup_subsys_id {
	memory_cgrp_id = 1,
};

#pragma clang attribute pop

/* Bytes of a page. The loader sets it. */
const volatile __u32 eu_page_bytes = 4096;

/* ---- A process's ---- */

/* include/linux/mm_types_task.h: what rss_stat counts, by index */
#define EU_FILE_PAGES 0
#define EU_ANON_PAGES 1
#define EU_SWAP_ENTRIES 2
#define EU_SHMEM_PAGES 3

/*
 * In bytes, as the kernel's log has it: the part of a counter that CPUs still hold for themselves is not in it, so that it
 * may even be below 0, which reads as 0.
 */
#define eu_rss_bytes(mm, of)                                                                         \
	({                                                                                           \
		s64 eu_pages = BPF_CORE_READ((struct mm_struct___memory *)(mm), rss_stat[of].count); \
		eu_pages > 0 ? (__u64)eu_pages *eu_page_bytes : 0;                                   \
	})

/* ---- A cgroup's ---- */

#define EU_MEMCG_DEPTH 16

static __always_inline struct mem_cgroup *eu_memcg_of_css(struct cgroup_subsys_state *css)
{
	return css ? (void *)css - bpf_core_field_offset(struct mem_cgroup, css) : NULL;
}

/* That of a task, or NULL where the kernel has none. */
static __always_inline struct mem_cgroup *eu_memcg(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css = NULL;
	__u64 at = bpf_core_field_offset(struct css_set___memory, subsys);

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return NULL;
	at += sizeof(css) * bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	bpf_probe_read_kernel(&css, sizeof(css), (void *)set + at);
	return eu_memcg_of_css(css);
}

static __always_inline struct mem_cgroup *eu_memcg_parent(struct mem_cgroup *memcg)
{
	return eu_memcg_of_css(BPF_CORE_READ(memcg, css.parent));
}

/*
 * The cgroup whose limit was reached when the kernel selected this task as a victim, or NULL: none's. The kernel marks that
 * cgroup and all below it (oom_lock, mm/memcontrol-v1.c); the root has no limit. Where it does not (kernels without
 * CONFIG_MEMCG_V1, two that are out of memory at once, a limit that is lowered), it is the nearest that has all it may have.
 */
static __always_inline struct mem_cgroup *eu_memcg_out_of_memory(struct task_struct *task)
{
	struct mem_cgroup *memcg = eu_memcg(task), *marked = NULL, *full = NULL, *parent;

	for (int i = 0; i < EU_MEMCG_DEPTH && memcg; i++) {
		parent = eu_memcg_parent(memcg);
		if (!parent)
			break;
		if (bpf_core_field_exists(struct mem_cgroup, oom_lock) && BPF_CORE_READ(memcg, oom_lock))
			marked = memcg;
		if (!full && BPF_CORE_READ(memcg, memory.usage.counter) >= BPF_CORE_READ(memcg, memory.max))
			full = memcg;
		memcg = parent;
	}
	return marked ?: full;
}

/* Appends its path in the hierarchy of memory cgroups: "/docker/4f2a…". Of one that is too deep, "(truncated)" and the end. */
static __always_inline eu_str eu_put_memcg(struct eu_area *area, __u32 *size, struct mem_cgroup *memcg)
{
	const char *names[EU_MEMCG_DEPTH] = {};
	__u32 start = *size & (EU_RECORD_MAX - 1), length;
	struct mem_cgroup *parent;

	for (int i = 0; i < EU_MEMCG_DEPTH && memcg; i++) {
		parent = eu_memcg_parent(memcg);
		if (!parent)
			memcg = NULL;
		else
			names[i] = BPF_CORE_READ(memcg, css.cgroup, kn, name);
		memcg = parent;
	}
	if (memcg) {
		__builtin_memcpy(area->bytes + start, "(truncated)", sizeof("(truncated)") - 1);
		*size = start + sizeof("(truncated)") - 1;
	}
	for (int i = EU_MEMCG_DEPTH - 1; i >= 0; i--) {
		if (!names[i])
			continue;
		area->bytes[*size & (EU_RECORD_MAX - 1)] = '/';
		*size = (*size & (EU_RECORD_MAX - 1)) + 1;
		eu_put_kernel_str(area, size, names[i], EU_NAME_MAX);
	}
	length = *size - start;
	return length ? eu_text(start, length) : 0;
}

#endif
