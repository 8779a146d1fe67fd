import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupClaims, cgroupDirectory } from '../inventory/cgroup.js';
import { readProcessCgroups } from '../inventory/process-cgroup.js';
import { startTicks } from '../inventory/process.js';
import { findCgroupMount, findLegacyMounts } from '../linux/cgroup-mount.js';

/** What a cgroup uses, by its files. 64-bit numbers are decimal texts; null where the kernel does not tell. */
export interface Resources {
  readonly cpu: CpuUse | null;
  readonly memory: MemoryUse | null;
  readonly io: IoUse | null;
  readonly tasks: TaskUse | null;
  readonly pressure: Pressures | null;
}

export interface CpuUse {
  readonly usageNs: string;
  readonly userNs: string | null;
  readonly systemNs: string | null;
  readonly limitCpus: number | null;
  readonly periods: string | null;
  readonly throttledPeriods: string | null;
  readonly throttledNs: string | null;
}

export interface MemoryUse {
  readonly currentBytes: string;
  readonly peakBytes: string | null;
  readonly limitBytes: string | null;
  readonly anonymousBytes: string | null;
  readonly fileBytes: string | null;
  readonly oomKills: string | null;
}

export interface IoUse {
  readonly readBytes: string;
  readonly writtenBytes: string;
  readonly reads: string;
  readonly writes: string;
}

export interface TaskUse {
  readonly current: string;
  /** Null where the kernel does not tell. */
  readonly peak: string | null;
  readonly limit: string | null;
}

export interface Stall {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalNs: string;
}

export interface Pressure {
  readonly some: Stall;
  readonly full: Stall | null;
}

export interface Pressures {
  readonly cpu: Pressure | null;
  readonly memory: Pressure | null;
  readonly io: Pressure | null;
}

/** The directories of a cgroup: of the v2 hierarchy, and of v1 by controller. */
export interface Places {
  readonly unified: string | null;
  readonly legacy: ReadonlyMap<string, string>;
}

/** The text of a file of a cgroup; null where there is none. */
type ReadText = (directory: string, file: string) => Promise<string | null>;

/** Values of v1 that are as good as no limit: memory has the largest multiple of a page below 2^63. */
const NO_LIMIT = 1n << 62n;
/** v1 counts CPU time of user and kernel in these (USER_HZ). */
const TICK_NS = 10_000_000n;

/**
 * What the container of a process uses now, by the cgroup of each hierarchy that is the container's: the process may be in one within it,
 * and in a hierarchy where it is in one of the host, that tells of others too. Null when there is none, when the process has gone, or
 * `startedAs` (ticks of /proc) is not its start. Files of cgroups are made up by the kernel when they are read.
 */
export async function readResources(pid: number, startedAs: string, containerId: string): Promise<Resources | null> {
  if (startTicks(pid) !== startedAs) return null;
  const places = await placesOf(pid, containerId);
  return places && resourcesOf(places);
}

/** The processes of the container of a process, as decimal texts. Empty when it has gone. */
export async function processesOf(pid: number, containerId: string): Promise<readonly string[]> {
  const places = await placesOf(pid, containerId);
  const directory = places?.unified ?? [...(places?.legacy.values() ?? [])][0];
  if (directory === undefined) return [];
  const below = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  const lists = below
    .filter(({ name }) => name === 'cgroup.procs')
    .map(({ parentPath }) => readText(parentPath, 'cgroup.procs'));
  return (await Promise.all(lists)).flatMap((list) => list?.split('\n').filter(Boolean) ?? []);
}

/** The cgroups of a container, by a process of it. Null when there is none, or the process has gone. */
async function placesOf(pid: number, containerId: string): Promise<Places | null> {
  const [cgroups, mountinfo] = await Promise.all([readProcessCgroups(pid), readFile('/proc/self/mountinfo', 'utf8')]);
  if (cgroups === null) return null;
  const mount = findCgroupMount(mountinfo);
  const legacyMounts = findLegacyMounts(mountinfo);
  const legacy = new Map<string, string>();
  let unified: string | null = null;
  for (const place of cgroups) {
    const own = ownCgroup(place.path, containerId);
    if (own === null) continue;
    if (place.unified) {
      if (mount) unified = cgroupDirectory(mount, own);
      continue;
    }
    const at = legacyMounts.get(place.controllers);
    if (at) for (const name of place.controllers.split(',')) legacy.set(name, cgroupDirectory(at, own));
  }
  return unified === null && legacy.size === 0 ? null : { unified, legacy };
}

