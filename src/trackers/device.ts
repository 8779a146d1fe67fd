import { deviceName, type DeviceType } from '../linux/device.js';
import { defineReport, ifSet } from '../tracker/define-report.js';
import { defineTracker } from '../tracker/define.js';
import { flagNames, type Flags } from '../tracker/flag.js';
import { pushedEnum } from '../tracker/operation.js';

const types = ['BLOCK', 'CHARACTER'];
// include/uapi/linux/bpf.h: BPF_DEVCG_ACC_*
const accesses: Flags = [
  [1, 'MAKE'],
  [2, 'READ'],
  [4, 'WRITE'],
];

function bitsOf(name: string): { mask: number; value: number; exact: boolean } | null {
  const [mask] = accesses.find(([, known]) => known === name) ?? [];
  return mask === undefined ? null : { mask, value: mask, exact: true };
}

export default defineTracker({
  name: 'device',
  minimumKernel: '5.18',
  watches:
    'uses of device files, as they are opened, made or checked: type, numbers, name, access, whether the rules of a ' +
    'cgroup deny it',
  details: '{access} {type} {major}:{minor} [{name}] {denied:denied:allowed}',
  blindSpots: [
    'Whether the call succeeds: the rules of a cgroup v1, file modes, capabilities and the driver decide after the event, or before. ' +
      'An attempt that file modes or the option nodev of a mount refuse has no event: see the tracker open.',
    'What is done with an open device: reads, writes, mmap and ioctl of its descriptor, which may be inherited, or passed over a socket.',
    'The path: the same device can have any name, and be reached without a file of its own, as a disk through the file system on it.',
    'A file that is opened with O_PATH, or whose mode or owner is changed, is not checked.',
    'Devices that the kernel does not check this way: those of another bus (USB through /proc), sockets of the network, /proc/kcore, /sys.',
    'Decisions of BPF programs that the kernel runs after that of the server: others that are attached to the root of the hierarchy.',
  ],
  columns: ['type', 'major', 'minor', 'name', 'access', 'denied'],
  indexed: ['name'],
  trigger: 'd=$(mktemp -d); mknod $d/kmsg c 1 11; rm -r $d',
  pushed: {
    type: pushedEnum('type', types),
    major: { kind: 'number', stem: 'major' },
    minor: { kind: 'number', stem: 'minor' },
    access: { kind: 'bits', stem: 'access', bitsOf },
    denied: { kind: 'code', stem: 'denied', max: 1, read: Boolean },
  },
  fields: {
    name: {
      from: ['type', 'major', 'minor'],
      read: (type: DeviceType, major: number, minor: number) => deviceName(type, major, minor),
    },
    access: { from: ['access'], read: (access: number) => flagNames(access, accesses) },
  },
  report: defineReport<'device'>({
    feeds: 'devices',
    alike: ['type', 'major', 'minor', 'name', 'access', 'denied'],
    read: ({ type, major, minor, name, access, denied }) => ({ type, major, minor, name, access, denied }),
    restricting: [ifSet('deniedOnly', 'uses that no cgroup denies are excluded')],
    extending: ['ordinary'],
  }),
});
