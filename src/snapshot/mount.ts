import { readFile, readlink } from 'node:fs/promises';
import { textOfBytes } from '../base/bytes.js';
import { KernelError } from '../base/errors.js';
import { timeoutSignal } from '../base/timeout.js';
import type { Work } from '../base/turn.js';
import type { Row } from './rows.js';

/** A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), by the names of the schema's `Mount`. */
export interface MountFacts {
  readonly mountId: number;
  readonly parentId: number;
  readonly device: string;
  readonly root: string;
  readonly target: string;
  readonly source: string;
  readonly fsType: string;
  readonly mountFlags: readonly string[];
  readonly fsOptions: readonly string[];
  readonly readOnly: boolean;
  readonly propagation: 'SHARED' | 'SLAVE' | 'SHARED_SLAVE' | 'PRIVATE' | 'UNBINDABLE';
  readonly peerGroup: number | null;
  readonly masterGroup: number | null;
}

const NEWLINE = 0x0a;
/** Lines that are parsed in one piece. */
const PIECE = 128;
/** Processes that are tried for a namespace, at once and at most: each may end, or change its root or namespace, at any time. */
const TRIED = 8;
const MOST_TRIED = 64;

/** The mounts of a text of mountinfo, in its order, which is that of the kernel's list. Lines that are none are left out. */
export function* parseMounts(text: Buffer): Work<MountFacts[]> {
  const mounts: MountFacts[] = [];
  for (let from = 0, lines = 0; from < text.length; lines++) {
    if (lines % PIECE === PIECE - 1) yield;
    const end = text.indexOf(NEWLINE, from);
    const to = end < 0 ? text.length : end;
    const mount = mountOf(text.toString('latin1', from, to));
    if (mount) mounts.push(mount);
    from = to + 1;
  }
  return mounts;
}

/** `line`: a character for each byte. The kernel escapes white space and backslashes in names. */
function mountOf(line: string): MountFacts | null {
  // "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"; the optional fields end with "-".
  const parts = line.split(' ');
  const dash = parts.indexOf('-', 6);
  const [mountId = '', parentId = '', device = '', root = '', target = '', options = ''] = parts;
  const [fsType = '', source = '', fsOptions = ''] = dash < 0 ? [] : parts.slice(dash + 1);
  if (!/^\d+$/.test(mountId) || !/^\d+$/.test(parentId) || fsType === '') return null;
  const tags = new Map(
    parts.slice(6, dash).map((tag) => {
      const [name = '', value] = tag.split(':');
      return [name, value] as const;
    }),
  );
  const group = (name: string): number | null => (tags.get(name) === undefined ? null : Number(tags.get(name)));
  const [peerGroup, masterGroup] = [group('shared'), group('master')];
  const mountFlags = listOf(options);
  const ofFileSystem = listOf(fsOptions);
  return {
    mountId: Number(mountId),
    parentId: Number(parentId),
    device,
    root: named(root),
    target: named(target),
    source: named(source),
    fsType: named(fsType),
    mountFlags,
    fsOptions: ofFileSystem,
    readOnly: mountFlags.includes('ro') || ofFileSystem.includes('ro'),
    propagation: tags.has('unbindable')
      ? 'UNBINDABLE'
      : peerGroup !== null
        ? masterGroup !== null
          ? 'SHARED_SLAVE'
          : 'SHARED'
        : masterGroup !== null
          ? 'SLAVE'
          : 'PRIVATE',
    peerGroup,
    masterGroup,
  };
}

/** A comma within an option is escaped. */
function listOf(options: string): string[] {
  return options === '' ? [] : options.split(',').map(named);
}

/** fs/seq_file.c, mangle_path: a byte is written as a backslash and three octal digits. */
function named(escaped: string): string {
  const bytes = escaped.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
  return textOfBytes(Buffer.from(bytes, 'latin1'));
}

export interface Namespace {
  readonly mountNs: string;
  /** Of all processes in it, by pid. */
  readonly processes: readonly Row[];
}

