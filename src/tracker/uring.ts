import type { BlindWithout, TrackerDefinition } from './define.js';

/**
 * The programs NAME_submit, NAME_submit_old, NAME_complete and NAME_overflow of an object that includes uring.bpf.h:
 * io_uring_submit_sqe was io_uring_submit_req's name before Linux 6.4, and had other arguments before 6.0;
 * io_uring_complete had seven before 6.15.
 */
export function uring(name: string): NonNullable<TrackerDefinition['optional']> {
  return {
    [`${name}_submit`]: [1],
    [`${name}_submit_old`]: [1, 2],
    [`${name}_complete`]: [3, 7],
    [`${name}_overflow`]: [5],
  };
}

/** `what` is not seen then, as the beginning of a sentence. */
export function blindWithoutUring(name: string, what: string): readonly BlindWithout[] {
  const lacking = (tracepoint: string) => `this kernel has no supported tracepoint ${tracepoint} (Linux 6.0 and later)`;
  return [
    { programs: [`${name}_submit`, `${name}_submit_old`], what, lacking: lacking('io_uring_submit_req') },
    { programs: [`${name}_complete`], what, lacking: lacking('io_uring_complete') },
    {
      programs: [`${name}_overflow`],
      what: `${what} while its completion queue is full`,
      lacking: lacking('io_uring_cqe_overflow'),
    },
  ];
}
