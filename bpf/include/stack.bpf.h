/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The stack of a system call in user space: registers, a copy of the stack, and the executable mappings of the process. User space
 * finds the callers by it (src/symbols), as the files of programs say: few programs have the frame pointers that bpf_get_stack() needs.
 *
 * The mappings are read here, since a process which is refused something often ends before anybody else can ask for them.
 */
#ifndef EUNOMIA_STACK_BPF_H
#define EUNOMIA_STACK_BPF_H

#include "eunomia.bpf.h"
#include "syscall.bpf.h"
#include "path.bpf.h"

/* In a record: a captured stack, `length << 16 | offset`, which user space replaces by its frames as texts (src/symbols/capture.ts). */
typedef __u32 eu_stack;

#define EU_STACK_CHUNK 4096
#define EU_STACK_CHUNKS 5 /* the first is a part of one */
#define EU_STACK_MAPPINGS 96
#define EU_STACK_REGISTERS 32
/* No mapping begins behind it: one has two paths of EU_PATH_MAX at most. */
#define EU_STACK_LAST_MAPPING (EU_RECORD_MAX - 3 * EU_PATH_MAX)

/*
 * A stack takes a hundred times the room of another event. So that a flood of refusals does not push others' events out of the ring, an
 * object captures so many of them per turn of 2^27 ns, which is 134 ms; the others say that they were too many.
 */
#define EU_STACK_TURN_BITS 27
#define EU_STACKS_PER_TURN 64
#define EU_STACK_TOO_MANY "(cut: too many stacks at once)"

#define EU_STACK_MAPPINGS_READ 1
#define EU_STACK_MAPPINGS_CUT 2

/* src/symbols/capture.ts reads it, and what follows: the copy of the stack, and the mappings. Each part begins at a multiple of 8. */
struct eu_stack_head {
	__u8 resolved; /* 0: the frames' texts begin with another byte */
	__u8 machine;  /* 1: x86-64, 2: arm64; 0: another one, as in a 32-bit program, of which nothing is read */
	__u8 flags;    /* EU_STACK_MAPPINGS_… */
	__u8 reserved;
	__u16 mappings;
	__u16 reserved2;
	__u32 bytes; /* of the copy */
	__u32 reserved3;
	__u64 address;                       /* that the call returns to */
	__u64 registers[EU_STACK_REGISTERS]; /* by DWARF's numbers */
};

struct eu_mapping {
	__u64 start;
	__u64 end;
	__u64 offset; /* in the file, in bytes */
	__u64 inode;
	__u64 real_inode; /* of the file that an overlay shows there */
	__u32 path;       /* the length of its text, which follows */
	__u32 real; /* of the path of the real file from its file system's root, which follows that; 0: it is none of an overlay */
	__u32 device; /* of the real file: major << 20 | minor */
	__u32 reserved;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
};
struct super_block___device {
	u32 s_dev;
};
struct file___mode {
	unsigned int f_mode;
};
/* Linux 6.7 (def3ae83da02 "fs: store real path instead of fake path in backing file f_path") */
struct backing_file {
	struct path user_path;
};
#if defined(__TARGET_ARCH_x86)
struct pt_regs___stack {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, ip, sp;
};
#else
struct pt_regs___stack {
	u64 regs[31];
	u64 sp;
	u64 pc;
};
#endif
#pragma clang attribute pop

#define EU_VM_EXEC 4                         /* include/linux/mm.h */
#define EU_FMODE_BACKING (1 << 24 | 1 << 25) /* include/linux/fs.h: FMODE_BACKING is one of both */

/* Linux 6.7 (4ac454682158 "bpf: Introduce task_vma open-coded iterator kfuncs") */
struct bpf_iter_task_vma {
	__u64 opaque[1];
} __attribute__((aligned(8)));
extern int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task, __u64 address) __ksym __weak;
extern struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it) __ksym __weak;
extern void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it) __ksym __weak;
const volatile bool eu_has_bpf_iter_task_vma_new = false;

/* Bytes of a page. The loader sets it. */
const volatile __u32 eu_page_bytes = 4096;

