import { blindSpotsOfBlock, blockOperations, deviceNumbers } from '../tracker/block.js';
import { ifTimed, ofFirst } from '../tracker/aggregated.js';
import { defineTracker } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';

export default defineTracker({
  name: 'blockcount',
  minimumKernel: '6.5',
  watches:
    'requests to disks, aggregated in the kernel by container, process, disk and operation: counts, bytes, queue ' +
    'and device time, with histograms',
  details: '{blockOperation} [{disk}] × {count}, {bytes} [in {durationNs}][, errors {errors>0}]',
  blindSpots: blindSpotsOfBlock,
  formerNames: { blockOperation: 'operation' },
  columns: ['disk', 'blockOperation', 'count', 'bytes', 'durationNs', 'deviceNs'],
  indexed: ['disk'],
  example: '{ every: "5s" }',
  trigger: 'f=/var/tmp/example; dd if=/dev/zero of=$f bs=8k count=100 oflag=direct; rm $f',
  check: checkEvery,
  constants: (options) => ({ operations: operationMask(blockOperations, options['operations']) }),
  pushed: {
    blockOperation: pushedOperation(blockOperations),
    ...ofFirst,
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
