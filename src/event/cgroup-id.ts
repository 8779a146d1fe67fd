import type { CgroupId } from './event.js';

/**
 * A v2 cgroup's id from its decimal digits; null for one that a double cannot hold. The kernel makes none: an id of kernfs is
 * `generation << 32 | number`, where numbers go up to 2^31 and the generation grows by one when they begin anew
 * (fs/kernfs/dir.c, kernfs_new_node), so that an id of 2^53 comes after 2^52 cgroups. What is larger was not read from
 * a kernel, and must not pass for the id it would be rounded to.
 */
export function cgroupIdOf(digits: string): CgroupId | null {
  const id = Number(digits);
  return Number.isSafeInteger(id) ? id : null;
}
