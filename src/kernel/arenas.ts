import koffi from 'koffi';

// malloc.h of glibc
const M_ARENA_MAX = -8;

/**
 * To be called before the server's threads begin. glibc gives each thread an arena of its own, up to eight a core, and what is free in one
 * serves no other: while events were stored, that was 76 MB. Whoever sets MALLOC_ARENA_MAX is obeyed.
 */
export function shareArenas(): void {
  if (process.env.MALLOC_ARENA_MAX !== undefined) return;
  koffi.load('libc.so.6').func('int mallopt(int param, int value)')(M_ARENA_MAX, 2);
}
