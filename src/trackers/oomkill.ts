import { defineTracker, secondProcess } from '../tracker/define.js';

const ifLimited = (limited: boolean, bytes: string) => (limited ? bytes : null);

export default defineTracker({
  name: 'oomkill',
  minimumKernel: '6.9',
  watches:
    'processes that the kernel kills because memory has run out: their memory, the cgroup whose limit was reached, ' +
    'and the process whose allocation failed',
  details: 'killed with {anonBytes} [of {limitBytes}] [in {memoryCgroup}] [by {triggerPid} {triggerComm}]',
  blindSpots: [
    'Processes that are killed with the victim because they share its memory (CLONE_VM) have no event of their own: see the tracker exit.',
    'A process that is exiting already, and would release its memory, is selected without being killed again: ' +
      'it has an event here, and may exit with a code of its own.',
    'Whose limit was reached is inferred from the state of the cgroups, since the kernel does not report it: if two ' +
      'cgroups are out of memory at the same time, or a limit is lowered below what is in use, it may be another one, or none.',
    "The victim's memory is what the kernel's log reports: counts that lag behind by up to 32 pages, or twice the number " +
      'of CPUs if that is more, for each CPU.',
    'With a target of pids, a victim that has ended before the kernel marks it: it is sent SIGKILL first, and may run on another CPU.',
    'Allocations that fail without a victim, and processes killed by daemons in user space (systemd-oomd, earlyoom), ' +
      'which send ordinary signals: see the tracker signal.',
  ],
  columns: ['memoryCgroup', 'limitBytes', 'anonBytes', 'oomScoreAdj', 'triggerPid', 'triggerComm'],
  example: '{ cgroupsOnly: true }',
  // In a memory cgroup of its own, of whichever version has the controller.
  trigger:
    'd=/sys/fs/cgroup/memory; [ -d $d ] || d=/sys/fs/cgroup; d=$d/eunomia-sample; mkdir $d && ' +
    'for f in memory.limit_in_bytes memory.max; do [ ! -e $d/$f ] || echo 16M > $d/$f; done; ' +
    'sh -c "echo \\$\\$ > $d/cgroup.procs; exec tail /dev/zero"; rmdir $d',
  pushed: {
    oomScoreAdj: { kind: 'number', stem: 'oom_score_adj' },
    triggerPid: { kind: 'number', stem: 'trigger_pid', null: 0 },
    memoryCgroup: { kind: 'text', stem: 'memory_cgroup', bytes: 64 },
  },
  fields: {
    ...secondProcess('trigger'),
    limitBytes: { from: ['limited', 'limitBytes'], read: ifLimited },
    usageBytes: { from: ['limited', 'usageBytes'], read: ifLimited },
  },
});
