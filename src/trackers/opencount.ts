import { defineReport } from '../tracker/define-report.js';
import { ofFirst } from '../tracker/aggregated.js';
import { absolutePath } from '../tracker/absolute-path.js';
import { defineTracker, ifPath, pushedErrno } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { openFlagBits, openFlags } from '../tracker/open-flags.js';
import { openCalls, useOf } from '../tracker/opened-file.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';

export default defineTracker({
  name: 'opencount',
  minimumKernel: '5.17',
  watches:
    'the same opened files, aggregated in the kernel by container, process, path and flags: how often, and when ' +
    'first and last; failed attempts one by one',
  details: '{path} [= {errno}] [{flags}] × {count}',
  blindSpots: [
    'The blind spots of the tracker open.',
    "The path is that of the first of the opens that an event counts: a directory above the file's own that is renamed, or a mount that " +
      'is moved, between two readings has its earlier name until then.',
  ],
  columns: ['errno', 'count', 'flags', 'path'],
  example: '{ every: "5s" }',
  trigger: 'cat /etc/hostname /etc/hostname',
  atCallExit: { opencount_exit: openCalls },
  optional: uring('open'),
  blindWithout: blindWithoutUring('open', 'Files that are opened through io_uring'),
  check: checkEvery,
  constants: () => ({}),
  pushed: {
    errno: pushedErrno,
    flags: { kind: 'bits', stem: 'flags', bitsOf: openFlagBits },
    ...ofFirst,
  },
  kernelAggregate: { everyMs, count: 'count', totals: { count: null } },
  fields: {
    flags: { from: ['flags'], read: (flags: string) => openFlags(BigInt(flags)) },
    deleted: { from: ['pathState', 'deleted'], read: ifPath },
  },
  report: defineReport<'opencount'>({
    feeds: 'files',
    alike: [
      { field: 'path', names: true },
      'errno',
      'flags',
      'count',
      { field: 'first', of: 'earliest' },
      { field: 'last', of: 'latest' },
    ],
    read: ({ path, errno, flags, count, first, last }) => ({
      path,
      absolute: absolutePath(null, path),
      errno,
      ...useOf(errno, flags),
      count: Number(count),
      first: first ?? null,
      last: last ?? null,
    }),
  }),
});
