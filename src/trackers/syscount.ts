import { invalid } from '../base/errors.js';
import { defineReport } from '../tracker/define-report.js';
import { defineTracker, type TrackerOptions } from '../tracker/define.js';
import { nameField, pushedName, restrictingCalls, syscallConstants, syscallSelection } from '../tracker/syscall-set.js';

const DEFAULT_EVERY_MS = 1000;
const MIN_EVERY_MS = 50;
const MAX_EVERY_MS = 3_600_000;

function everyMs({ every }: TrackerOptions): number {
  return typeof every === 'number' ? every : DEFAULT_EVERY_MS;
}

function check(options: TrackerOptions, where: string): void {
  syscallSelection(options, where);
  const ms = everyMs(options);
  if (ms < MIN_EVERY_MS || ms > MAX_EVERY_MS) {
    throw invalid(`${where}.every`, `${ms} ms is out of range; give "${MIN_EVERY_MS}ms" to "1h"`, {
      minMs: MIN_EVERY_MS,
      maxMs: MAX_EVERY_MS,
      valueMs: ms,
    });
  }
}

/** What no call was timed for is unknown, not 0. */
const ifTimed = (durationNs: string, latency: readonly string[] | null) => (latency === null ? null : durationNs);

export default defineTracker({
  name: 'syscount',
  minimumKernel: '5.12',
  blindSpots: [
    'The blind spots of the tracker syscall: calls that do not return, io_uring requests, the vDSO.',
    'Calls in progress when the session stops are not counted.',
  ],
  columns: ['name', 'count', 'errors', 'durationNs'],
  indexed: ['name'],
  example: '{ every: "5s" }',
  trigger: 'ls /etc',
  check,
  constants: (options) => ({ ...syscallConstants(options), latency: options.latency !== false }),
  unneeded: (options) => (options.latency === false ? ['syscount_enter'] : []),
  pushed: {
    nr: { kind: 'number', stem: 'nr' },
    name: pushedName,
    // The header is that of the call that was seen first: these may be others for later ones.
    'process.tid': null,
    'process.uid': null,
    'process.gid': null,
    'process.comm': null,
  },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: { count: null, errors: null, durationNs: 'latencyLog2' },
  },
  fields: {
    name: nameField,
    durationNs: { from: ['durationNs', 'latencyLog2'], read: ifTimed },
  },
  report: defineReport<'syscount'>({
    feeds: 'syscalls',
    read: ({ name, count, errors }) => ({ name, count: Number(count), errors: Number(errors) }),
    restricting: restrictingCalls,
  }),
});
