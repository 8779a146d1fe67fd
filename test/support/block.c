/* Requests to a disk, for the tests of blockio and blockcount. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uring.h"
/* DISK WHAT COUNT BYTES [PROCESSES]: so many requests, each of so many bytes */
int main(int argc, char **argv)
{
	const char *what = argv[2];
	int count = atoi(argv[3]), bytes = atoi(argv[4]), processes = argc > 5 ? atoi(argv[5]) : 1, failed = 0;
	int fd = open(argv[1], O_RDWR | (strcmp(what, "fsync") ? O_DIRECT : 0));
	void *memory = aligned_alloc(4096, bytes < 4096 ? 4096 : bytes);
	if (fd < 0)
		return 2;
	memset(memory, 7, bytes);
	for (int p = 1; p < processes; p++)
		if (!fork())
			break;
	for (int i = 0; i < count; i++) {
		unsigned long long range[2] = { (unsigned long long)i * bytes, bytes };
		if (!strcmp(what, "read"))
			failed += pread(fd, memory, bytes, range[0]) != bytes;
		else if (!strcmp(what, "write"))
			failed += pwrite(fd, memory, bytes, range[0]) != bytes;
		else if (!strcmp(what, "worker")) { /* through io_uring, in a thread of the kernel's */
			struct io_uring_sqe e = { .opcode = IORING_OP_WRITE,
						  .fd = fd,
						  .addr = (unsigned long)memory,
						  .len = bytes,
						  .off = range[0],
						  .flags = IOSQE_ASYNC };
			if (!i && set_up(4, 0))
				return 3;
			failed += go(e) != bytes;
		} else if (!strcmp(what, "discard"))
			failed += ioctl(fd, BLKDISCARD, range) != 0;
		else {
			failed += pwrite(fd, memory, bytes, range[0]) != bytes;
			failed += fsync(fd) != 0;
		}
	}
	while (wait(NULL) > 0)
		;
	printf("%d\n", failed);
	return 0;
}
