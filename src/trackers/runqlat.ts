import { defineTracker } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';

export default defineTracker({
  name: 'runqlat',
  minimumKernel: '6.4',
  watches:
    'how long threads that can run wait for a CPU, aggregated in the kernel by container, process and name of the ' +
    'thread, with histograms',
  details: 'waited × {count}, {waitNs} in all[, preempted × {preemptions>0}]',
  blindSpots: [
    'A thread that waits when the session starts is counted from its next wait on, and one that waits when it stops is not counted.',
    'Time in which the host of a virtual machine does not run the CPU (steal time) is no wait here.',
    'A thread that the kernel keeps from running, because its cgroup has used up its share of the CPU (cpu.max), waits all that time.',
    'Waits include time in which the system was suspended.',
  ],
  columns: ['count', 'waitNs', 'preemptions'],
  example: '{ every: "5s" }',
  trigger: 'sleep 0.01',
  check: checkEvery,
  constants: () => ({}),
  // By name they are apart.
  pushed: { 'process.tid': null, 'process.uid': null, 'process.gid': null },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: { count: null, preemptions: null, waitNs: 'waitHistogramNs' },
  },
});
