/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * ipc: one event for each call on shared memory, message queues and semaphores (System V) or message queues (POSIX), when it ends, and one
 * for each descriptor that a message over a Unix domain socket carries, at the sender and at the receiver.
 */
#include "eunomia.bpf.h"
#include "descriptor_kind.bpf.h"
#include "ipc_call.bpf.h"
#include "ipc_sender.bpf.h"
#include "path.bpf.h"
#include "uring.bpf.h"

enum ipc_capture {
	IPC_CAPTURE_PATH,
	IPC_CAPTURE_PATH_STATE,
	IPC_CAPTURE_SEMAPHORE_OPERATIONS,
};

struct ipc_event {
	struct eu_header header;
	struct eu_header peer; /* all 0: not known */
	eu_duration_ns duration_ns;
	__u64 size; /* ~0: none, or not known */
	__s64 message_type;
	eu_errno errno;
	__s32 ipc_id; /* -1: none, or not known */
	__u32 key;
	__u32 flags;
	__s32 mode;    /* -1: none */
	__s32 command; /* -1: none */
	__u32 semaphores;
	__s32 semaphore; /* -1: none */
	__s32 semaphore_value;
	__s32 priority; /* -1: none, or not known */
	__s32 fd;       /* -1: none */
	__u32 ipc_ns;
	__u32 message_fds; /* how many the message carries; 0: it is no message */
	eu_str name;
	eu_str path;
	eu_bytes semaphore_operations;
	enum ipc_operation ipc_operation;
	bool key_known;
	bool message_type_known;
	bool semaphore_value_known;
	enum eu_descriptor_kind descriptor_kind;
	enum eu_path_state path_state;
	bool deleted; /* known where path_state is */
	__u8 reserved;
};
EU_EVENT(ipc);
EU_CAPTURES(ipc);
EU_SCRATCH(ipc);

EU_WHERE_NUMBER(operation);
EU_WHERE_NUMBER(errno);
EU_WHERE_NUMBER(ipc_id);
EU_WHERE_NUMBER(peer_pid);
EU_WHERE_TEXT(name);
EU_WHERE_TEXT(path);

const volatile __u32 operations = 0;     /* option: bits 1 << operation; 0 is all */
const volatile bool failed_only = false; /* option: only what fails */

#define SEMOPM 500 /* include/uapi/linux/sem.h */
#define SEMBUF_SIZE 6
#define O_CREAT 0100 /* include/uapi/asm-generic/fcntl.h */
#define PERMISSIONS 0777

static __always_inline bool is_selected(__u32 operation)
{
	return (!operations || operations >> (operation & 31) & 1) && (!eu_where || eu_passes(operation, operation));
}

static __always_inline void clear(struct ipc_event *event)
{
	__builtin_memset((void *)event + sizeof(event->header), 0, sizeof(*event) - sizeof(event->header));
	event->duration_ns = EU_NO_DURATION;
	event->size = ~0ULL;
	event->ipc_id = event->mode = event->command = event->semaphore = event->priority = event->fd = -1;
}

/* ---- The call that a thread is in ---- */

struct call_under_way {
	__u64 began_ns; /* 0: none that is watched from its beginning */
	__u64 call;     /* number and ABI */
	struct eu_sysv object;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call_under_way);
} ipc_calls SEC(".maps");

/* ---- Descriptors that are passed ---- */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock___peer {
	struct pid *sk_peer_pid;
};
#pragma clang attribute pop

