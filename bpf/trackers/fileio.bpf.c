/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * fileio: reads and writes of regular files, counted by container, process and file, with their bytes, total durations and histograms. One
 * that takes long is an event of its own, if wanted.
 *
 * Which file it is, is read when the call begins: another thread can close the descriptor, and open another file as it, before the end.
 */
#include "eunomia.bpf.h"
#include "calls.bpf.h"
#include "callset.bpf.h"
#include "file.bpf.h"
#include "path.bpf.h"
#include "uring.bpf.h"
#include "aggregate.bpf.h"

#define FILEIO_PATH_LEN 512

struct fileio_event {
	struct eu_header header; /* boot_ns is of the reading, tid of the thread that was seen first */
	__u64 inode;
	__u32 device; /* dev_t of the file system */
	enum eu_path_state path_state;
	bool deleted;
	bool slow; /* one read or write, and no total */
	__u8 reserved;
	eu_total count; /* reads and writes */
	eu_total errors;
	eu_total reads;
	eu_total read_bytes;
	eu_total read_ns; /* of the reads in read_histogram_ns */
	eu_total writes;
	eu_total written_bytes;
	eu_total write_ns;
	eu_log2 read_histogram_ns;
	eu_log2 write_histogram_ns;
	char path[FILEIO_PATH_LEN];
};

/* A file, as long as it is there: file systems give the number of an inode again. */
struct file_id {
	__u64 inode;
	__u32 device;
	__u32 generation;
};

struct fileio_key {
	struct eu_aggregate_key process;
	struct file_id file;
};
EU_AGGREGATES_BY(fileio, struct fileio_key);

EU_SCRATCH(fileio);

const volatile __u64 slower_than_ns = 0; /* option: one that takes as long is an event of its own; 0: none is */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block___device {
	u32 s_dev;
};
struct inode___generation {
	u32 i_generation;
};
struct file___inode {
	struct inode *f_inode;
};
#pragma clang attribute pop

#define S_IFMT 0170000 /* include/uapi/linux/stat.h */
#define S_IFREG 0100000

/* Of a watched call, in the table of src/trackers/fileio.ts: which arguments are the descriptors that it reads and writes. */
enum call {
	CALL_READ = 1, /* reads the first */
	CALL_WRITE,    /* writes the first */
	CALL_SENDFILE, /* reads the second, writes the first */
	CALL_COPY,     /* reads the first, writes the third */
};

/* Which file it is; false for what is no regular file. */
static __always_inline bool identify(struct file *file, struct file_id *id)
{
	struct inode *inode = BPF_CORE_READ((struct file___inode *)file, f_inode);
	struct super_block *file_system = BPF_CORE_READ(inode, i_sb);

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return false;
	id->inode = BPF_CORE_READ(inode, i_ino);
	id->device = BPF_CORE_READ((struct super_block___device *)file_system, s_dev);
	id->generation = BPF_CORE_READ((struct inode___generation *)inode, i_generation);
	return true;
}

/* ---- What is added to a total ---- */

/* The path of a file. One that has no room loses its beginning. */
static __always_inline void put_path(struct fileio_event *total, struct file *file)
{
	struct eu_area *area = NULL;
	__u32 cpu = bpf_get_smp_processor_id(), size = 0, length, from;
	struct eu_path path;

	area = bpf_map_lookup_elem(&eu_scratch_fileio, &cpu);
	if (!area)
		return;
	path = eu_put_path(area, &size, &file->f_path, true);
	if (!path.state)
		return;
	total->path_state = path.state;
	total->deleted = path.deleted;
	length = path.text >> 16;
	if (length < FILEIO_PATH_LEN) {
		bpf_probe_read_kernel(total->path, length & (FILEIO_PATH_LEN - 1), area->bytes);
		return;
	}
	total->path_state = EU_PATH_STATE_TRUNCATED;
	__builtin_memcpy(total->path, "(truncated)", sizeof("(truncated)") - 1);
	from = (length - (FILEIO_PATH_LEN - sizeof("(truncated)"))) & (EU_RECORD_MAX - 1);
	bpf_probe_read_kernel(total->path + sizeof("(truncated)") - 1, FILEIO_PATH_LEN - sizeof("(truncated)"),
			      area->bytes + from);
}

