import { signalName } from '../linux.js';
import { defineTracker } from './define.js';

export default defineTracker({
  name: 'exit',
  summary: 'Processes that end: their code, signal and lifetime.',
  minimumKernel: '5.12',
  fields: {
    signal: { from: ['signal'], read: (signal: number) => signalName(signal) },
  },
});