/* Not static: verified once a program. */
__attribute__((noinline)) int report_descriptor(const struct eu_rights *rights, __s32 descriptor)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 size = sizeof(struct ipc_event);
	struct ipc_event *event;
	struct eu_area *area;
	struct file *file;
	struct eu_path path;
	struct sock *sk;

	if (!rights)
		return 0;
	sk = (void *)rights->socket;
	file = eu_file(task, descriptor);
	/* Once more at the end: before, the message may have been in memory that was not there yet, and could not be read. */
	if (rights->use == USE_REMEMBER || (rights->use == USE_SENT && rights->ret >= 0))
		remember(rights, file);
	if (rights->use == USE_REMEMBER)
		return 0;
	area = eu_scratch(ipc);
	if (!area)
		return 0;
	event = (void *)area;
	eu_uring_fill(&event->header, task);
	clear(event);
	event->ipc_operation = rights->use == USE_SENT ? IPC_OPERATION_FD_SEND : IPC_OPERATION_FD_RECEIVE;
	if (rights->use == USE_SENT)
		eu_fill_at(&event->peer, eu_task_of(BPF_CORE_READ((struct sock___peer *)sk, sk_peer_pid)));
	else
		find_sender(&event->peer, rights, file);
	if (eu_where &&
	    (!eu_header_passes(&event->header) || !eu_passes(peer_pid, event->peer.pid) || !eu_passes(ipc_id, -1)))
		return 0;
	if (!eu_target_holds_header(&event->header) && !eu_target_holds_header(&event->peer))
		return 0;
	event->errno = rights->ret < 0 ? rights->ret : 0;
	event->flags = rights->flags;
	event->fd = descriptor;
	event->message_fds = rights->count;
	event->descriptor_kind = eu_descriptor_kind(file);
	event->ipc_ns = BPF_CORE_READ(eu_ipc_ns(), ns.inum);
	if (file &&
	    (eu_captures(IPC_CAPTURE_PATH) || eu_captures(IPC_CAPTURE_PATH_STATE) || (eu_where && eu_where_path))) {
		path = eu_put_path(area, &size, &file->f_path, true);
		event->path = path.text;
		event->path_state = path.state;
		event->deleted = path.deleted;
	}
	if (eu_where && (!eu_passes_text(name, area, 0) || !eu_passes_text(path, area, event->path)))
		return 0;
	eu_output(area, size);
	return 0;
}

static __always_inline void on_right(const struct eu_rights *rights, __s32 descriptor)
{
	report_descriptor(rights, descriptor);
}

/* Of a call: `at_enter`, the messages that are about to be sent. */
static __always_inline void messages(const struct ipc_call *call, long ret, bool at_enter)
{
	struct eu_rights rights = { .narrow = call->narrow_memory, .message = call->args[1], .ret = ret };
	bool sends = call->operation == IPC_OPERATION_FD_SEND || call->operation == CALL_FDS_SEND;

	rights.many = call->operation == CALL_FDS_SEND || call->operation == CALL_FDS_RECEIVE;
	rights.flags = rights.many ? call->args[3] : call->args[2];
	rights.use = at_enter ? USE_REMEMBER : sends ? USE_SENT : USE_RECEIVED;
	if (!rights.many) {
		if (!eu_read_msghdr(&rights)) /* nearly all end here */
			return;
	} else if (at_enter) {
		rights.messages = call->args[2];
	} else {
		rights.messages = ret < 0 ? sends : ret; /* that fails with its first message */
	}
	if (rights.messages > EU_MESSAGES_MAX)
		rights.messages = EU_MESSAGES_MAX;
	rights.socket = unix_socket(eu_file(bpf_get_current_task_btf(), call->args[0]));
	if (rights.socket && !eu_each_right(&rights) && !at_enter && eu_wanted())
		eu_count(true);
}

/* ---- Calls ---- */

