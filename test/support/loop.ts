import { execFile } from 'node:child_process';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll } from 'vitest';
import type { SessionStats } from '../../src/session/spec.js';
import { root } from '../../src/base/paths.js';
import { startTracker, type Seen, type TrackOptions } from './session.js';
import { compileC, scratch } from './workload.js';

const exec = promisify(execFile);

/** A disk of the test's own, in a file, that nothing else uses: what the kernel counts of it is what the test did. */
export interface Loop {
  readonly path: string;
  /** "loop3" */
  readonly disk: string;
  /** Makes the file that it is in shorter than the disk: what is behind its end cannot be read. */
  shrink(bytes: number): Promise<void>;
  /** Makes the disk's first partition, of so many bytes from so many on. */
  part(from: number, bytes: number): Promise<Part>;
  stats(): Promise<DiskStats>;
}

export interface Part {
  readonly path: string;
  stats(): Promise<DiskStats>;
}

/** /proc/diskstats (Documentation/admin-guide/iostats.rst). */
export interface DiskStats {
  /** "7:3" */
  readonly device: string;
  readonly reads: number;
  readonly sectorsRead: number;
  readonly writes: number;
  readonly sectorsWritten: number;
  readonly discards: number;
  readonly flushes: number;
}

const made: string[] = [];

afterAll(async () => {
  for (const path of made.splice(0)) {
    await exec('partx', ['--delete', path]).catch(() => undefined); // it has none, mostly
    await exec('losetup', ['--detach', path]);
  }
});

let number = 0;

/** Needs root and a free loop device. It is gone after the file's last test. */
export async function makeLoop(bytes: number): Promise<Loop> {
  const file = join(scratch, `disk-${number++}`);
  await writeFile(file, '');
  await truncate(file, bytes);
  const path = (await exec('losetup', ['--find', '--show', '--partscan', file])).stdout.trim();
  made.push(path);
  const disk = basename(path);
  return {
    path,
    disk,
    shrink: (to) => truncate(file, to),
    part: async (from, length) => {
      // Told to the kernel: not every kernel knows tables of partitions.
      await exec('addpart', [path, '1', String(from / 512), String(length / 512)]);
      return { path: `${path}p1`, stats: () => statsOf(`${disk}p1`) };
    },
    stats: () => statsOf(disk),
  };
}

async function statsOf(disk: string): Promise<DiskStats> {
  const lines = (await readFile('/proc/diskstats', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  const [major = '', minor = '', , ...counts] = lines.find(([, , name]) => name === disk) ?? [];
  if (!counts.length) throw new Error(`/proc/diskstats has no disk ${disk}`);
  const at = (i: number) => Number(counts[i] ?? 0);
  return {
    device: `${major}:${minor}`,
    reads: at(0),
    sectorsRead: at(2),
    writes: at(4),
    sectorsWritten: at(6),
    discards: at(11),
    flushes: at(15),
  };
}

/** What was added between two readings. */
export function between(before: DiskStats, after: DiskStats): Omit<DiskStats, 'device'> {
  const { device: _, ...counts } = after;
  return Object.fromEntries(
    Object.entries(counts).map(([name, value]) => [name, value - Number(before[name as keyof DiskStats])]),
  ) as Omit<DiskStats, 'device'>;
}

/** The path of the compiled block.c, which makes requests to a disk. */
export async function blockProgram(): Promise<string> {
  return compileC('blockload', await readFile(join(root, 'test/support/block.c'), 'utf8'));
}

/** All events of the disk that a tracker makes while something is done to it, and what the kernel counted of it. */
export async function watchDisk(
  disk: Loop,
  tracker: string,
  work: () => Promise<unknown>,
  options: TrackOptions = {},
): Promise<{
  readonly events: readonly Seen[];
  readonly stats: SessionStats;
  readonly counted: Omit<DiskStats, 'device'>;
}> {
  const before = await disk.stats();
  const tracked = await startTracker(tracker, options);
  await work();
  const events = (await tracked.stop()).filter((event) => event['disk'] === disk.disk);
  return { events, stats: await tracked.stats(), counted: between(before, await disk.stats()) };
}

/**
 * What a run gives that saw all that the disk did, of five. A kernel may keep some tasks from BPF: that of the test machine does so with
 * the agent that drives it. A request that completes in a softirq on top of such a task is seen by no program, though by /proc/diskstats:
 * here in one run of 12,000 requests out of fifteen.
 */
export async function whole<Run>(attempt: () => Promise<Run>, sawAll: (run: Run) => boolean): Promise<Run> {
  let run = await attempt();
  for (let i = 1; i < 5 && !sawAll(run); i++) run = await attempt();
  return run;
}
