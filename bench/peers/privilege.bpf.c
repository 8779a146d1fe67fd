/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Calls with which a process changes or uses privileges, when they end, with what it was before and after. What it was is kept
 * by thread from the call's beginning on, as libbpf-tools keep what they need at a call's end. Whom ptrace(2) and its like are
 * done to is left out, as are the attributes of bpf(2) and children in new namespaces: what is compared is a call without these.
 */
#include "peer.bpf.h"

#define CLONE_ANY_NS 0x7e020080ULL
#define PR_SET_NO_NEW_PRIVS 38
#define CAPABILITY_VERSION_1 0x19980330

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
typedef struct {
	u64 val;
} kernel_cap_t;
struct user_namespace {
	int level;
	struct ns_common ns;
};
struct cred___all {
	kuid_t uid, suid, euid, fsuid;
	kgid_t gid, sgid, egid, fsgid;
	unsigned int securebits;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective, cap_bset, cap_ambient;
	struct user_namespace *user_ns;
};
struct uts_namespace {
	struct ns_common ns;
};
struct ipc_namespace {
	struct ns_common ns;
};
struct cgroup_namespace {
	struct ns_common ns;
};
struct time_namespace {
	struct ns_common ns;
};
struct nsproxy___all {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns_for_children;
	struct cgroup_namespace *cgroup_ns;
};
struct seccomp {
	int mode;
};
struct task_struct___all {
	struct seccomp seccomp;
	unsigned long atomic_flags;
};
#pragma clang attribute pop

struct state {
	__u64 cap_effective, cap_permitted, cap_inheritable, cap_bounding, cap_ambient;
	__u32 uid, euid, suid, fsuid, gid, egid, sgid, fsgid;
	__u32 user_ns, user_ns_level, mount_ns, pid_ns, net_ns, uts_ns, ipc_ns, cgroup_ns, time_ns;
	__u32 securebits, seccomp_mode, no_new_privs;
};

struct record {
	struct facts facts;
	struct facts target; /* whom it is done to; all 0: nobody */
	__s32 error;
	__u32 call; /* its number */
	__u32 before_known, memory_known;
	__s64 result;
	__u64 args[5], detail[3];
	struct state before, after;
	char text[TEXT], second[TEXT]; /* a path or a name, and what else is passed */
	struct path_text resolved;     /* of a new root, or of a file */
};
RECORD(record);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct state);
} begun SEC(".maps");

static __always_inline void read_state(struct state *state, struct task_struct *task)
{
	struct nsproxy___all *spaces = (void *)BPF_CORE_READ(task, nsproxy);
	struct cred___all *cred = (void *)BPF_CORE_READ(task, cred);

	state->cap_effective = BPF_CORE_READ(cred, cap_effective.val);
	state->cap_permitted = BPF_CORE_READ(cred, cap_permitted.val);
	state->cap_inheritable = BPF_CORE_READ(cred, cap_inheritable.val);
	state->cap_bounding = BPF_CORE_READ(cred, cap_bset.val);
	state->cap_ambient = BPF_CORE_READ(cred, cap_ambient.val);
	state->uid = BPF_CORE_READ(cred, uid.val);
	state->euid = BPF_CORE_READ(cred, euid.val);
	state->suid = BPF_CORE_READ(cred, suid.val);
	state->fsuid = BPF_CORE_READ(cred, fsuid.val);
	state->gid = BPF_CORE_READ(cred, gid.val);
	state->egid = BPF_CORE_READ(cred, egid.val);
	state->sgid = BPF_CORE_READ(cred, sgid.val);
	state->fsgid = BPF_CORE_READ(cred, fsgid.val);
	state->user_ns = BPF_CORE_READ(cred, user_ns, ns.inum);
	state->user_ns_level = BPF_CORE_READ(cred, user_ns, level);
	state->mount_ns = BPF_CORE_READ(spaces, mnt_ns, ns.inum);
	state->pid_ns = BPF_CORE_READ(spaces, pid_ns_for_children, ns.inum);
	state->net_ns = BPF_CORE_READ(spaces, net_ns, ns.inum);
	state->uts_ns = BPF_CORE_READ(spaces, uts_ns, ns.inum);
	state->ipc_ns = BPF_CORE_READ(spaces, ipc_ns, ns.inum);
	state->cgroup_ns = BPF_CORE_READ(spaces, cgroup_ns, ns.inum);
	state->time_ns = BPF_CORE_READ(spaces, time_ns_for_children, ns.inum);
	state->securebits = BPF_CORE_READ(cred, securebits);
	state->seccomp_mode = BPF_CORE_READ((struct task_struct___all *)task, seccomp.mode);
	state->no_new_privs = BPF_CORE_READ((struct task_struct___all *)task, atomic_flags) & 1;
}

static __always_inline bool changes(long nr)
{
	switch (nr) {
	case __NR_setuid:
	case __NR_setreuid:
	case __NR_setresuid:
	case __NR_setfsuid:
	case __NR_setgid:
	case __NR_setregid:
	case __NR_setresgid:
	case __NR_setfsgid:
	case __NR_setgroups:
	case __NR_capset:
	case __NR_setns:
	case __NR_unshare:
	case __NR_prctl:
	case __NR_seccomp: return true;
	}
	return false;
}

