import { defineTracker, pushedErrno } from './define.js';

export default defineTracker({
  name: 'exec',
  summary: 'Programs that are executed, and attempts that fail.',
  minimumKernel: '5.17',
  fields: {
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
