import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { EunomiaError } from '../base/errors.js';
import { cgroupRoot } from './attach.js';

const mountOf = (point: string) => `40 30 0:37 / ${point} rw,relatime - cgroup2 cgroup2 rw`;

function codeOf(mountinfo: string): string {
  try {
    return cgroupRoot(mountinfo);
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
  const folder = mkdtempSync(join(tmpdir(), 'eunomia-cgroup-'));
  expect(statSync(folder).ino).not.toBe(1);
  expect(codeOf(mountOf(folder))).toMatch(/^NO_CGROUP_ROOT: .* is not the root .*.*cgroupns=host/);
  rmSync(folder, { recursive: true });
});

it('takes the root, whose inode is 1', () => {
  // So has proc's, which each machine has.
  expect(codeOf(mountOf('/proc'))).toBe('/proc');
});