/* Calls that can wait, that name what is gone when they end, or whose receiver may be done before they end. */
static __always_inline bool begins_watched(const struct ipc_call *call)
{
	switch (call->operation) {
	case IPC_OPERATION_MSG_SEND:
	case IPC_OPERATION_MSG_RECEIVE:
	case IPC_OPERATION_SEM_OPERATE:
	case IPC_OPERATION_MQ_SEND:
	case IPC_OPERATION_MQ_RECEIVE:
	case IPC_OPERATION_SHM_DETACH: return true;
	}
	return is_control(call->operation) && command_of(call) == IPC_RMID;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(ipc_enter, struct pt_regs *regs, long nr)
{
	struct eu_matched_call matched = eu_match_call(nr);
	struct call_under_way *under_way;
	struct ipc_call call = {};
	__s32 id;

	if (!matched.value)
		return 0;
	read_call(regs, &matched, &call);
	if (call.operation == IPC_OPERATION_FD_SEND || call.operation == CALL_FDS_SEND) {
		messages(&call, 0, true);
		return 0;
	}
	if (!begins_watched(&call) || !eu_wanted())
		return 0;
	under_way = eu_in_task(&ipc_calls, bpf_get_current_task_btf());
	if (!under_way)
		return 0;
	id = call.operation == IPC_OPERATION_SHM_DETACH ? eu_shm_attached(call.args[0]) : id_of(&call, 0);
	eu_find_sysv(&under_way->object, sysv_kind(call.operation), id);
	under_way->call = (__u64)nr << 1 | matched.narrow;
	under_way->began_ns = bpf_ktime_get_boot_ns();
	return 0;
}

static __always_inline void fill_call(struct eu_area *area, __u32 *size, const struct ipc_call *call,
				      const struct eu_sysv *object, long ret)
{
	struct ipc_event *event = (void *)area;
	bool failed = eu_is_error(ret);
	__u32 bytes, at;

	switch (call->operation) {
	case IPC_OPERATION_SHM_GET:
		event->size = object->known ? object->size : call->args[1];
		event->flags = call->args[2] & ~PERMISSIONS;
		event->mode = call->args[2] & PERMISSIONS;
		break;
	case IPC_OPERATION_MSG_GET:
		event->flags = call->args[1] & ~PERMISSIONS;
		event->mode = call->args[1] & PERMISSIONS;
		break;
	case IPC_OPERATION_SEM_GET:
		event->semaphores = object->known ? object->semaphores : call->args[1];
		event->flags = call->args[2] & ~PERMISSIONS;
		event->mode = call->args[2] & PERMISSIONS;
		break;
	case IPC_OPERATION_SHM_ATTACH: event->flags = call->args[2]; break;
	case IPC_OPERATION_MSG_SEND:
		event->size = call->args[2];
		event->flags = call->args[3];
		event->message_type = message_type(call, &event->message_type_known);
		break;
	case IPC_OPERATION_MSG_RECEIVE:
		event->flags = call->args[4];
		if (failed)
			break;
		event->size = ret;
		event->message_type = message_type(call, &event->message_type_known);
		break;
	case IPC_OPERATION_SEM_OPERATE:
		if (!eu_captures(IPC_CAPTURE_SEMAPHORE_OPERATIONS))
			break;
		bytes = call->args[2] > SEMOPM ? 0 : (__u32)call->args[2] * SEMBUF_SIZE;
		at = *size & (EU_RECORD_MAX - 1);
		bytes &= 4095;
		if (!bytes || bpf_probe_read_user(area->bytes + at, bytes, (void *)call->args[1]))
			break;
		event->semaphore_operations = eu_text(at, bytes);
		*size += bytes;
		break;
	case IPC_OPERATION_SEM_CONTROL:
		if (event->command >= GETPID && event->command <= SETVAL && event->command != GETALL)
			event->semaphore = call->args[1];
		if (event->command == SETVAL || (event->command == GETVAL && !failed)) {
			event->semaphore_value = event->command == SETVAL ? call->args[3] : ret;
			event->semaphore_value_known = true;
		}
		break;
	case IPC_OPERATION_MQ_OPEN:
		event->flags = call->args[1];
		if (call->args[1] & O_CREAT)
			event->mode = call->args[2] & 07777;
		event->fd = failed ? -1 : ret;
		event->name = put_queue(area, size, (void *)call->args[0], NULL);
		break;
	case IPC_OPERATION_MQ_UNLINK: event->name = put_queue(area, size, (void *)call->args[0], NULL); break;
	case IPC_OPERATION_MQ_SEND:
		event->size = call->args[2];
		event->priority = call->args[3];
		break;
	case IPC_OPERATION_MQ_RECEIVE:
		if (failed)
			break;
		event->size = ret;
		if (call->args[3] &&
		    bpf_probe_read_user(&event->priority, sizeof(event->priority), (void *)call->args[3]))
			event->priority = -1;
	}
	if (call->operation >= IPC_OPERATION_MQ_SEND && call->operation <= IPC_OPERATION_MQ_NOTIFY) {
		const unsigned char *name = queue_of(call->args[0]);

		event->fd = call->args[0];
		if (name)
			event->name = put_queue(area, size, NULL, name);
	}
}

/* Not static: verified once a program. */
__attribute__((noinline)) int report_call(const struct ipc_call *call, const struct call_under_way *began, long ret)
{
	__u32 size = sizeof(struct ipc_event);
	struct eu_sysv object = {};
	struct ipc_event *event;
	struct eu_area *area;
	bool attaches;

	if (!call || !began)
		return 0;
	attaches = call->operation == IPC_OPERATION_SHM_ATTACH || call->operation == IPC_OPERATION_SHM_GET;
	/* Others have no peer whom the target could hold. */
	if (!attaches && !eu_wanted())
		return 0;
	area = eu_scratch(ipc);
	if (!area)
		return 0;
	event = (void *)area;
	object = began->object;
	if (!began->began_ns)
		eu_find_sysv(&object, sysv_kind(call->operation), id_of(call, ret));
	eu_fill(&event->header);
	clear(event);
	if (attaches && object.creator)
		eu_fill_at(&event->peer, eu_task_of((struct pid *)object.creator));
	if (eu_where && (!eu_header_passes(&event->header) || !eu_passes(peer_pid, event->peer.pid) ||
			 !eu_passes(ipc_id, object.id)))
		return 0;
	if (!eu_target_holds_header(&event->header) && !eu_target_holds_header(&event->peer))
		return 0;
	event->ipc_operation = call->operation;
	event->errno = eu_is_error(ret) ? ret : 0;
	event->ipc_ns = BPF_CORE_READ(eu_ipc_ns(), ns.inum);
	event->ipc_id = object.id;
	event->key = object.key;
	event->key_known = object.known;
	if (call->operation == IPC_OPERATION_SHM_GET || call->operation == IPC_OPERATION_MSG_GET ||
	    call->operation == IPC_OPERATION_SEM_GET) {
		event->key = call->args[0];
		event->key_known = true;
	}
	if (object.known && call->operation <= IPC_OPERATION_SHM_CONTROL)
		event->size = object.size;
	if (object.known && call->operation >= IPC_OPERATION_SEM_GET && call->operation <= IPC_OPERATION_SEM_CONTROL)
		event->semaphores = object.semaphores;
	if (is_control(call->operation))
		event->command = command_of(call);
	if (began->began_ns && call->operation != IPC_OPERATION_SHM_DETACH && !is_control(call->operation))
		event->duration_ns = eu_since(event->header.boot_ns, began->began_ns);
	fill_call(area, &size, call, &object, ret);
	if (eu_where && (!eu_passes_text(name, area, event->name) || !eu_passes_text(path, area, 0)))
		return 0;
	eu_output(area, size);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(ipc_exit, struct pt_regs *regs, long ret)
{
	long nr = eu_syscall_nr(regs);
	struct eu_matched_call matched = eu_match_call(nr);
	struct call_under_way none = {}, *under_way = NULL;
	struct ipc_call call = {};

	if (!matched.value || (failed_only && !eu_is_error(ret)))
		return 0;
	read_call(regs, &matched, &call);
	ret = eu_user_ret(ret);
	if (eu_where && !eu_passes(errno, eu_is_error(ret) ? -ret : 0))
		return 0;
	if (passes_descriptors(call.operation)) {
		bool sends = call.operation == IPC_OPERATION_FD_SEND || call.operation == CALL_FDS_SEND;

		if ((ret >= 0 || sends) && is_selected(sends ? IPC_OPERATION_FD_SEND : IPC_OPERATION_FD_RECEIVE))
			messages(&call, ret, false);
		return 0;
	}
	if (!call.operation || !is_selected(call.operation))
		return 0;
	if (begins_watched(&call)) {
		under_way = bpf_task_storage_get(&ipc_calls, bpf_get_current_task_btf(), NULL, 0);
		if (under_way && (!under_way->began_ns || under_way->call != ((__u64)nr << 1 | matched.narrow)))
			under_way = NULL;
	}
	if (under_way)
		none = *under_way;
	if (under_way)
		under_way->began_ns = 0;
	report_call(&call, &none, ret);
	return 0;
}

/* ---- io_uring ---- */

#define IORING_OP_SENDMSG 9 /* include/uapi/linux/io_uring.h */
#define IORING_OP_RECVMSG 10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct io_sr_msg {
	void *umsg;
	unsigned int msg_flags;
};
#pragma clang attribute pop

struct ipc_request {
	struct eu_uring_request request;
	__u64 message;
	__u32 flags;
	__u8 use;
	__u8 reserved[3];
};
EU_URING_REQUESTS(ipc, 16384);

static __always_inline bool may_pass(u8 opcode)
{
	return opcode == IORING_OP_SENDMSG || opcode == IORING_OP_RECVMSG;
}

static __always_inline void request_messages(const struct ipc_request *request, struct file *file, __u8 use, long res)
{
	struct eu_rights rights = {
		.message = request->message,
		.messages = 1,
		.flags = request->flags,
		.use = use,
		.ret = res,
	};

	rights.socket = unix_socket(file);
	if (rights.socket)
		eu_each_right(&rights);
}

static __always_inline void request_ended(void *about, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct ipc_request *request = about;
	long ret = res == EU_URING_UNTOLD ? 0 : res;

	if (why == EU_URING_UNSEEN || (ret < 0 && request->use == USE_RECEIVED) || (failed_only && ret >= 0))
		return;
	if (eu_where && !eu_passes(errno, ret < 0 ? -ret : 0))
		return;
	if (!is_selected(request->use == USE_SENT ? IPC_OPERATION_FD_SEND : IPC_OPERATION_FD_RECEIVE))
		return;
	request_messages(request,
			 why == EU_URING_SUBMITTED ? eu_uring_submitted_file(req, bpf_get_current_task_btf())
						   : BPF_CORE_READ(req, file),
			 request->use, ret);
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct ipc_request request = {};
	struct io_sr_msg *message;
	__u64 address = (__u64)req;
	u8 opcode = req->opcode;

	if (!may_pass(opcode))
		return;
	eu_uring_replace(&ipc_requests, req, request_ended);
	message = eu_uring_cmd(req);
	eu_uring_remember(&request.request, req);
	request.message = (__u64)BPF_CORE_READ(message, umsg);
	request.flags = BPF_CORE_READ(message, msg_flags);
	request.use = opcode == IORING_OP_SENDMSG ? USE_SENT : USE_RECEIVED;
	if (request.use == USE_SENT)
		request_messages(&request, eu_uring_submitted_file(req, bpf_get_current_task_btf()), USE_REMEMBER, 0);
	/* Whether it will be an event, and whose, is not known yet: so it counts as none where there is no room. */
	if (bpf_map_update_elem(&ipc_requests, &address, &request, BPF_ANY) || request.use != USE_SENT)
		return;
	if (request.request.told)
		request_ended(&request, req, EU_URING_SUBMITTED, EU_URING_UNTOLD);
}

EU_URING_SUBMIT(ipc, submitted)
EU_URING_COMPLETE(ipc, may_pass, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
