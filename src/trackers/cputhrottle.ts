import { ofFirst } from '../tracker/aggregated.js';
import { defineTracker } from '../tracker/define.js';
import { checkEvery, everyMs } from '../tracker/every.js';

export default defineTracker({
  name: 'cputhrottle',
  minimumKernel: '6.18',
  watches:
    'how often, and how long, threads are kept from running because their cgroup has used up its CPU limit, ' +
    'aggregated in the kernel by container and process, with a histogram',
  details: 'throttled × {count}, {throttledNs} in all[, quota {quotaNs} of {periodNs}]',
  blindSpots: [
    'Which cgroup has used up its share: `quotaNs` and `periodNs` are those of the nearest one that has a limit.',
    'A thread that is throttled when the session starts is not counted, nor is one that is still throttled when it stops, or that is ' +
      'killed meanwhile.',
    'The time ends when the thread gets a CPU, and so includes a wait for one after the throttle has ended.',
    'A thread is throttled on its way back to user space: in the kernel it goes on, and is not counted.',
    'Limits of real-time threads, of other schedulers (sched_ext), and of the host of a virtual machine (steal time).',
    'Times include time in which the system was suspended.',
  ],
  columns: ['count', 'throttledNs', 'quotaNs', 'periodNs'],
  example: '{ every: "5s" }',
  // The cgroup is of v1 or of v2.
  trigger:
    'for r in /sys/fs/cgroup/cpu /sys/fs/cgroup; do g=$r/eunomia-example-$$; mkdir $g 2>/dev/null && if [ -f $g/cpu.cfs_quota_us ]; ' +
    'then echo 10000 >$g/cpu.cfs_quota_us; else echo +cpu >$r/cgroup.subtree_control; echo 10000 >$g/cpu.max; fi && break; done; ' +
    '(sh -c "echo \\$\\$ >$g/cgroup.procs; exec timeout 0.5 sh -c \\"while :; do :; done\\""); sleep 0.1; rmdir $g',
  check: checkEvery,
  constants: () => ({}),
  pushed: { ...ofFirst },
  kernelAggregate: {
    everyMs,
    count: 'count',
    totals: { count: null, throttledNs: 'throttledHistogramNs' },
  },
});
