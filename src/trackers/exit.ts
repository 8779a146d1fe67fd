import { signalName } from '../linux/linux.js';
import { defineReport, ifSet } from '../tracker/define-report.js';
import { defineTracker } from '../tracker/define.js';

export default defineTracker({
  name: 'exit',
  minimumKernel: '5.12',
  watches: 'process exits: exit code, signal, core dump, lifetime',
  details: '[code {exitCode}] [killed by {signal}] [{coreDumped:with a core dump}] after {lifetimeNs}',
  blindSpots: [
    'A thread that exits while its process continues has no event.',
    'The event is reported when the process starts to exit. Its memory and files are released up to a tenth of a second later.',
  ],
  columns: ['exitCode', 'signal', 'lifetimeNs'],
  indexed: ['signal'],
  example: '{ failedOnly: true }',
  trigger: "sh -c 'exit 3'",
  pushed: {
    'process.comm': null, // the process's, and not that of its last thread
    exitCode: { kind: 'number', stem: 'exit_code', null: -1 },
    signal: { kind: 'code', stem: 'signal', max: 127, read: signalName },
  },
  fields: {
    exitCode: { from: ['exitCode'], read: (code: number) => (code < 0 ? null : code) },
    signal: { from: ['signal'], read: (signal: number) => signalName(signal) },
  },
  report: defineReport<'exit'>({
    feeds: 'exits',
    alike: [],
    read: (event) => event,
    restricting: [ifSet('failedOnly', 'processes that exit with code 0 are excluded')],
  }),
});
