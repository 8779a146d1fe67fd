/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * privilege: one event for each call with which a process changes or uses privileges, when it ends: with its arguments, and with
 * credentials and namespaces before and after.
 *
 * At a call's end they are the new ones, and so is the process's uid. Calls that can change them are therefore seen at their entry
 * too. A call that fails has changed nothing, and may have no entry: seccomp comes before it. A child in new namespaces is seen where
 * it is forked.
 */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "file.bpf.h"
#include "path.bpf.h"
#include "privilege_calls.bpf.h"
#include "privilege_state.bpf.h"
#include "task.bpf.h"

struct privilege_event {
	struct eu_header header; /* uid, gid and mount_ns are those before */
	struct eu_header target; /* whom it is done to; all 0: nobody, or not known */
	eu_errno errno;
	enum privilege_operation privilege_operation;
	enum privilege_call privilege_call;
	enum eu_path_state resolved_state;
	bool before_known;
	bool memory_known; /* what the caller pointed to was read: `detail_…` */
	__u8 reserved[7];
	__s64 result;
	__u64 command; /* which of a call's commands: its set << 32 | its number; 0: the call has none */
	__u64 arg_0;
	__u64 arg_1;
	__u64 arg_2;
	__u64 arg_3;
	__u64 arg_4;
	__u64 detail_0; /* numbers in the caller's memory */
	__u64 detail_1;
	__u64 detail_2;
	PRIVILEGE_STATE(before);
	PRIVILEGE_STATE(after);
	eu_str path;
	eu_str directory; /* where a relative `path` starts */
	eu_str object_name;
	eu_str object_type;
	eu_str second; /* a further text */
	eu_str resolved;
};
EU_EVENT(privilege);

EU_SCRATCH(privilege);

EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(called);
EU_WHERE_NUMBER(command);
EU_WHERE_NUMBER(target_pid);
EU_WHERE_NUMBER(euid_before);
EU_WHERE_NUMBER(euid_after);
EU_WHERE_TEXT(path);
EU_WHERE_TEXT(object_name);

const volatile bool failed_only = false; /* option: only calls that fail */
/* The server's process, or 0: to attach a session's programs it calls bpf(2) again and again. */
const volatile __u32 eu_self = 0;

/* include/uapi/linux/keyctl.h, ptrace.h, bpf.h, capability.h, sched.h */
#define KEYCTL_JOIN_SESSION_KEYRING 1
#define PTRACE_TRACEME 0
#define PERF_FLAG_PID_CGROUP 4 /* include/uapi/linux/perf_event.h */
#define BPF_MAP_CREATE 0
#define BPF_PROG_LOAD 5
#define BPF_OBJ_PIN 6
#define BPF_OBJ_GET 7
#define BPF_PROG_ATTACH 8
#define BPF_RAW_TRACEPOINT_OPEN 17
#define BPF_LINK_CREATE 28
#define CAPABILITY_VERSION_1 0x19980330
#define CLONE_ANY_NS 0x7e020080ULL /* NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET */
#define CLONE_SIGNAL 0xffULL       /* of clone: the lowest byte is a signal's number */

#define NAME_MAX 256
#define TEXT_MAX 4096

/* ---- Whom it is done to ---- */

/* The calls that are done to another process, as target_of. */
static __always_inline bool has_target(__u32 call)
{
	return call == PRIVILEGE_CALL_PTRACE || call == PRIVILEGE_CALL_PROCESS_VM_READV ||
	       call == PRIVILEGE_CALL_PROCESS_VM_WRITEV || call == PRIVILEGE_CALL_PERF_EVENT_OPEN ||
	       call == PRIVILEGE_CALL_SETNS || call == PRIVILEGE_CALL_PIDFD_GETFD;
}

