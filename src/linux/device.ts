export type DeviceType = 'BLOCK' | 'CHARACTER';

/** Character devices with fixed numbers, by major and minor number (Documentation/admin-guide/devices.txt of the kernel). */
const characters: Readonly<Record<number, Readonly<Record<number, string>>>> = {
  1: {
    1: 'mem',
    2: 'kmem',
    3: 'null',
    4: 'port',
    5: 'zero',
    7: 'full',
    8: 'random',
    9: 'urandom',
    11: 'kmsg',
  },
  4: { 0: 'tty0', 64: 'ttyS0' },
  5: { 0: 'tty', 1: 'console', 2: 'ptmx' },
  10: {
    130: 'watchdog',
    183: 'hwrng',
    200: 'net/tun',
    223: 'uinput',
    229: 'fuse',
    232: 'kvm',
    236: 'mapper/control',
    237: 'loop-control',
    238: 'vhost-net',
  },
};

const PTS_MAJOR = 136;
const PTS_MAJORS = 8;
const MINORS = 256;

/** The name below /dev that a device with fixed numbers has; null for others, whose numbers are given as they come. */
export function deviceName(type: DeviceType, major: number, minor: number): string | null {
  if (type === 'BLOCK') {
    // Of SCSI disks, the first 16, with 15 partitions each.
    if (major === 8) return `sd${String.fromCharCode(97 + (minor >> 4))}${minor & 15 || ''}`;
    return major === 1 ? `ram${minor}` : null;
  }
  if (major >= PTS_MAJOR && major < PTS_MAJOR + PTS_MAJORS) return `pts/${(major - PTS_MAJOR) * MINORS + minor}`;
  return characters[major]?.[minor] ?? null;
}