/* A read or write that has ended. `file` may be NULL: it is not known any more, and so its path is not. */
struct ended {
	struct file_id id;
	struct file *file;
	__u64 duration_ns; /* EU_NO_DURATION: not known */
	long ret;
	bool writes;
};

static __always_inline void add(struct fileio_event *total, const struct ended *ended)
{
	__u64 bytes = ended->ret > 0 ? ended->ret : 0;

	total->inode = ended->id.inode;
	total->device = ended->id.device;
	total->count++;
	if (eu_is_error(ended->ret))
		total->errors++, bytes = 0;
	if (ended->writes) {
		total->writes++;
		total->written_bytes += bytes;
		if (ended->duration_ns != EU_NO_DURATION) {
			total->write_ns += ended->duration_ns;
			total->write_histogram_ns.slots[eu_log2_slot(ended->duration_ns)]++;
		}
	} else {
		total->reads++;
		total->read_bytes += bytes;
		if (ended->duration_ns != EU_NO_DURATION) {
			total->read_ns += ended->duration_ns;
			total->read_histogram_ns.slots[eu_log2_slot(ended->duration_ns)]++;
		}
	}
	if (!total->path_state && ended->file)
		put_path(total, ended->file);
}

/*
 * All hooks run in a task with preemption off, and so one after the other on a CPU: plain adds are exact. Not static: the verifier then
 * checks it once per program. `header`: of who did it, or NULL for the current task's.
 */
__attribute__((noinline)) int count(const struct ended *ended, const struct eu_header *header)
{
	struct fileio_event *total;
	struct fileio_key key = {};
	bool slow;

	if (!ended)
		return 0;
	slow = slower_than_ns && ended->duration_ns != EU_NO_DURATION && ended->duration_ns >= slower_than_ns;
	if (!slow) {
		if (header)
			key.process = eu_aggregate_key_of(header, 0);
		else
			key.process = eu_aggregate_key(bpf_get_current_task_btf(), 0);
		key.file = ended->id;
		total = eu_aggregate_for(&key, header);
		if (total) {
			add(total, ended);
			return 0;
		}
	}
	total = eu_reserve(struct fileio_event);
	if (!total)
		return 0;
	/* Larger than what the compiler clears by itself. */
	bpf_probe_read_kernel(total, sizeof(*total), &eu_aggregate_zero);
	if (header) {
		total->header = *header;
		total->header.boot_ns = bpf_ktime_get_boot_ns();
	} else {
		eu_fill(&total->header);
	}
	total->slow = slow;
	add(total, ended);
	eu_submit(total);
	return 0;
}

/* ---- System calls ---- */

/* The call that a thread is in, if it reads or writes a regular file. */
struct call_under_way {
	__u64 began_ns; /* 0: it does not, or has ended */
	__u32 call;     /* eu_call_key */
	bool reads, writes;
	__s32 read_fd, write_fd;
	struct file_id read, written;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct call_under_way);
} fileio_calls SEC(".maps");

