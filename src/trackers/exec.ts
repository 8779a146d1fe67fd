import { defineReport, ifOff } from '../tracker/define-report.js';
import { defineTracker, ifPath, namespaceInode, pushedErrno } from '../tracker/define.js';

export default defineTracker({
  name: 'exec',
  minimumKernel: '5.17',
  watches:
    'program executions and failed attempts: path, argv up to 32 KiB, working directory, namespaces, whether the ' +
    'file is deleted or in memory',
  details: '{args|filename} [= {errno}]',
  trigger: 'ls /etc',
  blindSpots: [
    'For a successful execveat, `filename` is the kernel\'s name of the file ("/dev/fd/N/…"), not the path as passed.',
    'The file name and arguments of a failed exec are read when the call returns: another thread may ' +
      'have changed them by then, and memory that is not present is omitted (`argsTruncated`).',
    'Code that runs without exec is not reported: a library, a script that an interpreter reads, code ' +
      'written into memory, a process created by clone alone.',
  ],
  columns: ['process.ppid', 'errno', 'args'],
  fields: {
    pidNs: { from: ['pidNs'], read: namespaceInode },
    netNs: { from: ['netNs'], read: namespaceInode },
    executableDeleted: { from: ['executableState', 'executableDeleted'], read: ifPath },
    cwdDeleted: { from: ['cwdState', 'cwdDeleted'], read: ifPath },
    argsTruncated: {
      from: ['args', 'argsTruncated'],
      read: (args: readonly string[] | null, truncated: boolean) => (args === null ? null : truncated),
    },
  },
  atCallExit: { exec_failed: ['execve', 'execveat'] },
  pushed: {
    executable: { kind: 'text', stem: 'executable', bytes: 64 },
    errno: pushedErrno,
    filename: { kind: 'text', stem: 'filename', bytes: 64 },
  },
  unneeded: (options) => (options.failed === false ? ['exec_failed'] : []),
  report: defineReport<'exec'>({
    feeds: 'programs',
    demand: ['executable', 'filename', 'args', 'parentComm'],
    alike: ['executable', 'filename', 'errno'],
    read: ({ executable, filename, errno, args, parentComm }) => ({
      path: errno === null ? (executable ?? filename) : filename,
      errno,
      args,
      parent: parentComm,
    }),
    restricting: [ifOff('failed', 'attempts that fail are excluded')],
  }),
});
