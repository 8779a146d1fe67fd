import { statSync } from 'node:fs';
import { expect, it } from 'vitest';
import { EunomiaError } from '../base/errors.js';
import { cgroupHint, cgroupRoot, type DirectoryFacts } from './attach.js';

const mountOf = (point: string) => `40 30 0:37 / ${point} rw,relatime - cgroup2 cgroup2 rw`;

function codeOf(mountinfo: string, place?: DirectoryFacts): string {
  try {
    return place ? cgroupRoot(mountinfo, () => place) : cgroupRoot(mountinfo);
  } catch (error) {
    return error instanceof EunomiaError ? `${error.code}: ${error.message}` : String(error);
  }
}

it('has no place for programs of cgroups without a hierarchy', () => {
  expect(codeOf('30 1 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw')).toMatch(
    /^NO_CGROUP_ROOT: no cgroup v2 .* mount -t cgroup2/,
  );
});

it('refuses a cgroup that is not the root, as a container has it', () => {
  expect(codeOf(mountOf('/sys/fs/cgroup'), { inode: 2, fileSystem: 0x63677270 })).toMatch(
    /^NO_CGROUP_ROOT: \/sys\/fs\/cgroup is not the root .* or only a part of the hierarchy is mounted;.*cgroupns=host/,
  );
});

it('refuses what is mounted over the hierarchy, even another root', () => {
  // So has proc's the inode 1, on each machine.
  expect(statSync('/proc').ino).toBe(1);
  expect(codeOf(mountOf('/proc'))).toMatch(/^NO_CGROUP_ROOT: another file system .* at \/proc/);
});

it('refuses a directory that it cannot read, and says why', () => {
  expect(codeOf(mountOf('/no/such/folder'))).toMatch(/^NO_CGROUP_ROOT: \/no\/such\/folder, .* \(ENOENT: /);
});

it('takes the root, whose inode is 1', () => {
  expect(codeOf(mountOf('/sys/fs/cgroup'), { inode: 1, fileSystem: 0x63677270 })).toBe('/sys/fs/cgroup');
});

it('says what is wrong with a cgroup where the errno alone says something else', () => {
  expect(cgroupHint('E2BIG', true)).toMatch(/64/);
  expect(cgroupHint('EPERM', true)).toMatch(/another program may hold/);
  expect(cgroupHint('EPERM', false)).toBeNull();
  expect(cgroupHint('EBADF', true)).toBeNull();
});
