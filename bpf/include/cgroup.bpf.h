/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Programs of cgroups, which the kernel runs to ask whether something is allowed. The server attaches them to the root of the v2
 * hierarchy, so that they run for all processes. They need CAP_NET_ADMIN.
 *
 * A tracker only watches: each program returns 1, "allowed", whatever happens. EU_CGROUP_PROGRAM is the only way to define one, so that
 * no path through a tracker's code can refuse anything; `npm run lint` refuses any other (scripts/sections.mjs).
 */
#ifndef EUNOMIA_CGROUP_BPF_H
#define EUNOMIA_CGROUP_BPF_H

#include "eunomia.bpf.h"

/* EU_CGROUP_PROGRAM("cgroup/connect4", dns_connect4, struct bpf_sock_addr) { … } */
#define EU_CGROUP_PROGRAM(section, name, type)               \
	static __always_inline void name##_watch(type *ctx); \
	SEC(section)                                         \
	int name(type *ctx)                                  \
	{                                                    \
		name##_watch(ctx);                           \
		return 1;                                    \
	}                                                    \
	static __always_inline void name##_watch(type *ctx)

#endif