static __always_inline __u64 target_of(__u32 call, const unsigned long args[EU_CALL_ARGS])
{
	switch (call) {
	case PRIVILEGE_CALL_PTRACE:
		/* The caller becomes its parent's tracee. */
		if ((__u32)args[0] == PTRACE_TRACEME)
			return (__u64)BPF_CORE_READ(bpf_get_current_task_btf(), real_parent);
		return eu_task_numbered(args[1]);
	case PRIVILEGE_CALL_PROCESS_VM_READV:
	case PRIVILEGE_CALL_PROCESS_VM_WRITEV: return eu_task_numbered(args[0]);
	case PRIVILEGE_CALL_PERF_EVENT_OPEN:
		/* With this flag the number is the descriptor of a cgroup. */
		return (__s32)args[1] > 0 && !(args[4] & PERF_FLAG_PID_CGROUP) ? eu_task_numbered(args[1]) : 0;
	case PRIVILEGE_CALL_SETNS:
	case PRIVILEGE_CALL_PIDFD_GETFD: return eu_task_of_descriptor(args[0]);
	default: return 0;
	}
}

/* ---- Calls that change the caller: what it was at their entry ---- */

struct privilege_entry {
	__u32 value; /* of the call; 0: taken */
	__u32 uid;
	__u32 gid;
	__u32 mount_ns;
	__u32 held;   /* the target holds the process as it was */
	__u32 passes; /* and so does the filter */
	struct privilege_state state;
};
/* In the task itself: what is left of a call without an end goes with the task. Since Linux 5.12 (a10787e6d58c). */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct privilege_entry);
} privilege_entries SEC(".maps");

SEC("tp_btf/sys_enter")
int BPF_PROG(privilege_enter, struct pt_regs *regs, long nr)
{
	struct eu_matched_call call = eu_match_call((int)nr);
	struct privilege_entry *entry;
	struct task_struct *task;
	__u32 set;

	if (!(call.value & CALL_CHANGES))
		return 0;
	task = bpf_get_current_task_btf();
	if (!has_target(CALL(call.value)) && !eu_target_may_hold(task))
		return 0;
	set = set_of(CALL(call.value));
	if (set) {
		unsigned long args[EU_CALL_ARGS];

		eu_read_args(regs, call.narrow, args);
		if (!(command_use(set, args[0]) & COMMAND_CHANGES))
			return 0;
	}
	entry = eu_in_task(&privilege_entries, task);
	if (!entry)
		return 0;
	entry->value = call.value;
	entry->held = eu_target_holds(task, task);
	entry->passes = !eu_where || eu_task_passes(task, task);
	if (!entry->passes)
		return 0;
	entry->uid = eu_far(task)->cred->uid.val;
	entry->gid = eu_far(task)->cred->gid.val;
	entry->mount_ns = eu_far(task)->nsproxy->mnt_ns->ns.inum;
	privilege_read_state(&entry->state, eu_address(task));
	return 0;
}

/* What was kept of the call that ends now; NULL: its entry was not seen. */
static __always_inline struct privilege_entry *entry_of(struct task_struct *task, __u32 value)
{
	struct privilege_entry *entry;

	if (!(value & CALL_CHANGES))
		return NULL;
	entry = bpf_task_storage_get(&privilege_entries, task, NULL, 0);
	if (!entry || entry->value != value)
		return NULL;
	entry->value = 0;
	return entry;
}

/* ---- What the arguments point to ---- */

/* The attributes of bpf(2): as much of them as is looked at. */
#define BPF_ATTR_BYTES 72
struct bpf_attr_bytes {
	union {
		__u32 words[BPF_ATTR_BYTES / 4];
		__u64 longs[BPF_ATTR_BYTES / 8];
		char text[BPF_ATTR_BYTES];
	};
};

