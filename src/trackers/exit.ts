import { signalName } from '../linux.js';
import { defineTracker } from './define.js';

export default defineTracker({
  name: 'exit',
  summary: 'Processes that end: their code, signal and lifetime.',
  minimumKernel: '5.12',
  pushed: {
    'process.comm': null, // the process's, and not that of its last thread
    exitCode: { kind: 'number', stem: 'exit_code' },
    signal: { kind: 'code', stem: 'signal', max: 127, read: signalName },
  },
  fields: {
    signal: { from: ['signal'], read: (signal: number) => signalName(signal) },
  },
});
