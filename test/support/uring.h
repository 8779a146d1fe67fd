/*
 * One request after the other through io_uring, without liburing: what the trackers' workloads share. `set_up` once, then `go`,
 * which returns a request's result and sets errno, or `go_silently` for one that says nothing when it succeeds.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ring;
static struct io_uring_params p;
static char *rings;
static struct io_uring_sqe *sqes;

#define word(offset) ((volatile unsigned *)(rings + (offset)))

static inline int set_up(unsigned entries, unsigned flags)
{
	size_t sq, cq;

	p.flags = flags;
	p.sq_thread_idle = 1000;
	ring = syscall(SYS_io_uring_setup, entries, &p);
	if (ring < 0)
		return -1;
	sq = p.sq_off.array + p.sq_entries * 4;
	cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	rings = mmap(NULL, sq > cq ? sq : cq, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
		     IORING_OFF_SQ_RING);
	sqes = mmap(NULL, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
		    IORING_OFF_SQES);
	return rings == MAP_FAILED || sqes == MAP_FAILED ? -1 : 0;
}

static inline void put(struct io_uring_sqe e)
{
	unsigned tail = *word(p.sq_off.tail), at = tail & *word(p.sq_off.ring_mask);

	sqes[at] = e;
	word(p.sq_off.array)[at] = at;
	__atomic_store_n((unsigned *)word(p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
}

static inline int enter(unsigned submit, unsigned wait)
{
	unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;

	if (p.flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	return syscall(SYS_io_uring_enter, ring, submit, wait, flags, NULL, 0);
}

static inline int take(void)
{
	unsigned head = *word(p.cq_off.head);
	struct io_uring_cqe *cqes = (void *)(rings + p.cq_off.cqes);
	int res;

	while (head == __atomic_load_n((unsigned *)word(p.cq_off.tail), __ATOMIC_ACQUIRE))
		enter(0, 1);
	res = cqes[head & *word(p.cq_off.ring_mask)].res;
	__atomic_store_n((unsigned *)word(p.cq_off.head), head + 1, __ATOMIC_RELEASE);
	errno = res < 0 ? -res : 0;
	return res;
}

static inline int go(struct io_uring_sqe e)
{
	put(e);
	enter(1, 1);
	return take();
}

static inline int go_silently(struct io_uring_sqe e)
{
	e.flags |= IOSQE_CQE_SKIP_SUCCESS;
	put(e);
	return enter(1, 0) < 0 ? -1 : 0;
}
