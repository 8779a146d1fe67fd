import type { FileFact } from '../event/report-feed.js';

// Of trackers of files that are opened: open, opencount.

export const openCalls = ['open', 'creat', 'openat', 'openat2', 'open_by_handle_at'];

const WRITES: ReadonlySet<string> = new Set(['O_WRONLY', 'O_RDWR', 'O_TRUNC']);

/** What an opened file can be used for. */
export function useOf(errno: string | null, shown: readonly string[] | null): Pick<FileFact, 'reads' | 'writes'> {
  const flags = shown ?? [];
  // O_PATH gives a name only: nothing can be read or written through it.
  const opened = errno === null && !flags.includes('O_PATH');
  return { reads: opened && !flags.includes('O_WRONLY'), writes: opened && flags.some((flag) => WRITES.has(flag)) };
}