/** The cgroup of a container, which is the one of a process in it or around that; null where it is in a cgroup of the host. Pure. */
export function ownCgroup(path: string, containerId: string): string | null {
  return cgroupClaims(path).find((claim) => claim.containerId === containerId)?.path ?? null;
}

/** Of a cgroup by its directories. */
export async function resourcesOf({ unified, legacy }: Places, read: ReadText = readText): Promise<Resources> {
  const own = async (name: string, file: string): Promise<string | null> => {
    const directory = legacy.get(name);
    return directory === undefined ? null : read(directory, file);
  };
  const shared = async (file: string): Promise<string | null> => (unified === null ? null : read(unified, file));
  const [cpu, memory, io, tasks, pressure] = await Promise.all([
    cpuOf(own, shared, legacy.has('cpuacct')),
    legacy.has('memory') ? legacyMemory(own) : memoryOf(shared),
    legacy.has('blkio') ? legacyIo(own) : ioOf(shared),
    tasksOf(legacy.has('pids') ? (file) => own('pids', file) : shared),
    pressureOf(shared),
  ]);
  return { cpu, memory, io, tasks, pressure };
}

async function readText(directory: string, file: string): Promise<string | null> {
  return readFile(join(directory, file), 'utf8').catch(() => null);
}

type Own = (controller: string, file: string) => Promise<string | null>;
type Shared = (file: string) => Promise<string | null>;

async function cpuOf(own: Own, shared: Shared, isLegacy: boolean): Promise<CpuUse | null> {
  if (!isLegacy) {
    const [stat, max] = await Promise.all([shared('cpu.stat'), shared('cpu.max')]);
    const of = pairs(stat);
    const usage = of.get('usage_usec');
    if (usage === undefined) return null;
    const [quota, period] = (max ?? '').trim().split(' ');
    return {
      usageNs: scaled(usage, 1000n) ?? '0',
      userNs: scaled(of.get('user_usec'), 1000n),
      systemNs: scaled(of.get('system_usec'), 1000n),
      limitCpus: quota === undefined || quota === 'max' || quota === '' ? null : Number(quota) / Number(period),
      periods: of.get('nr_periods') ?? null,
      throttledPeriods: of.get('nr_throttled') ?? null,
      throttledNs: scaled(of.get('throttled_usec'), 1000n),
    };
  }
  const [usage, split, stat, quota, period] = await Promise.all([
    own('cpuacct', 'cpuacct.usage'),
    own('cpuacct', 'cpuacct.stat'),
    own('cpu', 'cpu.stat'),
    own('cpu', 'cpu.cfs_quota_us'),
    own('cpu', 'cpu.cfs_period_us'),
  ]);
  const usageNs = whole(usage);
  if (usageNs === null) return null;
  const [ofSplit, of] = [pairs(split), pairs(stat)];
  return {
    usageNs,
    userNs: scaled(ofSplit.get('user'), TICK_NS),
    systemNs: scaled(ofSplit.get('system'), TICK_NS),
    limitCpus: quota === null || period === null || Number(quota) <= 0 ? null : Number(quota) / Number(period),
    periods: of.get('nr_periods') ?? null,
    throttledPeriods: of.get('nr_throttled') ?? null,
    throttledNs: of.get('throttled_time') ?? null,
  };
}

async function memoryOf(shared: Shared): Promise<MemoryUse | null> {
  const [current, peak, max, stat, events] = await Promise.all([
    shared('memory.current'),
    shared('memory.peak'),
    shared('memory.max'),
    shared('memory.stat'),
    shared('memory.events'),
  ]);
  const currentBytes = whole(current);
  if (currentBytes === null) return null;
  const of = pairs(stat);
  return {
    currentBytes,
    peakBytes: whole(peak),
    limitBytes: whole(max),
    anonymousBytes: of.get('anon') ?? null,
    fileBytes: of.get('file') ?? null,
    oomKills: pairs(events).get('oom_kill') ?? null,
  };
}