static __always_inline void put_bpf(struct eu_area *area, __u32 *size, __u32 command, const void *from, __u32 length)
{
	struct privilege_event *event = (void *)area;
	struct bpf_attr_bytes attr = {};

	if (length > BPF_ATTR_BYTES)
		length = BPF_ATTR_BYTES;
	barrier_var(length); /* the compiler knows the bound that the verifier is shown here */
	if (bpf_probe_read_user(&attr, length & 127, from))
		return;
	event->memory_known = true;
	event->detail_0 = attr.words[0];
	switch (command) {
	case BPF_PROG_LOAD: /* prog_type, insn_cnt, … prog_name, prog_ifindex, expected_attach_type */
		event->detail_1 = attr.words[17];
		event->detail_2 = attr.words[1];
		event->object_name = eu_put_kernel_str(area, size, attr.text + 48, 16);
		break;
	case BPF_MAP_CREATE: /* map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name */
		event->detail_2 = attr.words[3];
		event->object_name = eu_put_kernel_str(area, size, attr.text + 28, 16);
		break;
	case BPF_OBJ_PIN:
	case BPF_OBJ_GET: /* pathname */
		event->path = eu_put_user_str(area, size, (void *)attr.longs[0], EU_PATH_MAX);
		break;
	case BPF_RAW_TRACEPOINT_OPEN: /* name */
		event->object_name = eu_put_user_str(area, size, (void *)attr.longs[0], NAME_MAX);
		break;
	case BPF_PROG_ATTACH:
	case BPF_LINK_CREATE: /* two descriptors, attach_type */ event->detail_1 = attr.words[2]; break;
	}
}

/* The sets that capset(2) passes: effective, permitted, inheritable; the upper halves behind the lower ones, but in its first version. */
static __always_inline void read_capset(struct privilege_event *event, const void *head, const void *data)
{
	__u32 version = 0, sets[6] = {};

	bpf_probe_read_user(&version, sizeof(version), head);
	if (bpf_probe_read_user(sets, version == CAPABILITY_VERSION_1 ? sizeof(sets) / 2 : sizeof(sets), data))
		return;
	event->memory_known = true;
	event->detail_0 = (__u64)sets[3] << 32 | sets[0];
	event->detail_1 = (__u64)sets[4] << 32 | sets[1];
	event->detail_2 = (__u64)sets[5] << 32 | sets[2];
}

static __always_inline void put_passed(struct eu_area *area, __u32 *size, __u32 call,
				       const unsigned long args[EU_CALL_ARGS])
{
	struct privilege_event *event = (void *)area;

	switch (call) {
	case PRIVILEGE_CALL_CAPSET: read_capset(event, (void *)args[0], (void *)args[1]); break;
	case PRIVILEGE_CALL_CLONE3:
		event->memory_known = !bpf_probe_read_user(&event->detail_0, sizeof(event->detail_0), (void *)args[0]);
		break;
	case PRIVILEGE_CALL_PIVOT_ROOT:
		event->second = eu_put_user_str(area, size, (void *)args[1], TEXT_MAX);
		/* fallthrough */
	case PRIVILEGE_CALL_CHROOT: event->path = eu_put_user_str(area, size, (void *)args[0], EU_PATH_MAX); break;
	case PRIVILEGE_CALL_BPF: put_bpf(area, size, args[0], (void *)args[1], args[2]); break;
	case PRIVILEGE_CALL_INIT_MODULE: event->second = eu_put_user_str(area, size, (void *)args[2], TEXT_MAX); break;
	case PRIVILEGE_CALL_FINIT_MODULE: event->second = eu_put_user_str(area, size, (void *)args[1], TEXT_MAX); break;
	case PRIVILEGE_CALL_KEXEC_FILE_LOAD:
		event->second = eu_put_user_str(area, size, (void *)args[3], TEXT_MAX);
		break;
	case PRIVILEGE_CALL_DELETE_MODULE:
	case PRIVILEGE_CALL_MEMFD_CREATE:
		event->object_name = eu_put_user_str(area, size, (void *)args[0], NAME_MAX);
		break;
	case PRIVILEGE_CALL_ADD_KEY:
	case PRIVILEGE_CALL_REQUEST_KEY:
		event->object_type = eu_put_user_str(area, size, (void *)args[0], NAME_MAX);
		event->object_name = eu_put_user_str(area, size, (void *)args[1], TEXT_MAX);
		break;
	case PRIVILEGE_CALL_KEYCTL:
		if ((__u32)args[0] == KEYCTL_JOIN_SESSION_KEYRING && args[1])
			event->object_name = eu_put_user_str(area, size, (void *)args[1], TEXT_MAX);
		break;
	}
}

