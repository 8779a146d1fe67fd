/* A call through the 32-bit table of x86, as a 64-bit program can make it where the kernel lets it. */
#ifdef __x86_64__
#include <errno.h>

static inline long narrow_call(long nr, long a, long b, long c, long d, long e)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "r8", "r9", "r10", "r11", "memory");
	errno = result < 0 ? -result : 0;
	return result;
}

/* Arguments that are left out are 0. */
#define old(...) NARROW_CALL(__VA_ARGS__, 0, 0, 0, 0, 0)
#define NARROW_CALL(nr, a, b, c, d, e, ...) narrow_call(nr, a, b, c, d, e)
#endif
