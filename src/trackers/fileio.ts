import { deviceNumbers } from '../tracker/block.js';
import { ifTimed, ofFirst } from '../tracker/aggregated.js';
import { defineTracker, ifPath, type TrackerOptions } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { checkSlowerThan, slowerThanNs } from '../tracker/slower-than.js';
import { blindWithoutUring, uring } from '../tracker/uring.js';
import { watchedCalls } from '../tracker/watched-calls.js';

/** `enum call` of the object. */
const calls = {
  read: 1,
  pread64: 1,
  readv: 1,
  preadv: 1,
  preadv2: 1,
  write: 2,
  pwrite64: 2,
  writev: 2,
  pwritev: 2,
  pwritev2: 2,
  sendfile: 3,
  copy_file_range: 4,
  splice: 4,
};

function check(options: TrackerOptions, path: string): void {
  checkSlowerThan(options, path);
  checkEvery(options, path);
}

export default defineTracker({
  name: 'fileio',
  minimumKernel: '5.17',
  watches:
    "reads and writes of regular files, aggregated in the kernel by container, process and file, io_uring's too: " +
    'counts, bytes, durations, with histograms; slow ones as events of their own',
  details: '{path|inode} [read {readBytes>0}] [written {writtenBytes>0}] [errors {errors>0}] [{slow:slow}]',
  blindSpots: [
    'Files that are mapped into memory (mmap): what is read and written there makes no call.',
    'Requests of asynchronous I/O (io_submit).',
    'Calls and requests that are under way when the session starts or stops.',
    'What the kernel reads and writes by itself: the program of an exec, readahead, writeback, a loop device.',
    'A path is resolved once for each process, file and reading, when the first call ends; it is null where another thread has closed ' +
      'the descriptor by then. A file that is read under several names has one of them.',
    'io_uring: with IOSQE_CQE_SKIP_SUCCESS the kernel does not report success: such a request counts when it is submitted, without ' +
      'bytes and duration, and again if it fails. Requests that read several times (IORING_OP_READ_MULTISHOT), that ' +
      'splice (IORING_OP_SPLICE), or with vectors in registered memory (IORING_OP_READV_FIXED, IORING_OP_WRITEV_FIXED) are not seen.',
    'Durations include time in which the system was suspended.',
  ],
  columns: ['path', 'reads', 'readBytes', 'readNs', 'writes', 'writtenBytes', 'writeNs', 'slow'],
  example: '{ slowerThan: "10ms" }',
  trigger: 'head -c 100000 /bin/sh | cat > /tmp/example; rm /tmp/example',
  atCallEntry: { fileio_enter: null },
  atCallExit: { fileio_exit: null },
  optional: uring('fio'),
  blindWithout: blindWithoutUring('fio', 'Reads and writes through io_uring'),
  check,
  constants: (options) => ({
    // The 32-bit ABI has two, for offsets of 32 and of 64 bits.
    ...watchedCalls(calls, { sendfile64: 3 }),
    eu_self: options['ownCalls'] === true ? 0 : process.pid,
    slower_than_ns: slowerThanNs(options),
  }),
  pushed: {
    ...ofFirst,
  },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: {
      count: null,
      errors: null,
      reads: null,
      readBytes: null,
      readNs: 'readHistogramNs',
      writes: null,
      writtenBytes: null,
      writeNs: 'writeHistogramNs',
    },
    values: { readBytes: 'reads', writtenBytes: 'writes' },
  },
  fields: {
    device: { from: ['device'], read: deviceNumbers },
    path: { from: ['path'], read: (path: string) => path || null },
    deleted: { from: ['pathState', 'deleted'], read: ifPath },
    readNs: { from: ['readNs', 'readHistogramNs'], read: ifTimed },
    writeNs: { from: ['writeNs', 'writeHistogramNs'], read: ifTimed },
  },
});
