import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** A process's place in one hierarchy: a line of /proc/PID/cgroup. */
export interface HierarchyPath {
  /** The unified (v2) hierarchy. */
  readonly unified: boolean;
  /** Of a v1 hierarchy: `cpu,cpuacct`, `name=systemd`; empty for the unified one. */
  readonly controllers: string;
  readonly path: string;
}

/** Reads the text of /proc/PID/cgroup: one line a hierarchy, `number:controllers:path`; the unified one comes first. Pure. */
export function parseProcessCgroups(text: string): HierarchyPath[] {
  const found: HierarchyPath[] = [];
  for (const line of text.split('\n')) {
    const [hierarchy, controllers, ...rest] = line.split(':');
    if (hierarchy === undefined || controllers === undefined || rest.length === 0) continue;
    // A path may itself contain colons (`…slice:cri-containerd:<id>`). A cgroup that is gone has this behind its path.
    const one = { unified: hierarchy === '0', controllers, path: rest.join(':').replace(/ \(deleted\)$/, '') };
    if (one.unified) found.unshift(one);
    else found.push(one);
  }
  return found;
}

/** Null when the process has gone. */
export async function readProcessCgroups(pid: number): Promise<HierarchyPath[] | null> {
  try {
    return parseProcessCgroups(await readFile(`/proc/${pid}/cgroup`, 'utf8'));
  } catch {
    return null;
  }
}

// /proc counts in these, whatever the kernel's HZ (include/linux/jiffies.h USER_HZ).
const TICK_MS = 10;

/** When a process started, in milliseconds since the epoch, exact to some 20 ms; null when it has gone. */
export async function readStartTime(pid: number): Promise<number | null> {
  try {
    const [stat, uptime] = await Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile('/proc/uptime', 'utf8')]);
    // "pid (comm) state …": comm may hold anything. The start is the 22nd field, the state the third.
    const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    return Date.now() - Number(uptime.split(' ')[0]) * 1000 + ticks * TICK_MS;
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
