/** What the trackers do not see whose events have a `stack`. */
export const stackBlindSpots: readonly string[] = [
  '`stack`: up to 20 KiB of a stack are captured, and callers beyond them are not seen. Code that says neither by unwind tables nor by ' +
    'frame pointers how it was called ends the list. Its last element tells of either. Of what an interpreter runs, the frames are the ' +
    "interpreter's. Files of a container that has ended are read only where it had them on an overlay. Stacks of 32-bit programs are " +
    "not read. Of a tracker's refusals beyond 480 a second, the stack says that there were too many.",
  '`stack` on kernels before 6.7: the mappings of a process are read from /proc, so that the stack of a process which ended at once has ' +
    'no functions and no callers.',
];
