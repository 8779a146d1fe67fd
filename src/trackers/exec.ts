import { defineTracker, pushedErrno } from './define.js';

/** 0 is not captured: no namespace has it. */
const ifCaptured = (inode: number) => inode || null;

export default defineTracker({
  name: 'exec',
  summary: 'Programs that are executed, and attempts that fail.',
  minimumKernel: '5.17',
  fields: {
    pidNs: { from: ['pidNs'], read: ifCaptured },
    netNs: { from: ['netNs'], read: ifCaptured },
    argsTruncated: {
      from: ['args', 'argsTruncated'],
      read: (args: readonly string[] | null, truncated: boolean) => (args === null ? null : truncated),
    },
  },
  pushed: {
    errno: pushedErrno,
    filename: { kind: 'text', stem: 'filename', bytes: 64 },
  },
  unneeded: (options) => (options.failed === false ? ['exec_failed'] : []),
});
