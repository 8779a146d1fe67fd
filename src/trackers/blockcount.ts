import type { Bucket } from '../event/event.js';
import { invalid } from '../base/errors.js';
import { blindSpotsOfBlock, blockOperations, deviceNumbers } from '../tracker/block.js';
import { defineTracker, type TrackerOptions } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';

function check(options: TrackerOptions, where: string): void {
  if ((options['operations'] as readonly string[] | null | undefined)?.length === 0)
    throw invalid(`${where}.operations`, 'is empty; leave it out, or name operations, for example [READ, WRITE]');
  checkEvery(options, where);
}

/** What no request was timed for is unknown, not 0. */
const ifTimed = (ns: string, histogram: readonly Bucket[] | null) => (histogram === null ? null : ns);

export default defineTracker({
  name: 'blockcount',
  minimumKernel: '6.5',
  blindSpots: blindSpotsOfBlock,
  columns: ['disk', 'operation', 'count', 'bytes', 'durationNs', 'deviceNs'],
  indexed: ['disk'],
  example: '{ every: "5s" }',
  trigger: 'f=/var/tmp/example; dd if=/dev/zero of=$f bs=8k count=100 oflag=direct; rm $f',
  check,
  constants: (options) => ({ operations: operationMask(blockOperations, options['operations']) }),
  pushed: {
    operation: pushedOperation(blockOperations),
    // The header is that of the request that was seen first: these may be others for later ones.
    'process.tid': null,
    'process.uid': null,
    'process.gid': null,
    'process.comm': null,
  },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: {
      count: null,
      errors: null,
      bytes: 'sizeHistogramBytes',
      durationNs: 'durationHistogramNs',
      queueNs: 'queueHistogramNs',
      deviceNs: 'deviceHistogramNs',
    },
  },
  fields: {
    disk: { from: ['disk'], read: (disk: string) => disk || null },
    device: { from: ['device'], read: deviceNumbers },
    queueNs: { from: ['queueNs', 'queueHistogramNs'], read: ifTimed },
    deviceNs: { from: ['deviceNs', 'deviceHistogramNs'], read: ifTimed },
  },
});
