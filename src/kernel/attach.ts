import { readFileSync, statfsSync, statSync } from 'node:fs';
import { arch } from 'node:os';
import { EunomiaError, KernelError, messageOf } from '../base/errors.js';
import { findCgroupMount } from '../linux/cgroup-mount.js';
import { missingCapabilities } from '../linux/hook-capability.js';
import { onlineCpus } from './cpus.js';
import { heldCapabilities } from './environment.js';
import { failure, lastFailure, later, laterFailure, loadLibbpf, loadLibc, memory, type Pointer } from './libbpf.js';
import { BpfLink, type Link } from './link.js';

/** Where a program attaches whose section name does not say it. */
export type AttachTarget =
  /** Path of a directory in the v2 hierarchy. */
  | { readonly cgroup: string }
  /** A function of a binary or library, in process `pid` or, by default, in all. */
  | {
      readonly uprobe: {
        readonly binary: string;
        readonly symbol: string;
        readonly pid?: number;
        readonly atReturn?: boolean;
      };
    }
  /** Samples every CPU so many times a second of CPU time, by the software clock. */
  | { readonly samplesPerSecond: number };

/** What they need is the same for all of them. */
const ANY_CGROUP_HOOK = 'cgroup_skb/egress';
/** The inode of the root directory of a hierarchy, whatever it is mounted as (fs/kernfs: the first node of a tree). */
const ROOT_INODE = 1;
/** include/uapi/linux/magic.h: CGROUP2_SUPER_MAGIC */
const CGROUP2 = 0x63677270;

/** What the kernel says of a directory: its inode, and the type of its file system. */
export interface DirectoryFacts {
  readonly inode: number;
  readonly fileSystem: number;
}

const lookAt = (path: string): DirectoryFacts => ({ inode: statSync(path).ino, fileSystem: statfsSync(path).type });

/**
 * The directory of the v2 hierarchy's root, to which programs of cgroups attach that are to see all processes. Throws NO_CGROUP_ROOT where
 * it is not visible: a program attached to another cgroup would see what is in that one alone.
 */
export function cgroupRoot(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8'), look = lookAt): string {
  const mount = findCgroupMount(mountinfo);
  if (!mount)
    throw new EunomiaError(
      'NO_CGROUP_ROOT',
      'no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup, or at /sys/fs/cgroup/unified beside v1',
    );
  let place: DirectoryFacts;
  try {
    place = look(mount.point);
  } catch (cause) {
    throw new EunomiaError(
      'NO_CGROUP_ROOT',
      `${mount.point}, where the cgroup v2 hierarchy is mounted, cannot be read (${messageOf(cause)}): ` +
        'make it accessible to this process, or mount the hierarchy elsewhere',
      { cause },
    );
  }
  if (place.fileSystem !== CGROUP2)
    throw new EunomiaError(
      'NO_CGROUP_ROOT',
      `another file system is mounted over the cgroup v2 hierarchy at ${mount.point}: ` +
        'unmount it, or mount the hierarchy elsewhere',
    );
  if (place.inode !== ROOT_INODE)
    throw new EunomiaError(
      'NO_CGROUP_ROOT',
      `${mount.point} is not the root of the cgroup v2 hierarchy but a cgroup in it: ` +
        'this process is in a container that has a cgroup namespace of its own, or only a part of the hierarchy is mounted; ' +
        "start it with the host's namespace (Docker: cgroupns=host), or mount all of it",
    );
  return mount.point;
}

/**
 * What mends an errno of attaching a program to a cgroup, where it means something else than elsewhere (__cgroup_bpf_attach of the kernel);
 * null for other errnos. `isCapable`: the process has the capabilities for it.
 */
export function cgroupHint(errno: string | null, isCapable: boolean): string | null {
  if (errno === 'E2BIG')
    return 'as many programs as the kernel allows (64) are attached to this hook of the cgroup already';
  if (errno === 'EPERM' && isCapable)
    return (
      'another program may hold this hook of the cgroup for itself: ' +
      'bpftool cgroup show lists it, and it must be attached anew with the flag "multi"'
    );
  return null;
}

const O_DIRECTORY = 0o200000;
const O_CLOEXEC = 0o2000000;

