/* Frames of every kind that a compiler writes without a frame pointer, in a library of their own. */
#include <alloca.h>
#include <string.h>

typedef int (*step)(int);

__attribute__((noinline)) static int plain(int n, step then)
{
	return then(n + 1) + n;
}

/* As many registers saved as there are. */
__attribute__((noinline)) static int saving(int n, step then)
{
	volatile int a = n, b = n + 1, c = n + 2, d = n + 3, e = n + 4, f = n + 5;
	int p = a * 3, q = b * 5, r = c * 7, s = d * 11, t = e * 13, u = f * 17;
	int got = plain(n, then);

	return got + p + q + r + s + t + u;
}

/* A frame whose size is not known when it is compiled. */
__attribute__((noinline)) static int sized(int n, step then)
{
	char *room = alloca(64 + (n & 63));

	memset(room, n, 64);
	return saving(n, then) + room[n & 31];
}

/* A frame that is aligned when it runs. */
__attribute__((noinline)) static int aligned(int n, step then)
{
	int values[32] __attribute__((aligned(64)));

	for (int i = 0; i < 32; i++)
		values[i] = n + i;
	n = sized(values[n & 31], then);
	return n + values[n & 31];
}

__attribute__((noinline)) int inner_calls(int n, step then)
{
	return aligned(n, then) + 1;
}
