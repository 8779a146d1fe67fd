import type { Bucket } from '../event/event.js';
import type { PushedField } from './define.js';

// Of trackers that aggregate in the kernel by process.

/** The header is that of what was seen first: these fields may be others for what came later, so no filter by them is pushed. */
export const ofFirst: Readonly<Record<string, PushedField | null>> = {
  'process.tid': null,
  'process.uid': null,
  'process.gid': null,
  'process.comm': null,
};

/** Reads a total duration: what nothing was timed for is unknown, not 0. */
export const ifTimed = (ns: string, histogram: readonly Bucket[] | null): string | null =>
  histogram === null ? null : ns;