/** `link` attaches to a directory's descriptor; where that fails it throws the KernelError of `place`, on these hooks. */
export async function attachCgroup(
  operation: string,
  at: Extract<AttachTarget, { cgroup: string }>,
  link: (directory: number, place: string, hooks: readonly string[]) => Promise<Link>,
): Promise<Link> {
  const libc = loadLibc();
  const fd = libc.open(at.cgroup, O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw lastFailure(`${operation} to ${at.cgroup}`);
  try {
    return await link(fd, `${operation} to ${at.cgroup}`, [ANY_CGROUP_HOOK]);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    const isCapable = missingCapabilities([ANY_CGROUP_HOOK], heldCapabilities()).length === 0;
    const hint = cgroupHint(error.errno, isCapable);
    throw hint === null ? error : new KernelError(error.operation, error.errno, hint);
  } finally {
    libc.close(fd);
  }
}

export async function attachUprobe(
  operation: string,
  program: Pointer,
  at: Extract<AttachTarget, { uprobe: object }>,
): Promise<BpfLink> {
  const { binary, symbol, pid = -1, atReturn = false } = at.uprobe;
  const name = Buffer.from(`${symbol}\0`);
  const held = loadLibc().calloc(name.length, 1);
  try {
    new Uint8Array(memory(held, name.length)).set(name);
    const link = await later(
      loadLibbpf().program_attach_uprobe,
      program,
      pid,
      binary,
      0,
      uprobeOptions(held, atReturn),
    );
    if (link === null) throw laterFailure(`${operation} to ${symbol} of ${binary}`);
    return new BpfLink(link);
  } finally {
    loadLibc().free(held);
  }
}

/** struct bpf_uprobe_opts of libbpf 1.0: sz, ref_ctr_offset, bpf_cookie, retprobe, func_name. */
function uprobeOptions(functionName: Pointer, atReturn: boolean): Uint8Array {
  const options = new DataView(new ArrayBuffer(40));
  options.setBigUint64(0, 40n, true);
  options.setUint8(24, Number(atReturn));
  options.setBigUint64(32, functionName, true);
  return new Uint8Array(options.buffer);
}

const NR_perf_event_open: Readonly<Record<string, number>> = { x64: 298, arm64: 241 };
const PERF_TYPE_SOFTWARE = 1;
const PERF_COUNT_SW_CPU_CLOCK = 0;
const PERF_ATTR_SIZE = 112;
const FREQ = 1n << 10n;

export async function attachPerfEvent(
  operation: string,
  program: Pointer,
  at: { readonly samplesPerSecond: number },
): Promise<BpfLink[]> {
  const libc = loadLibc();
  const links: BpfLink[] = [];
  try {
    for (const cpu of onlineCpus()) {
      const attributes = new DataView(new ArrayBuffer(PERF_ATTR_SIZE));
      attributes.setUint32(0, PERF_TYPE_SOFTWARE, true);
      attributes.setUint32(4, PERF_ATTR_SIZE, true);
      attributes.setBigUint64(8, BigInt(PERF_COUNT_SW_CPU_CLOCK), true);
      attributes.setBigUint64(16, BigInt(at.samplesPerSecond), true);
      attributes.setBigUint64(40, FREQ, true);
      const fd = libc.syscallBytes(NR_perf_event_open[arch()] ?? -1, new Uint8Array(attributes.buffer), -1, cpu, -1, 8);
      if (fd < 0) throw lastFailure(`${operation} on CPU ${cpu}`);
      const link = await later(loadLibbpf().program_attach_perf_event, program, fd);
      if (link === null) {
        const error = laterFailure(`${operation} on CPU ${cpu}`);
        libc.close(fd);
        throw error;
      }
      links.push(new BpfLink(link));
    }
    return links;
  } catch (error) {
    for (const link of links) await link.close();
    throw error;
  }
}

const ITERATOR_BYTES = 4096;

/** Something that runs an iterator's program while it is read. `close()` leaves nothing of it. */
export interface OpenIterator {
  readonly fd: number;
  close(): Promise<void>;
}

/**
 * Opens an iterator by its link, which is closed with it. Its program runs once for each of the kernel's things of its kind, which
 * `SEC("iter/KIND")` names.
 */
export async function openIterator(operation: string, link: Link, linkFd: number): Promise<OpenIterator> {
  const fd = loadLibbpf().iter_create(linkFd);
  if (fd < 0) {
    await link.close();
    throw failure(operation, fd);
  }
  return {
    fd,
    close: async () => {
      loadLibc().close(fd);
      await link.close();
    },
  };
}

/** Reads what the program writes into `bytes`, on a thread of the pool: how much, 0 at its end. Rejects with a KernelError. */
export async function readIterator(operation: string, { fd }: OpenIterator, bytes: Uint8Array): Promise<number> {
  for (;;) {
    const read = await later(loadLibc().read, fd, bytes, bytes.length);
    if (read >= 0) return read;
    const error = laterFailure(operation);
    // A read ends early after very many things without output: the next goes on.
    if (error.errno !== 'EAGAIN' && error.errno !== 'EINTR') throw error;
  }
}

/** Runs an iterator's program once for each of its things, and closes it. It must write nothing. */
export async function runIterator(operation: string, iterator: OpenIterator): Promise<void> {
  try {
    const bytes = new Uint8Array(new ArrayBuffer(ITERATOR_BYTES));
    while ((await readIterator(operation, iterator, bytes)) > 0);
  } finally {
    await iterator.close();
  }
}
