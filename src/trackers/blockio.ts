import { blindSpotsOfBlock, blockOperations, deviceNumbers, requestFlags } from '../tracker/block.js';
import { defineTracker, pushedErrno } from '../tracker/define.js';
import { flagNames } from '../tracker/flag.js';
import { operationMask, pushedOperation } from '../tracker/operation.js';
import { checkSlowerThan, slowerThanNs } from '../tracker/slower-than.js';

const KNOWN_FLAGS = requestFlags.reduce((all, [bits]) => all | bits, 0);
const NO_SECTOR = String(2n ** 64n - 1n);

export default defineTracker({
  name: 'blockio',
  minimumKernel: '6.5',
  watches: 'requests to disks: operation, disk, sector, bytes, time in the queue and in the device, flags, error',
  details: '{blockOperation} [{disk}] {bytes} [queued {queueNs}] [device {deviceNs}] [= {errno}]',
  blindSpots: blindSpotsOfBlock,
  formerNames: { blockOperation: 'operation' },
  columns: ['disk', 'blockOperation', 'bytes', 'queueNs', 'deviceNs', 'errno'],
  indexed: ['disk'],
  example: '{ operations: [READ, WRITE] }',
  trigger: 'f=/var/tmp/example; dd if=/dev/zero of=$f bs=8k count=1 oflag=direct; rm $f',
  check: checkSlowerThan,
  constants: (options) => ({
    failed_only: options['failedOnly'] === true,
    slower_than_ns: slowerThanNs(options),
    operations: operationMask(blockOperations, options['operations']),
  }),
  pushed: {
    blockOperation: pushedOperation(blockOperations),
    errno: pushedErrno,
    bytes: { kind: 'number', stem: 'bytes' },
  },
  fields: {
    disk: { from: ['disk'], read: (disk: string) => disk || null },
    device: { from: ['device'], read: deviceNumbers },
    sector: { from: ['sector'], read: (sector: string) => (sector === NO_SECTOR ? null : sector) },
    flags: { from: ['flags'], read: (flags: number) => flagNames(flags & KNOWN_FLAGS, requestFlags) },
  },
});
