import { defineReport } from '../tracker/define-report.js';
import { callArguments } from '../linux/call-arguments.js';
import { ifTimed, ofFirst } from '../tracker/aggregated.js';
import { defineTracker, type TrackerOptions } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';
import { watchedCalls } from '../tracker/watched-calls.js';
import { nameField, pushedName, restrictingCalls, syscallConstants, syscallSelection } from '../tracker/syscall-set.js';

function check(options: TrackerOptions, path: string): void {
  syscallSelection(options, path);
  checkEvery(options, path);
}

export default defineTracker({
  name: 'syscount',
  minimumKernel: '5.12',
  watches:
    'the same calls, aggregated in the kernel by container, process and call: counts, errors, durations and their ' +
    'histogram',
  details: '{name|nr} [{argument}] × {count} [in {durationNs}][, errors {errors>0}]',
  blindSpots: [
    'The blind spots of the tracker syscall: calls that do not return, io_uring requests, the vDSO.',
    'Calls in progress when the session stops are not counted.',
  ],
  columns: ['name', 'count', 'errors', 'durationNs'],
  indexed: ['name'],
  example: '{ every: "5s" }',
  trigger: 'ls /etc',
  check,
  constants: (options) => ({
    ...syscallConstants(options),
    ...watchedCalls(Object.fromEntries(Object.entries(callArguments).map(([name, index]) => [name, index + 1]))),
    latency: options.latency !== false,
    arguments: options.arguments === true,
  }),
  atCallEntry: { syscount_enter: 'each' },
  atCallExit: { syscount_exit: 'each' },
  optionFor: { argument: { arguments: true } },
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
    argument: {
      from: ['hasArgument', 'argument'],
      read: (has: boolean, argument: number): number | null => (has ? argument : null),
    },
    durationNs: { from: ['durationNs', 'durationHistogramNs'], read: ifTimed },
  },
  report: defineReport<'syscount'>({
    feeds: 'syscalls',
    alike: ['name', 'abi', 'argument', 'count', 'errors'],
    read: ({ name, abi, argument, count, errors }) =>
      name === null
        ? null
        : { name, abi: abi ?? null, argument: argument ?? null, count: Number(count), errors: Number(errors) },
    restricting: restrictingCalls,
    extending: ['ownCalls'],
    neutral: ['latency', 'arguments'],
  }),
});
