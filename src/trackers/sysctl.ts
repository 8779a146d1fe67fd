import { defineTracker, namespaceInode } from '../tracker/define.js';
import { pushedOperation } from '../tracker/operation.js';

export default defineTracker({
  name: 'sysctl',
  minimumKernel: '5.17',
  watches:
    "writes of the kernel's parameters (/proc/sys), and reads on request: name, value before and after, network " +
    'namespace',
  details: '{sysctlOperation} {name} [{oldValue}] [> {newValue}]',
  blindSpots: [
    'Whether the kernel takes the new value: it is checked after the event. A value that is not valid, or a `position` other than 0, ' +
      'changes nothing.',
    'Attempts that fail before: on a file system that is mounted read-only, as /proc/sys is in most containers, or for want of rights. ' +
      'See the tracker open.',
    'What a write changes besides: writing net/ipv4/conf/all/forwarding changes that of each interface.',
    'Parameters that are changed otherwise: by the system calls sethostname and setdomainname, by netlink, on the command line of the ' +
      'kernel, and files of /sys.',
    'A write that the kernel begins anew is reported each time: some parameters of the network do while another process changes others.',
    'A value that changes at the same time: `oldValue` is read before, not in one step with the write.',
  ],
  formerNames: { sysctlOperation: 'operation' },
  columns: ['sysctlOperation', 'name', 'oldValue', 'newValue'],
  indexed: ['name'],
  trigger: 'cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness',
  pushed: {
    sysctlOperation: pushedOperation(['WRITE', 'READ']),
    name: { kind: 'text', stem: 'name', bytes: 64 },
    oldValue: { kind: 'text', stem: 'old_value', bytes: 64 },
    newValue: { kind: 'text', stem: 'new_value', bytes: 64 },
  },
  fields: {
    name: { from: ['name'], read: (name: string | null) => name ?? '' },
    netNs: { from: ['netNs'], read: namespaceInode },
  },
});