/*
 * Where the loop stands: in memory, of which the verifier knows nothing, so that one turn of the loop stands for all. In the area's slack,
 * behind what path.bpf.h uses of it.
 */
struct eu_stack_loop {
	__u32 at;
	__u32 count;
	__u64 seen_from;
};
#define eu_stack_loop(area) ((struct eu_stack_loop *)((area)->bytes + EU_RECORD_MAX + 4 * EU_PATH_MAX))

/*
 * The path by which a process mapped a file: of an overlay's, not that of the file which the overlay shows there. Such a file's mode says
 * that it has both, by another bit in Linux 6.14 than before, which other files may have; but only these file systems have such files.
 */
static __always_inline struct path *eu_mapped_path(struct file *file)
{
	struct path *path = (void *)file + bpf_core_field_offset(struct file, f_path), *user;
	struct file___mode *mode = (void *)file;
	__u32 type = 0;

	if (!bpf_core_field_exists(struct backing_file, user_path) || !(BPF_CORE_READ(mode, f_mode) & EU_FMODE_BACKING))
		return path;
	user = (void *)file + bpf_core_field_offset(struct backing_file, user_path);
	bpf_probe_read_kernel(&type, sizeof(type), BPF_CORE_READ(user, dentry, d_inode, i_sb, s_type, name));
	return type == EU_FS('o', 'v', 'e', 'r') || type == EU_FS('f', 'u', 's', 'e') ? user : path;
}

struct eu_real_walk {
	struct dentry *dentry;
	char *text;
	__u32 at;
	bool whole;
};

static long eu_real_step(__u32 index, void *context)
{
	struct eu_real_walk *walk = context;
	struct dentry *dentry = walk->dentry, *parent = EU_READ(dentry, d_parent);
	__u32 length, at;

	if (dentry == parent) {
		walk->whole = true;
		return 1;
	}
	length = EU_READ(dentry, d_name.len) & (EU_NAME_MAX - 1);
	if (walk->at < length + 1)
		return 1;
	at = (walk->at - length) & (EU_PATH_MAX - 1);
	if (bpf_probe_read_kernel(walk->text + at, length, EU_READ(dentry, d_name.name)))
		return 1;
	at = (at - 1) & (EU_PATH_MAX - 1);
	walk->text[at] = '/';
	walk->at = at;
	walk->dentry = parent;
	return 0;
}

/*
 * Writes the path from a file system's root to a dentry, whatever is mounted where. Returns its length; 0 for one that is too long. When
 * the last process of a container has ended, nobody has its mounts any more, but the files that its overlays show are still where they
 * are.
 */
__attribute__((noinline)) int eu_write_real_path(struct eu_area *area, __u32 offset, __u64 dentry)
{
	struct eu_real_walk walk = {};
	__u32 length;

	if (!eu_has_bpf_iter_task_vma_new || !area)
		return 0;
	walk.dentry = (void *)dentry;
	walk.text = (char *)area->bytes + EU_RECORD_MAX;
	walk.at = EU_PATH_MAX - 1;
	bpf_loop(EU_PATH_DEPTH, eu_real_step, &walk, 0);
	length = (EU_PATH_MAX - 1 - walk.at) & (EU_PATH_MAX - 1);
	if (!walk.whole || bpf_probe_read_kernel(area->bytes + (offset & (EU_RECORD_MAX - 1)), length,
						 walk.text + (walk.at & (EU_PATH_MAX - 1))))
		return 0;
	return length;
}

/*
 * As eu_write_path. Kernels before the iterator check each function that is not static, called or not, and some have no bpf_loop: for them
 * nothing is left of it.
 */
__attribute__((noinline)) int eu_write_mapped_path(struct eu_area *area, __u32 offset, __u64 address, __u64 seen_from)
{
	return eu_has_bpf_iter_task_vma_new ? eu_write_path_here(area, offset, address, seen_from) : 0;
}