/** The mount namespaces of these processes, by their inode numbers. */
export function* namespacesOf(processes: readonly Row[]): Work<Namespace[]> {
  const found = new Map<string, Row[]>();
  for (const [index, row] of processes.entries()) {
    if (index % PIECE === PIECE - 1) yield;
    const { mountNs } = row.process;
    // A thread of the kernel says nothing of who uses the namespace.
    if (mountNs === null || Reflect.get(row, 'kernelThread') === true) continue;
    const known = found.get(mountNs);
    if (known) known.push(row);
    else found.set(mountNs, [row]);
  }
  return [...found]
    .map(([mountNs, rows]) => ({ mountNs, processes: rows }))
    .sort((a, b) => Number(a.mountNs) - Number(b.mountNs));
}

/**
 * What a process of the namespace reads as its mounts, with that process; null where none of those that were tried is there any more.
 * A process that has changed its root (chroot) sees those mounts only that are below it: others are asked first. Rejects with a
 * KernelError where the server may not look. `text` is null where it takes longer than `mostMs`: the kernel needs seconds for ten
 * thousands of mounts upon each other, which any user can make in a namespace of his own.
 */
export async function readMountInfo(
  { mountNs, processes }: Namespace,
  mostMs: number,
  signal?: AbortSignal,
): Promise<{ readonly row: Row; readonly text: Buffer | null } | null> {
  for (let at = 0; at < Math.min(processes.length, MOST_TRIED); at += TRIED) {
    const tried = await Promise.all(
      processes.slice(at, at + TRIED).map(async (row) => {
        const { pid } = row.process;
        return { row, root: await readlink(`/proc/${pid}/root`).catch(goneOf(pid)) };
      }),
    );
    const alive = tried.filter(({ root }) => root !== null);
    for (const { row } of [...alive.filter(({ root }) => root === '/'), ...alive.filter(({ root }) => root !== '/')]) {
      const { pid } = row.process;
      const late = timeoutSignal(mostMs);
      const either = signal ? AbortSignal.any([signal, late]) : late;
      const text = await readFile(`/proc/${pid}/mountinfo`, { signal: either }).catch(goneOf(pid));
      signal?.throwIfAborted();
      if (late.aborted && !text) return { row, text };
      // Its pid may be another's by now, and it may have entered another namespace.
      const now = await readlink(`/proc/${pid}/ns/mnt`).catch(goneOf(pid));
      if (text?.length && now === `mnt:[${mountNs}]`) return { row, text };
    }
  }
  return null;
}

export interface Patience {
  readonly atOnce: number;
  /** For one; longer only once all others have had as much. */
  readonly quickMs: number;
  readonly mostMs: number;
  /** For all: none is begun after that. */
  readonly allMs: number;
}

/**
 * Takes all, those that take long behind the others, so that nobody's namespaces hide those of others. `take` resolves to false where it
 * would have taken longer. Resolves to whether all were taken.
 */
export async function quickestFirst<Item>(
  items: readonly Item[],
  take: (item: Item, mostMs: number) => Promise<boolean>,
  { atOnce, quickMs, mostMs, allMs }: Patience,
): Promise<boolean> {
  const end = performance.now() + allMs;
  let left = items;
  for (const ms of [quickMs, mostMs]) {
    const late: Item[] = [];
    for (let at = 0; at < left.length; at += atOnce) {
      if (performance.now() > end) return false;
      const some = left.slice(at, at + atOnce);
      const taken = await Promise.all(some.map((item) => take(item, ms)));
      late.push(...some.filter((_, i) => taken[i] === false));
    }
    left = late;
  }
  return left.length === 0;
}

/** A process may have ended at any time; one that may not be looked at is another matter. */
const goneOf =
  (pid: number) =>
  ({ code = '' }: NodeJS.ErrnoException): null => {
    if (code !== 'EACCES' && code !== 'EPERM') return null;
    throw new KernelError(`reading the mounts of process ${pid}`, code, 'needs CAP_SYS_PTRACE');
  };

/** Properties of a class, and not of each row: an object with the process's fields would have to be copied for each mount. */
export class Mount {
  readonly __typename = 'Mount';
  readonly tracker = 'mount';
  readonly mountNs: string;
  readonly #of: Row;

  constructor(of: Row, mountNs: string, facts: MountFacts) {
    this.#of = of;
    this.mountNs = mountNs;
    Object.assign(this, facts);
  }

  get time(): string {
    return this.#of.time;
  }

  get bootNs(): string {
    return this.#of.bootNs;
  }

  get process(): Row['process'] {
    return this.#of.process;
  }

  get container(): object | null {
    return this.#of.container;
  }

  get cgroupId(): string {
    return this.#of.cgroupId;
  }
}
