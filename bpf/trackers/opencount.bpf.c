/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * opencount: files that are opened, counted by container, process and path. What the tracker open has an event of each of, at the same
 * hooks; most programs open the same files again and again.
 *
 * Opens that fail, those of io_uring and paths that have no room in a total are events of their own.
 */
#include "eunomia.bpf.h"
#include "open_call.bpf.h"
#include "aggregate.bpf.h"

#define OPENCOUNT_PATH_LEN 512

struct opencount_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	eu_boot_ns first;
	eu_latest_boot_ns last;
	eu_total count;
	__u64 flags; /* O_* as passed, all 64 bits of openat2's; or UNKNOWN_FLAGS */
	eu_errno errno;
	eu_str path; /* of the file that was opened; of an open that failed, as the caller passed it */
	enum eu_path_state path_state; /* 0: there is no path of an opened file */
	bool deleted;
	__u8 reserved[6];
};

/* What is in the maps: a record with the text of its path. */
struct opencount_total {
	struct opencount_event event;
	char path[OPENCOUNT_PATH_LEN];
};

/*
 * By which way a file was opened: two opens with the same one have the same path, unless what is above the file's directory was renamed
 * or mounted elsewhere. Addresses are used again, so the name counts too.
 */
struct way {
	__u64 mount;
	__u64 directory;
	__u64 entry;
	__u64 name; /* its hash and length */
};

struct opencount_key {
	struct eu_aggregate_key process; /* `what`: its mount namespace */
	struct way way;
	__u64 flags;
};
EU_EVENT(opencount);
EU_AGGREGATE_MAPS(struct opencount_key, struct opencount_total);

EU_SCRATCH(opencount);

EU_WHERE_NUMBER(errno);
EU_WHERE_BITS(flags);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct qstr___whole {
	u64 hash_len;
};
#pragma clang attribute pop

static __always_inline void fill(struct opencount_event *event, __u64 flags, long ret, __u64 now)
{
	event->first = event->last = now;
	event->count = 1;
	event->flags = flags;
	event->errno = ret < 0 ? ret : 0;
	event->path = 0;
	event->path_state = 0;
	event->deleted = false;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
}

static __always_inline void put_resolved(struct opencount_event *event, struct eu_area *area, __u32 *size,
					 struct file *file)
{
	struct eu_path resolved = eu_put_path(area, size, &file->f_path, true);

	event->path = resolved.text;
	event->path_state = resolved.state;
	event->deleted = resolved.deleted;
}

static __always_inline struct opencount_key key_of(struct task_struct *task, struct file *file, __u64 flags)
{
	struct dentry *entry = EU_READ(file, f_path.dentry);
	struct opencount_key key = { .process = eu_aggregate_program_key(task, 0), .flags = flags };

	key.process.what = eu_far(task)->nsproxy->mnt_ns->ns.inum;
	key.way.mount = (__u64)EU_READ(file, f_path.mnt);
	key.way.entry = (__u64)entry;
	key.way.directory = (__u64)EU_READ(entry, d_parent);
	key.way.name = EU_READ((struct qstr___whole *)&entry->d_name, hash_len);
	return key;
}

/* Two calls: the kernel makes one with a constant map a direct call of the map's own function. clang else makes one of them. */
static __always_inline struct opencount_total *total_of(const struct opencount_key *key)
{
	struct opencount_total *total;

	if (eu_control.aggregate_side) {
		total = bpf_map_lookup_elem(&eu_aggregates_1, key);
		barrier_var(total);
		return total;
	}
	return bpf_map_lookup_elem(&eu_aggregates_0, key);
}

/* Makes `area` the total of a key; false where there is no room. */
static __always_inline bool begin_total(const struct opencount_key *key, struct eu_area *area)
{
	return !(eu_control.aggregate_side ? bpf_map_update_elem(&eu_aggregates_1, key, area, BPF_NOEXIST)
					   : bpf_map_update_elem(&eu_aggregates_0, key, area, BPF_NOEXIST));
}

SEC("tp_btf/sys_exit")
int BPF_PROG(opencount_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	long nr = eu_syscall_nr(regs);
	struct opencount_key key;
	struct opencount_event *event;
	struct file *file = NULL;
	struct open_args args;
	struct eu_area *area;
	__u32 size = sizeof(*event);

	if (!eu_may_open(nr) || !read_args(regs, nr, &args) || !eu_wanted())
		return 0;
	ret = open_result(ret);
	if (eu_where && (!eu_passes(errno, ret < 0 ? -ret : 0) ||
			 (args.flags != UNKNOWN_FLAGS && !eu_passes_bits(flags, args.flags))))
		return 0;
	if (ret >= 0)
		file = eu_file(task, ret);
	if (file) {
		struct opencount_total *total;

		key = key_of(task, file, args.flags);
		total = total_of(&key);
		if (total) {
			__u64 now = eu_tick_boot_ns();

			total->event.count++;
			if (now > total->event.last)
				total->event.last = now;
			return 0;
		}
	}
	area = eu_scratch(opencount);
	if (!area)
		return 0;
	event = (void *)area;
	eu_fill(&event->header);
	fill(event, args.flags, ret, event->header.boot_ns);
	if (file)
		put_resolved(event, area, &size, file);
	else if (ret < 0 && args.path)
		event->path = eu_put_user_str(area, &size, args.path, EU_PATH_MAX);
	if (file && size <= sizeof(struct opencount_total) && begin_total(&key, area))
		return 0;
	eu_output(area, size);
	return 0;
}

/* ---- io_uring ---- */

static __always_inline bool request_passes(const struct open_args *args)
{
	return !eu_where || eu_passes_bits(flags, args->flags);
}

#include "open_uring.bpf.h"

__attribute__((noinline)) int report_request(const struct open_request *request, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct opencount_event *event;
	struct eu_area *area;
	__u32 size = sizeof(*event);
	bool failed;

	if (!request)
		return 0;
	failed = ret < 0 && ret != EU_URING_UNTOLD;
	if (eu_where && !eu_passes(errno, failed ? -ret : 0))
		return 0;
	area = eu_scratch(uring);
	if (!area)
		return 0;
	event = (void *)area;
	event->header = request->header;
	event->header.boot_ns = bpf_ktime_get_boot_ns();
	fill(event, request->args.flags, failed ? ret : 0, event->header.boot_ns);
	/* Else its process has ended, and a kernel thread does the ring's last work. */
	if (ret >= 0 && task->tgid == request->header.pid) {
		struct file *file = opened_file(task, request, ret);

		if (file)
			put_resolved(event, area, &size, file);
	} else if (request->args.path) {
		event->path = eu_put_kernel_str(area, &size, request->text, EU_PATH_MAX);
	}
	eu_output(area, size);
	return 0;
}

EU_URING_SUBMIT(open, submitted)
EU_URING_COMPLETE(open, may_open, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
