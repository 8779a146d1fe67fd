import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { parseCgroupPath, type CgroupOwner } from './cgroup.js';

export interface ProcessCgroup {
  /** The container that any hierarchy names. */
  readonly owner: CgroupOwner | null;
  /** Whether the v2 hierarchy (the `0::` line) names it: only then does a cgroup id tell this container from the host. */
  readonly unified: boolean;
}

/** Reads the text of /proc/PID/cgroup: one line a hierarchy, `number:controllers:path`; the v2 line wins. Pure. */
export function parseProcessCgroup(text: string): ProcessCgroup {
  let owner: CgroupOwner | null = null;
  for (const line of text.split('\n')) {
    const [hierarchy, , ...rest] = line.split(':');
    // A path may itself contain colons (`…slice:cri-containerd:<id>`).
    const found = parseCgroupPath(rest.join(':'));
    if (found === null) continue;
    if (hierarchy === '0') return { owner: found, unified: true };
    owner ??= found;
  }
  return { owner, unified: false };
}

/** Null when the process has gone. */
export async function readProcessCgroup(pid: number): Promise<ProcessCgroup | null> {
  try {
    return parseProcessCgroup(await readFile(`/proc/${pid}/cgroup`, 'utf8'));
  } catch {
    return null;
  }
}

/** The number of a process's mount namespace (`mnt:[4026531841]`); null when it has gone or may not be read. */
export async function readMountNs(pid: number | 'self'): Promise<number | null> {
  try {
    const digits = /^mnt:\[(\d+)\]$/.exec(await readlink(`/proc/${pid}/ns/mnt`))?.[1];
    return digits === undefined ? null : Number(digits);
  } catch {
    return null;
  }
}

/**
 * The first process of a container without an engine to ask: the lowest pid in its cgroup, or in a cgroup that its
 * runtime makes below it (podman's `container`). Null when the cgroup is empty; undefined when it has gone.
 */
export async function readFirstPid(directory: string): Promise<number | null | undefined> {
  const pids = await readPids(directory);
  if (pids === undefined || pids.length > 0) return lowest(pids);
  for (const child of ['container', 'init.scope']) {
    const below = await readPids(join(directory, child));
    if (below !== undefined && below.length > 0) return lowest(below);
  }
  return null;
}

function lowest(pids: readonly number[] | undefined): number | null | undefined {
  return pids?.reduce<number | null>((least, pid) => (least === null || pid < least ? pid : least), null);
}

async function readPids(directory: string): Promise<number[] | undefined> {
  try {
    const text = await readFile(join(directory, 'cgroup.procs'), 'utf8');
    // 0 stands for a process outside our pid namespace.
    return text
      .split('\n')
      .map(Number)
      .filter((pid) => pid > 0);
  } catch {
    return undefined;
  }
}
