import { defineReport } from '../tracker/define-report.js';
import { ifTimed, ofFirst } from '../tracker/aggregated.js';
import { defineTracker, type TrackerOptions } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { nameField, pushedName, restrictingCalls, syscallConstants, syscallSelection } from '../tracker/syscall-set.js';

function check(options: TrackerOptions, where: string): void {
  syscallSelection(options, where);
  checkEvery(options, where);
}

export default defineTracker({
  name: 'syscount',
  minimumKernel: '5.12',
  details: '{name|nr} × {count} [in {durationNs}][, errors {errors>0}]',
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
    ...ofFirst,
  },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: { count: null, errors: null, durationNs: 'durationHistogramNs' },
  },
  fields: {
    name: nameField,
    durationNs: { from: ['durationNs', 'durationHistogramNs'], read: ifTimed },
  },
  report: defineReport<'syscount'>({
    feeds: 'syscalls',
    alike: ['name', 'abi', 'count', 'errors'],
    read: ({ name, abi, count, errors }) =>
      name === null ? null : { name, abi: abi ?? null, count: Number(count), errors: Number(errors) },
    restricting: restrictingCalls,
    extending: ['ownCalls'],
  }),
});