/* Beside those that change the caller. */
static __always_inline bool uses(long nr)
{
	switch (nr) {
	case __NR_clone:
	case __NR_clone3:
	case __NR_chroot:
	case __NR_pivot_root:
	case __NR_ptrace:
	case __NR_process_vm_readv:
	case __NR_process_vm_writev:
	case __NR_pidfd_getfd:
	case __NR_bpf:
	case __NR_init_module:
	case __NR_finit_module:
	case __NR_delete_module:
	case __NR_kexec_load:
	case __NR_kexec_file_load:
	case __NR_memfd_create:
	case __NR_userfaultfd:
	case __NR_add_key:
	case __NR_request_key:
	case __NR_keyctl:
	case __NR_perf_event_open:
#ifdef __NR_iopl
	case __NR_iopl:
	case __NR_ioperm:
#endif
		return true;
	}
	return false;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(privilege_enter, struct pt_regs *regs, long nr)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct state state;

	if (!changes(nr) || !wanted())
		return 0;
	if (nr == __NR_prctl && ARG1(regs) != PR_SET_NO_NEW_PRIVS)
		return 0;
	read_state(&state, bpf_get_current_task_btf());
	bpf_map_update_elem(&begun, &tid, &state, BPF_ANY);
	return 0;
}

static __always_inline void read_capset(struct record *record, const void *head, const void *data)
{
	__u32 version = 0, sets[6] = {};

	bpf_probe_read_user(&version, sizeof(version), head);
	record->memory_known =
		!bpf_probe_read_user(sets, version == CAPABILITY_VERSION_1 ? sizeof(sets) / 2 : sizeof(sets), data);
	record->detail[0] = (__u64)sets[3] << 32 | sets[0];
	record->detail[1] = (__u64)sets[4] << 32 | sets[1];
	record->detail[2] = (__u64)sets[5] << 32 | sets[2];
}

static __always_inline void put_file(struct path_text *path, __u32 fd)
{
	struct file *file = file_of(fd);

	if (file)
		put_path(path, &file->f_path);
}

static __always_inline struct record *begin(struct pt_regs *regs, long ret)
{
	struct record *record = RESERVE(struct record);

	if (!record)
		return NULL;
	fill(&record->facts);
	__builtin_memset(&record->target, 0, sizeof(record->target));
	record->error = error_of(ret);
	record->result = ret < 0 ? 0 : ret;
	record->call = NR(regs);
	record->memory_known = 0;
	record->args[0] = ARG1(regs);
	record->args[1] = ARG2(regs);
	record->args[2] = ARG3(regs);
	record->args[3] = ARG4(regs);
	record->args[4] = ARG5(regs);
	record->detail[0] = record->detail[1] = record->detail[2] = 0;
	record->text[0] = record->second[0] = 0;
	no_path(&record->resolved);
	return record;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(privilege_exit, struct pt_regs *regs, long ret)
{
	struct record *record;
	struct state *before;
	long nr = NR(regs);
	__u64 flags;
	__u32 tid;

	if ((!changes(nr) && !uses(nr)) || !wanted())
		return 0;
	if (nr == __NR_prctl && ARG1(regs) != PR_SET_NO_NEW_PRIVS)
		return 0;
	if (nr == __NR_clone || nr == __NR_clone3) { /* one that succeeds is the child's */
		flags = ARG1(regs);
		if (nr == __NR_clone3 && bpf_probe_read_user(&flags, sizeof(flags), (void *)ARG1(regs)))
			return 0;
		if (ret >= 0 || !(flags & CLONE_ANY_NS & ~0xffULL))
			return 0;
	}
	record = begin(regs, ret);
	if (!record)
		return 0;
	read_state(&record->after, bpf_get_current_task_btf());
	tid = record->facts.tid;
	before = changes(nr) ? bpf_map_lookup_elem(&begun, &tid) : NULL;
	record->before_known = before || ret < 0 || !changes(nr);
	if (before) {
		record->before = *before;
		record->facts.uid = before->uid;
		record->facts.gid = before->gid;
		record->facts.mount_ns = before->mount_ns;
		bpf_map_delete_elem(&begun, &tid);
	} else {
		record->before = record->after;
	}
	switch (nr) {
	case __NR_capset: read_capset(record, (void *)ARG1(regs), (void *)ARG2(regs)); break;
	case __NR_pivot_root: read_text(record->second, (void *)ARG2(regs)); /* fallthrough */
	case __NR_chroot:
		read_text(record->text, (void *)ARG1(regs));
		if (ret >= 0)
			put_path(&record->resolved, &bpf_get_current_task_btf()->fs->root);
		break;
	case __NR_setns: put_file(&record->resolved, ARG1(regs)); break;
	case __NR_finit_module:
		put_file(&record->resolved, ARG1(regs));
		read_text(record->second, (void *)ARG2(regs));
		break;
	case __NR_delete_module:
	case __NR_memfd_create: read_text(record->text, (void *)ARG1(regs)); break;
	case __NR_add_key:
	case __NR_request_key:
		read_text(record->second, (void *)ARG1(regs));
		read_text(record->text, (void *)ARG2(regs));
		break;
	}
	SUBMIT(record);
	return 0;
}
