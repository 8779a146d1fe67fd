/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ipc: which operation a call is, and its arguments, in the order that the call of its own has them. */
#ifndef EUNOMIA_IPC_CALL_BPF_H
#define EUNOMIA_IPC_CALL_BPF_H

#include "calls.bpf.h"
#include "sysv.bpf.h"

enum ipc_operation {
	IPC_OPERATION_SHM_GET = 1,
	IPC_OPERATION_SHM_ATTACH,
	IPC_OPERATION_SHM_DETACH,
	IPC_OPERATION_SHM_CONTROL,
	IPC_OPERATION_MSG_GET,
	IPC_OPERATION_MSG_SEND,
	IPC_OPERATION_MSG_RECEIVE,
	IPC_OPERATION_MSG_CONTROL,
	IPC_OPERATION_SEM_GET,
	IPC_OPERATION_SEM_OPERATE,
	IPC_OPERATION_SEM_CONTROL,
	IPC_OPERATION_MQ_OPEN,
	IPC_OPERATION_MQ_UNLINK,
	IPC_OPERATION_MQ_SEND,
	IPC_OPERATION_MQ_RECEIVE,
	IPC_OPERATION_MQ_NOTIFY,
	IPC_OPERATION_FD_SEND,
	IPC_OPERATION_FD_RECEIVE,
} __attribute__((packed));

/* Beside the operations, in the table of src/trackers/ipc.ts */
#define CALL_FDS_SEND 32 /* sendmmsg */
#define CALL_FDS_RECEIVE 33
#define CALL_IPC 34 /* i386's calls of System V IPC in one, and its socket calls */
#define CALL_SOCKETCALL 35

/* include/uapi/linux/ipc.h, shm.h, msg.h and sem.h */
#define IPC_RMID 0
#define IPC_INFO 3
#define IPC_64 0x100
#define SHM_STAT 13
#define MSG_STAT 11
#define SEM_STAT 18
#define GETPID 11
#define GETVAL 12
#define GETALL 13
#define SETVAL 16

struct ipc_call {
	__u32 operation; /* or CALL_FDS_…; 0: not watched */
	bool narrow_memory;
	bool multiplexed; /* by ipc(2) */
	__u8 reserved[2];
	unsigned long args[EU_CALL_ARGS];
};

/* arch/…/include/uapi/asm: the numbers of ipc(2) and socketcall(2), include/uapi/linux/ipc.h and net.h */
static __always_inline __u32 operation_of_ipc(__u32 which)
{
	switch (which & 0xffff) {
	case 1:
	case 4: return IPC_OPERATION_SEM_OPERATE;
	case 2: return IPC_OPERATION_SEM_GET;
	case 3: return IPC_OPERATION_SEM_CONTROL;
	case 11: return IPC_OPERATION_MSG_SEND;
	case 12: return IPC_OPERATION_MSG_RECEIVE;
	case 13: return IPC_OPERATION_MSG_GET;
	case 14: return IPC_OPERATION_MSG_CONTROL;
	case 21: return IPC_OPERATION_SHM_ATTACH;
	case 22: return IPC_OPERATION_SHM_DETACH;
	case 23: return IPC_OPERATION_SHM_GET;
	case 24: return IPC_OPERATION_SHM_CONTROL;
	default: return 0;
	}
}

/* ipc(2) has the pointer last: puts the arguments where the calls of their own have them. */
static __always_inline void read_ipc(struct ipc_call *call)
{
	unsigned long *args = call->args, which = args[0], pointer = args[4];
	__u32 words[2] = {};

	call->operation = operation_of_ipc(which);
	call->multiplexed = true;
	args[0] = args[1];
	args[1] = args[2];
	args[2] = args[3];
	switch (call->operation) {
	case IPC_OPERATION_SEM_CONTROL: /* of the value, a pointer to it */
		bpf_probe_read_user(words, 4, (void *)pointer);
		args[3] = words[0];
		break;
	case IPC_OPERATION_SEM_OPERATE:
		args[2] = args[1];
		args[1] = pointer;
		break;
	case IPC_OPERATION_MSG_RECEIVE:
	case IPC_OPERATION_MSG_SEND:
		if (call->operation == IPC_OPERATION_MSG_RECEIVE && !(which >> 16)) {
			bpf_probe_read_user(words, 8, (void *)pointer);
			pointer = words[0];
		}
		args[3] = args[4] = args[2]; /* flags: the fourth of msgsnd, the fifth of msgrcv */
		args[2] = args[1];
		args[1] = pointer;
		break;
	case IPC_OPERATION_SHM_ATTACH:
		args[2] = args[1];
		args[1] = pointer;
		break;
	case IPC_OPERATION_SHM_DETACH: args[0] = pointer;
	}
}