static __always_inline void eu_put_mapping(struct eu_area *area, struct vm_area_struct *vma, struct eu_stack_loop *loop)
{
	__u32 at = loop->at & (EU_RECORD_MAX - 1);
	struct eu_mapping *mapping = (void *)(area->bytes + at);
	struct file *file = BPF_CORE_READ(vma, vm_file);
	__u32 length = 0, real = 0;

	mapping->start = EU_READ(vma, vm_start);
	mapping->end = EU_READ(vma, vm_end);
	mapping->offset = EU_READ(vma, vm_pgoff) * eu_page_bytes;
	mapping->inode = mapping->real_inode = 0;
	mapping->device = mapping->reserved = 0;
	if (file) {
		struct path *path = eu_mapped_path(file);
		struct path *shown = (void *)file + bpf_core_field_offset(struct file, f_path);

		mapping->inode = BPF_CORE_READ(path, dentry, d_inode, i_ino);
		length = eu_write_mapped_path(area, at + sizeof(*mapping), (__u64)path, loop->seen_from) >> 16;
		length &= EU_PATH_TEXT_MASK;
		if (path != shown) {
			struct dentry *dentry = BPF_CORE_READ(shown, dentry);
			struct super_block___device *device = (void *)BPF_CORE_READ(dentry, d_inode, i_sb);

			mapping->real_inode = BPF_CORE_READ(dentry, d_inode, i_ino);
			mapping->device = BPF_CORE_READ(device, s_dev);
			real = eu_write_real_path(area, at + sizeof(*mapping) + length, (__u64)dentry);
			real &= EU_PATH_MAX - 1;
		}
	}
	mapping->path = length;
	mapping->real = real;
	loop->at = (at + sizeof(*mapping) + length + real + 7) & ~7;
	loop->count++;
}

/* Puts the executable mappings behind what the area has up to `at`. Returns where they end. */
static __always_inline __u32 eu_put_mappings(struct eu_area *area, struct eu_stack_head *head, __u32 at)
{
	struct eu_stack_loop *loop = eu_stack_loop(area);
	struct task_struct *task = bpf_get_current_task_btf();
	struct nsproxy *nsproxy = EU_READ(task, nsproxy);
	struct bpf_iter_task_vma it;
	struct vm_area_struct *vma;

	loop->at = at;
	loop->count = 0;
	loop->seen_from = (__u64)BPF_CORE_READ(nsproxy, mnt_ns);
	/* It fails where another thread is changing the mappings. */
	if (!bpf_iter_task_vma_new(&it, task, 0))
		head->flags = EU_STACK_MAPPINGS_READ;
	while ((vma = bpf_iter_task_vma_next(&it))) {
		if (!(EU_READ(vma, vm_flags) & EU_VM_EXEC))
			continue;
		if (loop->count >= EU_STACK_MAPPINGS || loop->at > EU_STACK_LAST_MAPPING) {
			head->flags |= EU_STACK_MAPPINGS_CUT;
			break;
		}
		eu_put_mapping(area, vma, loop);
	}
	bpf_iter_task_vma_destroy(&it);
	head->mappings = loop->count;
	return loop->at;
}

#if defined(__TARGET_ARCH_x86)
static __always_inline void eu_put_registers(struct eu_stack_head *head, struct pt_regs *registers)
{
	struct pt_regs___stack *regs = (void *)registers;

	head->machine = 1;
	head->address = BPF_CORE_READ(regs, ip);
	head->registers[0] = BPF_CORE_READ(regs, ax);
	head->registers[1] = BPF_CORE_READ(regs, dx);
	head->registers[2] = BPF_CORE_READ(regs, cx);
	head->registers[3] = BPF_CORE_READ(regs, bx);
	head->registers[4] = BPF_CORE_READ(regs, si);
	head->registers[5] = BPF_CORE_READ(regs, di);
	head->registers[6] = BPF_CORE_READ(regs, bp);
	head->registers[7] = BPF_CORE_READ(regs, sp);
	head->registers[8] = BPF_CORE_READ(regs, r8);
	head->registers[9] = BPF_CORE_READ(regs, r9);
	head->registers[10] = BPF_CORE_READ(regs, r10);
	head->registers[11] = BPF_CORE_READ(regs, r11);
	head->registers[12] = BPF_CORE_READ(regs, r12);
	head->registers[13] = BPF_CORE_READ(regs, r13);
	head->registers[14] = BPF_CORE_READ(regs, r14);
	head->registers[15] = BPF_CORE_READ(regs, r15);
}
#define EU_STACK_POINTER 7
#else
static __always_inline void eu_put_registers(struct eu_stack_head *head, struct pt_regs *registers)
{
	struct pt_regs___stack *regs = (void *)registers;

	head->machine = 2;
	head->address = BPF_CORE_READ(regs, pc);
	bpf_probe_read_kernel(head->registers, 31 * sizeof(__u64), &regs->regs);
	head->registers[31] = BPF_CORE_READ(regs, sp);
}
#define EU_STACK_POINTER 31
#endif