async function legacyMemory(own: Own): Promise<MemoryUse | null> {
  const [current, peak, limit, stat, control] = await Promise.all(
    ['usage_in_bytes', 'max_usage_in_bytes', 'limit_in_bytes', 'stat', 'oom_control'].map((file) =>
      own('memory', `memory.${file}`),
    ),
  );
  const currentBytes = whole(current);
  if (currentBytes === null) return null;
  const of = pairs(stat);
  const limitBytes = whole(limit);
  return {
    currentBytes,
    peakBytes: whole(peak),
    limitBytes: limitBytes !== null && BigInt(limitBytes) < NO_LIMIT ? limitBytes : null,
    anonymousBytes: of.get('total_rss') ?? of.get('rss') ?? null,
    fileBytes: of.get('total_cache') ?? of.get('cache') ?? null,
    oomKills: pairs(control).get('oom_kill') ?? null,
  };
}

async function ioOf(shared: Shared): Promise<IoUse | null> {
  const stat = await shared('io.stat');
  if (stat === null) return null;
  // "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …", a line a device.
  const sum = (name: string): string =>
    added([...stat.matchAll(new RegExp(`\\b${name}=(\\d+)`, 'g'))].map(([, digits]) => digits));
  return { readBytes: sum('rbytes'), writtenBytes: sum('wbytes'), reads: sum('rios'), writes: sum('wios') };
}

async function legacyIo(own: Own): Promise<IoUse | null> {
  const either = async (file: string): Promise<string | null> =>
    (await own('blkio', `blkio.throttle.${file}_recursive`)) ?? own('blkio', `blkio.throttle.${file}`);
  const [bytes, count] = await Promise.all([either('io_service_bytes'), either('io_serviced')]);
  if (bytes === null || count === null) return null;
  // "8:0 Read 1", a line a device and operation; then "Total 1".
  const sum = (text: string, operation: string): string =>
    added([...text.matchAll(new RegExp(`^\\d+:\\d+ ${operation} (\\d+)$`, 'gm'))].map(([, digits]) => digits));
  return {
    readBytes: sum(bytes, 'Read'),
    writtenBytes: sum(bytes, 'Write'),
    reads: sum(count, 'Read'),
    writes: sum(count, 'Write'),
  };
}

async function tasksOf(read: Shared): Promise<TaskUse | null> {
  const [current, limit, peak] = await Promise.all([read('pids.current'), read('pids.max'), read('pids.peak')]);
  const count = whole(current);
  return count === null ? null : { current: count, peak: whole(peak), limit: whole(limit) };
}

async function pressureOf(shared: Shared): Promise<Pressures | null> {
  const [cpu, memory, io] = await Promise.all(
    ['cpu', 'memory', 'io'].map(async (name) => parsePressure(await shared(`${name}.pressure`))),
  );
  return cpu || memory || io ? { cpu: cpu ?? null, memory: memory ?? null, io: io ?? null } : null;
}

/** Documentation/accounting/psi.rst: "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", and the same of "full". Pure. */
export function parsePressure(text: string | null): Pressure | null {
  const stall = (kind: string): Stall | null => {
    const [, avg10, avg60, avg300, total] =
      new RegExp(`^${kind} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)$`, 'm').exec(text ?? '') ?? [];
    return total === undefined
      ? null
      : {
          avg10: Number(avg10),
          avg60: Number(avg60),
          avg300: Number(avg300),
          totalNs: scaled(total, 1000n) ?? '0',
        };
  };
  const some = stall('some');
  return some && { some, full: stall('full') };
}

/** "name value" lines. */
function pairs(text: string | null | undefined): ReadonlyMap<string, string> {
  return new Map([...(text ?? '').matchAll(/^(\w+) (\d+)$/gm)].map(([, name = '', value = '']) => [name, value]));
}

/** Null for "max", and what is no whole number. */
function whole(text: string | null | undefined): string | null {
  const digits = text?.trim();
  return digits && /^\d+$/.test(digits) ? digits : null;
}

function scaled(digits: string | undefined, by: bigint): string | null {
  return digits === undefined ? null : String(BigInt(digits) * by);
}

function added(digits: readonly (string | undefined)[]): string {
  return String(digits.reduce((sum, one) => sum + BigInt(one ?? 0), 0n));
}
