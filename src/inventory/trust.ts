import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { findLegacyMounts, type CgroupMount } from '../linux/cgroup-mount.js';
import { cgroupDirectory } from './cgroup.js';
import type { HierarchyPath } from './process-cgroup.js';

/**
 * Whether the name of a cgroup can be believed: only where root alone could have made it. A user to whom a part of the tree is
 * delegated (systemd does that for each user's manager) may make a cgroup of any name there.
 */
export class CgroupTrust {
  readonly #unified: CgroupMount | null;
  readonly #legacy: ReadonlyMap<string, CgroupMount>;

  /** `mountinfo`: the text of /proc/self/mountinfo, for the v1 hierarchies. `unified`: where the v2 hierarchy is; null where it is not. */
  constructor(mountinfo: string, unified: CgroupMount | null) {
    this.#unified = unified;
    this.#legacy = findLegacyMounts(mountinfo);
  }

  /** Whether all parents of a v2 cgroup may be written by root alone. False when one of them has gone. */
  believes(path: string): boolean {
    // Where the hierarchy is not mounted nobody can have been given a part of it.
    return this.#unified === null || onlyRootMakes(this.#unified, path);
  }

  /** The same in any hierarchy; `path` is the process's place or above it. */
  believesIn({ unified, controllers }: HierarchyPath, path: string): boolean {
    if (unified) return this.believes(path);
    const mount = this.#legacy.get(controllers);
    return mount !== undefined && onlyRootMakes(mount, path);
  }
}

function onlyRootMakes(mount: CgroupMount, path: string): boolean {
  let directory = cgroupDirectory(mount, path);
  if (!directory.startsWith(`${mount.point}/`)) return false;
  try {
    while (directory.length > mount.point.length) {
      directory = dirname(directory);
      if (!onlyRootWrites(directory)) return false;
    }
    return true;
  } catch {
    return false;
  }
}

function onlyRootWrites(directory: string): boolean {
  const { uid, gid, mode } = statSync(directory);
  return uid === 0 && (mode & 0o002) === 0 && ((mode & 0o020) === 0 || gid === 0);
}