/* Copies the stack, a page at a time: what is behind the last one that is there is not the stack's. Returns how many bytes. */
static __always_inline __u32 eu_copy_stack(struct eu_area *area, __u32 to, __u64 from)
{
	__u32 done = 0;

	for (int i = 0; i < EU_STACK_CHUNKS; i++) {
		__u32 length = EU_STACK_CHUNK - (from & (EU_STACK_CHUNK - 1));

		if (bpf_probe_read_user(area->bytes + ((to + done) & (EU_RECORD_MAX - 1)), length, (void *)from))
			break;
		from += length;
		done += length;
	}
	return done;
}

/*
 * Writes the stack of the current task, whose registers in user space are at `registers`, to `offset` of the area. Returns its length. Not
 * static, so that the verifier checks it once per program.
 */
__attribute__((noinline)) int eu_write_stack(struct eu_area *area, __u32 offset, __u64 registers)
{
	struct eu_stack_head *head;
	__u32 at;

	if (!area)
		return 0;
	offset &= EU_RECORD_MAX - 8;
	at = offset + sizeof(*head);
	head = (void *)(area->bytes + offset);
	__builtin_memset(head, 0, sizeof(*head));
	if (!eu_syscall_is_32bit()) {
		eu_put_registers(head, (void *)registers);
		head->bytes = eu_copy_stack(area, at, head->registers[EU_STACK_POINTER]);
		at = (at + head->bytes + 7) & (EU_RECORD_MAX - 8);
		if (eu_has_bpf_iter_task_vma_new)
			at = eu_put_mappings(area, head, at);
	}
	return (at - offset) & (EU_RECORD_MAX - 1);
}

static __always_inline bool eu_stack_has_turn(void)
{
	__u64 turn = bpf_ktime_get_ns() >> EU_STACK_TURN_BITS;

	/* CPUs that begin a turn at once may capture some more. */
	if (eu_control.stack_turn != turn) {
		eu_control.stack_turn = turn;
		eu_control.stack_count = 0;
	}
	return *(volatile __u64 *)&eu_control.stack_count < EU_STACKS_PER_TURN &&
	       __sync_fetch_and_add(&eu_control.stack_count, 1) < EU_STACKS_PER_TURN;
}

/* Appends the stack of the current task, whose registers in user space these are. */
static __always_inline eu_stack eu_put_stack(struct eu_area *area, __u32 *size, struct pt_regs *regs)
{
	__u32 offset = (*size + 7) & (EU_RECORD_MAX - 8);
	__u32 length = sizeof(EU_STACK_TOO_MANY) - 1;

	if (eu_stack_has_turn())
		length = eu_write_stack(area, offset, eu_address(regs));
	else
		__builtin_memcpy(area->bytes + offset, EU_STACK_TOO_MANY, sizeof(EU_STACK_TOO_MANY) - 1);
	*size = offset + length;
	return eu_text(offset, length);
}

/* What a program is refused for want of rights: EPERM, EACCES, EROFS. */
static __always_inline bool eu_is_refusal(long ret)
{
	return ret == -1 || ret == -13 || ret == -30;
}

#endif