static __always_inline bool is_regular(struct task_struct *task, __s32 fd, struct file_id *id)
{
	struct file *file = eu_file(task, fd);

	return file && identify(file, id);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(fileio_enter, struct pt_regs *regs, long nr)
{
	struct eu_matched_call call = eu_match_call(nr);
	struct call_under_way *under_way, began = {};
	unsigned long args[EU_CALL_ARGS];
	struct task_struct *task;

	if (!call.value)
		return 0;
	task = bpf_get_current_task_btf();
	if (!eu_syscall_wanted(task))
		return 0;
	eu_read_args(regs, call.narrow, args);
	if (call.value != CALL_WRITE) {
		began.read_fd = args[call.value == CALL_SENDFILE];
		began.reads = is_regular(task, began.read_fd, &began.read);
	}
	if (call.value != CALL_READ) {
		began.write_fd = args[call.value == CALL_COPY ? 2 : 0];
		began.writes = is_regular(task, began.write_fd, &began.written);
	}
	if (!began.reads && !began.writes)
		return 0;
	under_way = eu_in_task(&fileio_calls, task);
	if (!under_way) {
		eu_count(true);
		return 0;
	}
	began.call = eu_call_key(nr, call.narrow);
	began.began_ns = bpf_ktime_get_boot_ns();
	*under_way = began;
	return 0;
}

static __always_inline void count_call(struct task_struct *task, const struct file_id *id, __s32 fd, __u64 duration_ns,
				       long ret, bool writes)
{
	struct ended ended = { .id = *id, .duration_ns = duration_ns, .ret = ret, .writes = writes };
	struct file_id now = {};
	struct file *file = eu_file(task, fd);

	if (file && identify(file, &now) && now.inode == id->inode && now.device == id->device)
		ended.file = file;
	count(&ended, NULL);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(fileio_exit, struct pt_regs *regs, long ret)
{
	long nr = eu_syscall_nr(regs);
	struct eu_matched_call call = eu_match_call(nr);
	struct call_under_way *under_way;
	struct task_struct *task;
	__u64 duration_ns;

	if (!call.value)
		return 0;
	task = bpf_get_current_task_btf();
	under_way = bpf_task_storage_get(&fileio_calls, task, NULL, 0);
	if (!under_way || !under_way->began_ns || under_way->call != eu_call_key(nr, call.narrow))
		return 0;
	duration_ns = eu_since(bpf_ktime_get_boot_ns(), under_way->began_ns);
	under_way->began_ns = 0;
	if (under_way->reads)
		count_call(task, &under_way->read, under_way->read_fd, duration_ns, ret, false);
	if (under_way->writes)
		count_call(task, &under_way->written, under_way->write_fd, duration_ns, ret, true);
	return 0;
}

/* ---- io_uring: a program's name has 15 characters at most, so that its stem is short ---- */

/* include/uapi/linux/io_uring.h */
#define IORING_OP_READV 1
#define IORING_OP_WRITEV 2
#define IORING_OP_READ_FIXED 4
#define IORING_OP_WRITE_FIXED 5
#define IORING_OP_READ 22
#define IORING_OP_WRITE 23

struct fio_request {
	struct eu_uring_request request;
	struct eu_header header; /* of who submitted it */
	__u64 began_ns;
	struct file_id id;
	bool writes;
	__u8 reserved[7];
};
EU_URING_REQUESTS(fio, 16384);

static __always_inline bool may_transfer(u8 opcode)
{
	return opcode == IORING_OP_READV || opcode == IORING_OP_WRITEV || opcode == IORING_OP_READ_FIXED ||
	       opcode == IORING_OP_WRITE_FIXED || opcode == IORING_OP_READ || opcode == IORING_OP_WRITE;
}

static __always_inline void request_ended(void *about, struct io_kiocb *req, enum eu_uring_why why, long res)
{
	struct fio_request *request = about;
	struct ended ended = { .id = request->id, .writes = request->writes, .ret = res == EU_URING_UNTOLD ? 0 : res };
	struct eu_header header = request->header;

	ended.duration_ns =
		why == EU_URING_COMPLETED ? eu_since(bpf_ktime_get_boot_ns(), request->began_ns) : EU_NO_DURATION;
	/* Else its process has ended, and a kernel thread does the ring's last work. */
	if (why == EU_URING_COMPLETED && bpf_get_current_task_btf()->tgid == header.pid)
		ended.file = BPF_CORE_READ(req, file);
	count(&ended, &header);
}

static __always_inline void submitted(struct io_kiocb *req)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fio_request request = {};
	struct file *file;
	u8 opcode = req->opcode;

	if (!may_transfer(opcode))
		return;
	eu_uring_replace(&fio_requests, req, request_ended);
	if (eu_syscall_of_self(task) || !eu_uring_wanted(task))
		return;
	file = eu_uring_submitted_file(req, task);
	if (!file || !identify(file, &request.id))
		return;
	eu_uring_remember(&request.request, req);
	eu_uring_fill(&request.header, task);
	request.began_ns = request.header.boot_ns;
	request.writes = opcode == IORING_OP_WRITEV || opcode == IORING_OP_WRITE_FIXED || opcode == IORING_OP_WRITE;
	eu_uring_keep(&fio_requests, req, &request.request, request_ended);
}

EU_URING_SUBMIT(fio, submitted)
EU_URING_COMPLETE(fio, may_transfer, request_ended)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
