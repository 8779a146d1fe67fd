/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What privileges a task has: its credentials and its namespaces. Of the tracker privilege, which reports them before and after. */
#ifndef EUNOMIA_PRIVILEGE_STATE_BPF_H
#define EUNOMIA_PRIVILEGE_STATE_BPF_H

#include "eunomia.bpf.h"

/* Members of a record, twice, and of what is kept in between. */
#define PRIVILEGE_STATE(when)         \
	__u64 cap_effective_##when;   \
	__u64 cap_permitted_##when;   \
	__u64 cap_inheritable_##when; \
	__u64 cap_bounding_##when;    \
	__u64 cap_ambient_##when;     \
	__u32 uid_##when;             \
	__u32 euid_##when;            \
	__u32 suid_##when;            \
	__u32 fsuid_##when;           \
	__u32 gid_##when;             \
	__u32 egid_##when;            \
	__u32 sgid_##when;            \
	__u32 fsgid_##when;           \
	__u32 user_ns_##when;         \
	__u32 user_ns_level_##when;   \
	__u32 mount_ns_##when;        \
	__u32 pid_ns_##when;          \
	__u32 net_ns_##when;          \
	__u32 uts_ns_##when;          \
	__u32 ipc_ns_##when;          \
	__u32 cgroup_ns_##when;       \
	__u32 time_ns_##when;         \
	__u32 securebits_##when;      \
	__u32 seccomp_mode_##when;    \
	__u32 no_new_privs_##when

struct privilege_state {
	PRIVILEGE_STATE(now);
};
#define privilege_before(event) ((struct privilege_state *)&(event)->cap_effective_before)
#define privilege_after(event) ((struct privilege_state *)&(event)->cap_effective_after)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* Eight bytes; before Linux 6.3 (f122a08b197d "capability: just use a 'u64' instead of a 'u32[2]' array") two numbers, the lower first. */
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

#define PFA_NO_NEW_PRIVS 1 /* include/linux/sched.h: bit 0 */

#define privilege_read_caps(cred, set)                                                                         \
	({                                                                                                     \
		__u64 eu_caps = 0;                                                                             \
		if (eu_has_bpf_rdonly_cast && bpf_core_field_exists((cred)->set.val))                          \
			eu_caps = eu_far(cred)->set.val;                                                       \
		else                                                                                           \
			bpf_probe_read_kernel(&eu_caps, sizeof(eu_caps),                                       \
					      (void *)(cred) + bpf_core_field_offset(struct cred___all, set)); \
		eu_caps;                                                                                       \
	})

/* Not static, so that the verifier checks it once a program. */
__attribute__((noinline)) int privilege_read_state(struct privilege_state *state, __u64 address)
{
	struct task_struct *task = (void *)address;
	struct nsproxy___all *spaces;
	struct cred___all *cred;

	if (!state || !task)
		return 0;
	cred = (void *)EU_READ(task, cred);
	spaces = (void *)EU_READ(task, nsproxy);
	state->cap_effective_now = privilege_read_caps(cred, cap_effective);
	state->cap_permitted_now = privilege_read_caps(cred, cap_permitted);
	state->cap_inheritable_now = privilege_read_caps(cred, cap_inheritable);
	state->cap_bounding_now = privilege_read_caps(cred, cap_bset);
	state->cap_ambient_now = privilege_read_caps(cred, cap_ambient);
	state->uid_now = EU_READ(cred, uid.val);
	state->euid_now = EU_READ(cred, euid.val);
	state->suid_now = EU_READ(cred, suid.val);
	state->fsuid_now = EU_READ(cred, fsuid.val);
	state->gid_now = EU_READ(cred, gid.val);
	state->egid_now = EU_READ(cred, egid.val);
	state->sgid_now = EU_READ(cred, sgid.val);
	state->fsgid_now = EU_READ(cred, fsgid.val);
	state->user_ns_now = EU_READ_THROUGH(cred, user_ns, ns.inum);
	state->user_ns_level_now = EU_READ_THROUGH(cred, user_ns, level);
	state->mount_ns_now = EU_READ_THROUGH(spaces, mnt_ns, ns.inum);
	state->pid_ns_now = EU_READ_THROUGH(spaces, pid_ns_for_children, ns.inum);
	state->net_ns_now = EU_READ_THROUGH(spaces, net_ns, ns.inum);
	state->uts_ns_now = EU_READ_THROUGH(spaces, uts_ns, ns.inum);
	state->ipc_ns_now = EU_READ_THROUGH(spaces, ipc_ns, ns.inum);
	state->cgroup_ns_now = EU_READ_THROUGH(spaces, cgroup_ns, ns.inum);
	state->time_ns_now = bpf_core_type_exists(struct time_namespace)
				     ? EU_READ_THROUGH(spaces, time_ns_for_children, ns.inum)
				     : 0;
	state->securebits_now = EU_READ(cred, securebits);
	state->seccomp_mode_now = bpf_core_field_exists(struct task_struct___all, seccomp)
					  ? EU_READ((struct task_struct___all *)task, seccomp.mode)
					  : 0;
	state->no_new_privs_now = EU_READ((struct task_struct___all *)task, atomic_flags) & PFA_NO_NEW_PRIVS;
	return 0;
}

/*
 * Is a child in a namespace that its parent is not in? Its own time namespace is no sign of that: it is that of the parent's children. Most
 * children share all of the parent's (one comparison), a thread its credentials too.
 */
static __always_inline bool privilege_in_other_namespaces(struct task_struct *parent, struct task_struct *child)
{
	struct nsproxy___all *old, *new;
	struct cred___all *cred, *own;

	parent = eu_far(parent);
	child = eu_far(child);
	cred = (void *)parent->cred;
	own = (void *)child->cred;
	if (cred != own && BPF_CORE_READ(cred, user_ns) != BPF_CORE_READ(own, user_ns))
		return true;
	old = (void *)parent->nsproxy;
	new = (void *)child->nsproxy;
	if (old == new)
		return false;
	return BPF_CORE_READ(old, mnt_ns) != BPF_CORE_READ(new, mnt_ns) ||
	       BPF_CORE_READ(old, uts_ns) != BPF_CORE_READ(new, uts_ns) ||
	       BPF_CORE_READ(old, ipc_ns) != BPF_CORE_READ(new, ipc_ns) ||
	       BPF_CORE_READ(old, pid_ns_for_children) != BPF_CORE_READ(new, pid_ns_for_children) ||
	       BPF_CORE_READ(old, net_ns) != BPF_CORE_READ(new, net_ns) ||
	       BPF_CORE_READ(old, cgroup_ns) != BPF_CORE_READ(new, cgroup_ns) ||
	       BPF_CORE_READ(old, time_ns_for_children) != BPF_CORE_READ(new, time_ns_for_children);
}

/* The child's number in its parent's pid namespace, which clone(2) returns. */
static __always_inline __u32 privilege_number_for(struct task_struct *parent, struct task_struct *child)
{
	struct upid *own = (void *)eu_far(child)->thread_pid + bpf_core_field_offset(struct pid, numbers) +
			   BPF_CORE_READ(parent, thread_pid, level) * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(own, nr);
}

#endif