static __always_inline void read_socketcall(struct ipc_call *call)
{
	__u32 which = call->args[0], words[4] = {};

	call->operation = which == 16   ? IPC_OPERATION_FD_SEND
			  : which == 17 ? IPC_OPERATION_FD_RECEIVE
			  : which == 20 ? CALL_FDS_SEND
			  : which == 19 ? CALL_FDS_RECEIVE
					: 0;
	if (!call->operation || bpf_probe_read_user(words, sizeof(words), (void *)call->args[1])) {
		call->operation = 0;
		return;
	}
	call->args[0] = words[0];
	call->args[1] = words[1];
	call->args[2] = words[2];
	call->args[3] = words[3];
}

static __always_inline void read_call(struct pt_regs *regs, const struct eu_matched_call *matched,
				      struct ipc_call *call)
{
	call->operation = matched->value;
	call->narrow_memory = matched->narrow_memory;
	eu_read_args(regs, matched->narrow, call->args);
	if (call->operation == CALL_IPC)
		read_ipc(call);
	else if (call->operation == CALL_SOCKETCALL)
		read_socketcall(call);
}

static __always_inline bool passes_descriptors(__u32 operation)
{
	return operation == IPC_OPERATION_FD_SEND || operation == IPC_OPERATION_FD_RECEIVE ||
	       operation == CALL_FDS_SEND || operation == CALL_FDS_RECEIVE;
}

static __always_inline __u32 sysv_kind(__u32 operation)
{
	return operation >= IPC_OPERATION_SEM_GET   ? EU_SYSV_SEM
	       : operation >= IPC_OPERATION_MSG_GET ? EU_SYSV_MSG
						    : EU_SYSV_SHM;
}

static __always_inline bool is_control(__u32 operation)
{
	return operation == IPC_OPERATION_SHM_CONTROL || operation == IPC_OPERATION_MSG_CONTROL ||
	       operation == IPC_OPERATION_SEM_CONTROL;
}

static __always_inline __s32 command_of(const struct ipc_call *call)
{
	unsigned long command = call->operation == IPC_OPERATION_SEM_CONTROL ? call->args[2] : call->args[1];

	return command & ~IPC_64 & 0xffff;
}

/* The id of the object that a call is about, or -1. */
static __always_inline __s32 id_of(const struct ipc_call *call, long ret)
{
	__s32 command;

	switch (call->operation) {
	case IPC_OPERATION_SHM_GET:
	case IPC_OPERATION_MSG_GET:
	case IPC_OPERATION_SEM_GET: return ret < 0 ? -1 : ret;
	case IPC_OPERATION_SHM_ATTACH:
	case IPC_OPERATION_MSG_SEND:
	case IPC_OPERATION_MSG_RECEIVE:
	case IPC_OPERATION_SEM_OPERATE: return call->args[0];
	}
	if (!is_control(call->operation))
		return -1;
	command = command_of(call);
	/* These take an index, and return the id. */
	if (call->operation == IPC_OPERATION_SEM_CONTROL   ? command >= SEM_STAT
	    : call->operation == IPC_OPERATION_SHM_CONTROL ? command >= SHM_STAT
							   : command >= MSG_STAT)
		return ret < 0 ? -1 : ret;
	return command == IPC_INFO ? -1 : call->args[0];
}

#define MQUEUE_NAME_MAX 256

/* Names have no slash in the kernel. */
static __always_inline eu_str put_queue(struct eu_area *area, __u32 *size, const char *user,
					const unsigned char *kernel)
{
	__u32 offset = *size & (EU_RECORD_MAX - 1), after = offset + 1;
	eu_str name = user ? eu_put_user_str(area, &after, user, MQUEUE_NAME_MAX)
			   : eu_put_kernel_str(area, &after, kernel, MQUEUE_NAME_MAX);

	if (!name)
		return 0;
	area->bytes[offset] = '/';
	*size = after;
	return eu_text(offset, (name >> 16) + 1);
}

/* The name of the queue that a descriptor stands for, or NULL. */
static __always_inline const unsigned char *queue_of(__s32 descriptor)
{
	struct file *file = eu_file(bpf_get_current_task_btf(), descriptor);
	char type[8] = {};

	if (!file)
		return NULL;
	bpf_probe_read_kernel_str(type, sizeof(type), BPF_CORE_READ(file, f_path.dentry, d_inode, i_sb, s_type, name));
	return bpf_strncmp(type, sizeof(type), "mqueue") ? NULL : BPF_CORE_READ(file, f_path.dentry, d_name.name);
}

static __always_inline __s64 message_type(const struct ipc_call *call, bool *known)
{
	__s64 type = 0;
	__s32 narrow = 0;

	if (call->narrow_memory) {
		*known = !bpf_probe_read_user(&narrow, sizeof(narrow), (void *)call->args[1]);
		return narrow;
	}
	*known = !bpf_probe_read_user(&type, sizeof(type), (void *)call->args[1]);
	return type;
}

#endif
