/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The maps that a session's objects share: its ring and its filter (eunomia.bpf.h). No programs, so that
 * libbpf need not read the kernel's BTF for it, which takes longer than all the rest.
 */
#define EU_NO_EVENTS
#include "eunomia.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
