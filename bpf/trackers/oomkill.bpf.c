/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * oomkill: one event for each process that the kernel selects to be killed, for there is no memory left: in a cgroup, or on the machine.
 *
 * The tracepoint runs in the task whose allocation failed, which may be another one than the victim. It passes the victim since Linux 6.9
 * (72ba14deb40a "mm: update mark_victim tracepoints fields"), and a number before.
 */
#include "eunomia.bpf.h"
#include "memory.bpf.h"

struct oomkill_event {
	struct eu_header header;  /* of the victim; tid is that of the thread that the kernel names */
	struct eu_header trigger; /* of the process whose allocation failed; all 0: a kernel thread's, for no process */
	eu_amount limit_bytes;    /* of the cgroup whose limit was reached, where `limited` */
	eu_amount usage_bytes;
	eu_amount anon_bytes; /* the victim's */
	eu_amount file_bytes;
	eu_amount shmem_bytes;
	eu_amount swap_bytes;
	eu_amount page_tables_bytes;
	eu_amount virtual_bytes;
	__s32 oom_score_adj;
	bool limited;
	__u8 reserved[3];
	eu_str memory_cgroup; /* whose limit was reached */
};
EU_EVENT(oomkill);

EU_SCRATCH(oomkill);

EU_WHERE_NUMBER(oom_score_adj);
EU_WHERE_NUMBER(trigger_pid);
EU_WHERE_TEXT(memory_cgroup);

const volatile bool cgroups_only = false; /* option: only where a cgroup's limit was reached */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct signal_struct___oom {
	short oom_score_adj;
};
#pragma clang attribute pop

SEC("tp_btf/mark_victim")
int BPF_PROG(oom_victim, struct task_struct *victim)
{
	struct task_struct *current = bpf_get_current_task_btf();
	bool triggered = !(current->flags & PF_KTHREAD);
	struct mem_cgroup *memcg;
	struct oomkill_event *event;
	struct mm_struct *mm;
	struct eu_area *area;
	__u32 size = sizeof(*event);
	__s32 adj;

	adj = BPF_CORE_READ((struct signal_struct___oom *)eu_far(victim)->signal, oom_score_adj);
	if (eu_where && (!eu_passes(oom_score_adj, adj) || !eu_passes(trigger_pid, triggered ? current->tgid : 0)))
		return 0;
	if (!eu_wanted_either(victim, triggered ? current : victim))
		return 0;
	memcg = eu_memcg_out_of_memory(victim);
	if (cgroups_only && !memcg)
		return 0;
	area = eu_scratch(oomkill);
	if (!area)
		return 0;
	event = (void *)area;
	eu_fill_task(&event->header, victim);
	if (triggered)
		eu_fill(&event->trigger);
	else
		__builtin_memset(&event->trigger, 0, sizeof(event->trigger));
	event->limited = memcg;
	event->limit_bytes = event->usage_bytes = 0;
	event->memory_cgroup = 0;
	if (memcg) {
		event->limit_bytes = (__u64)BPF_CORE_READ(memcg, memory.max) * eu_page_bytes;
		event->usage_bytes = (__u64)BPF_CORE_READ(memcg, memory.usage.counter) * eu_page_bytes;
		event->memory_cgroup = eu_put_memcg(area, &size, memcg);
	}
	if (eu_where && !eu_passes_text(memory_cgroup, area, event->memory_cgroup))
		return 0;
	mm = BPF_CORE_READ(victim, mm);
	event->anon_bytes = eu_rss_bytes(mm, EU_ANON_PAGES);
	event->file_bytes = eu_rss_bytes(mm, EU_FILE_PAGES);
	event->shmem_bytes = eu_rss_bytes(mm, EU_SHMEM_PAGES);
	event->swap_bytes = eu_rss_bytes(mm, EU_SWAP_ENTRIES);
	event->page_tables_bytes = BPF_CORE_READ((struct mm_struct___memory *)mm, pgtables_bytes.counter);
	event->virtual_bytes = (__u64)BPF_CORE_READ((struct mm_struct___memory *)mm, total_vm) * eu_page_bytes;
	event->oom_score_adj = adj;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
	eu_output(area, size);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
