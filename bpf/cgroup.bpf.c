/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * cgroup: one event for each directory made in the v2 hierarchy, so that user space knows a container's
 * cgroup before its first process runs in it. Not a tracker: the container registry reads it.
 */
#include "eunomia.bpf.h"

struct cgroup_event {
	struct eu_header header; /* of the process that made it */
	__u64 id;    /* of the new cgroup: what bpf_get_current_cgroup_id returns inside, its directory's inode */
	eu_str path; /* from the root of the hierarchy */
	__u32 reserved;
};
EU_EVENT(cgroup);

EU_SCRATCH(cgroup);

#define V2_HIERARCHY 0 /* kernel/cgroup/cgroup.c: the default hierarchy's id */

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_made, struct cgroup *cgroup, const char *path)
{
	struct cgroup_event *event;
	struct eu_area *area;
	__u32 size = sizeof(*event);

	if (BPF_CORE_READ(cgroup, root, hierarchy_id) != V2_HIERARCHY)
		return 0;
	area = eu_scratch(cgroup);
	if (!area)
		return 0;
	event = (void *)area;
	eu_fill(&event->header);
	event->id = BPF_CORE_READ(cgroup, kn, id);
	event->reserved = 0;
	event->path = eu_put_kernel_str(area, &size, path, EU_PATH_MAX);
	eu_output(area, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