/* The file that the call is about, or that it has given: its `struct path`, or NULL. */
static __always_inline const void *file_of(__u32 call, const unsigned long args[EU_CALL_ARGS], long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = NULL;

	switch (call) {
	case PRIVILEGE_CALL_CHROOT:
	case PRIVILEGE_CALL_PIVOT_ROOT: {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);

		return ret < 0 ? NULL : &fs->root;
	}
	case PRIVILEGE_CALL_SETNS:
	case PRIVILEGE_CALL_FINIT_MODULE:
	case PRIVILEGE_CALL_KEXEC_FILE_LOAD: file = eu_file(task, args[0]); break;
	case PRIVILEGE_CALL_PIDFD_GETFD: file = ret < 0 ? NULL : eu_file(task, ret); break;
	}
	return file ? &file->f_path : NULL;
}

/* ---- Events ---- */

static __always_inline void clear(struct privilege_event *event, __u32 value, const unsigned long args[EU_CALL_ARGS])
{
	event->privilege_operation = OPERATION(value);
	event->privilege_call = CALL(value);
	event->resolved_state = 0;
	event->memory_known = false;
	__builtin_memset(event->reserved, 0, sizeof(event->reserved));
	event->command = 0;
	event->arg_0 = args[0];
	event->arg_1 = args[1];
	event->arg_2 = args[2];
	event->arg_3 = args[3];
	event->arg_4 = args[4];
	event->detail_0 = event->detail_1 = event->detail_2 = 0;
	event->path = event->directory = event->object_name = event->object_type = event->second = event->resolved = 0;
}

static __always_inline unsigned long widened(unsigned long id)
{
	return (__u16)id == 0xffff ? 0xffffffff : (__u16)id;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(privilege_exit, struct pt_regs *regs, long ret)
{
	struct eu_matched_call matched = eu_match_call(eu_syscall_nr(regs));
	__u32 call, set, size = sizeof(struct privilege_event);
	bool failed = eu_is_error(ret), changes, held, passes;
	unsigned long args[EU_CALL_ARGS];
	struct privilege_entry *entry;
	struct privilege_event *event;
	struct task_struct *task;
	struct eu_area *area;
	const void *path;
	__u64 command = 0;

	if (!matched.value)
		return 0;
	task = bpf_get_current_task_btf();
	if (eu_self && task->tgid == eu_self)
		return 0;
	call = CALL(matched.value);
	if (!has_target(call) && !eu_target_may_hold(task))
		return 0;
	set = set_of(call);
	changes = matched.value & CALL_CHANGES;
	entry = entry_of(task, matched.value);
	if (failed_only && !failed)
		return 0;
	eu_read_args(regs, matched.narrow, args);
	if (set) {
		__u32 use = command_use(set, args[0]);

		if (!(use & COMMAND_REPORTED))
			return 0;
		changes = changes && use & COMMAND_CHANGES;
		command = (__u64)set << 32 | (__u32)args[0];
	}
	if (call == PRIVILEGE_CALL_CLONE || call == PRIVILEGE_CALL_CLONE3) {
		/* One that succeeds is the child's: privilege_fork. */
		__u64 flags = args[0] & ~CLONE_SIGNAL;

		if (!failed)
			return 0;
		if (call == PRIVILEGE_CALL_CLONE3 && bpf_probe_read_user(&flags, sizeof(flags), (void *)args[0]))
			return 0;
		if (!(flags & CLONE_ANY_NS))
			return 0;
	}
	ret = eu_user_ret(ret);
	if (eu_where && (!eu_passes(operation, OPERATION(matched.value)) || !eu_passes(called, call) ||
			 !eu_passes(errno, failed ? -ret : 0) || !eu_passes(command, command)))
		return 0;
	held = entry ? entry->held : eu_target_holds(task, task);
	passes = entry ? entry->passes : !eu_where || eu_task_passes(task, task);
	if (!passes)
		return 0;
	area = eu_scratch(privilege);
	if (!area)
		return 0;
	event = (void *)area;
	eu_fill_at(&event->target, target_of(call, args));
	if (!held && !eu_target_holds_header(&event->target))
		return 0;
	if (eu_where && !eu_passes(target_pid, event->target.pid))
		return 0;
	if (matched.value & CALL_SHORT_IDS) {
		args[0] = widened(args[0]);
		args[1] = widened(args[1]);
		args[2] = widened(args[2]);
	}
	clear(event, matched.value, args);
	eu_fill(&event->header);
	event->errno = failed ? ret : 0;
	event->result = failed ? 0 : ret;
	event->command = command;
	privilege_read_state(privilege_after(event), eu_address(task));
	event->before_known = entry || failed || !changes;
	if (entry) {
		event->header.uid = entry->uid;
		event->header.gid = entry->gid;
		event->header.mount_ns = entry->mount_ns;
		*privilege_before(event) = entry->state;
	} else {
		/* A call that changes nothing, or has failed. */
		*privilege_before(event) = *privilege_after(event);
	}
	if (eu_where && (!eu_passes(euid_before, event->before_known ? event->euid_before : -1LL) ||
			 !eu_passes(euid_after, event->euid_after)))
		return 0;
	put_passed(area, &size, call, args);
	if (eu_where &&
	    (!eu_passes_text(path, area, event->path) || !eu_passes_text(object_name, area, event->object_name)))
		return 0;
	if ((call == PRIVILEGE_CALL_CHROOT || call == PRIVILEGE_CALL_PIVOT_ROOT) &&
	    eu_is_relative(area, event->path, (void *)args[0]))
		event->directory = eu_put_directory(area, &size, AT_FDCWD);
	path = file_of(call, args, ret);
	if (path) {
		struct eu_path resolved = eu_put_path(area, &size, path, true);

		event->resolved = resolved.text;
		event->resolved_state = resolved.state;
	}
	eu_output(area, size);
	return 0;
}

/* A child in other namespaces than its parent's: what is true of it, whatever was asked for. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(privilege_fork, struct task_struct *parent, struct task_struct *child)
{
	unsigned long args[EU_CALL_ARGS];
	struct eu_matched_call matched;
	struct privilege_event *event;
	struct eu_area *area;
	struct pt_regs *regs;
	__u32 call;

	if (!privilege_in_other_namespaces(parent, child))
		return 0;
	regs = (void *)bpf_task_pt_regs(parent);
	matched = eu_match_call(eu_syscall_nr(regs));
	call = CALL(matched.value);
	if (call != PRIVILEGE_CALL_CLONE && call != PRIVILEGE_CALL_CLONE3)
		return 0;
	if (failed_only || (eu_self && parent->tgid == eu_self))
		return 0;
	if (eu_where && (!eu_passes(operation, OPERATION(matched.value)) || !eu_passes(called, call) ||
			 !eu_passes(errno, 0) || !eu_passes(command, 0) || !eu_passes(target_pid, child->tgid)))
		return 0;
	if (!eu_wanted_either(parent, child))
		return 0;
	area = eu_scratch(privilege);
	if (!area)
		return 0;
	event = (void *)area;
	eu_read_args(regs, matched.narrow, args);
	clear(event, matched.value, args);
	eu_fill(&event->header);
	eu_fill_at(&event->target, eu_address(child));
	event->errno = 0;
	event->result = privilege_number_for(parent, child);
	event->before_known = true;
	privilege_read_state(privilege_before(event), eu_address(parent));
	privilege_read_state(privilege_after(event), eu_address(child));
	if (eu_where && (!eu_passes(euid_before, event->euid_before) || !eu_passes(euid_after, event->euid_after) ||
			 !eu_passes_text(path, area, 0) || !eu_passes_text(object_name, area, 0)))
		return 0;
	if (call == PRIVILEGE_CALL_CLONE3)
		event->memory_known = !bpf_probe_read_user(&event->detail_0, sizeof(event->detail_0), (void *)args[0]);
	eu_output(area, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
