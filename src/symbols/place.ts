import { closeSync, constants, fstatSync, openSync, readFileSync, readlinkSync, type BigIntStats } from 'node:fs';
import { bytesOfText } from '../base/bytes.js';
import type { RealFile } from './unwind.js';

/** Where a process's files are. */
export interface Whereabouts {
  /** The inode of its mount namespace. */
  readonly mountNs: number;
  /** Processes that may be in that namespace; the first that is counts. */
  readonly pids: readonly number[];
  /** In ms since 1970. A file that was changed between that time and now is another one. Absent: whatever is there counts. */
  readonly at?: number;
}

interface Mount {
  /** "MAJOR:MINOR" of the file system. */
  readonly device: string;
  /** What of the file system is mounted, and where. */
  readonly root: string;
  readonly point: string;
  readonly type: string;
}

/** An open regular file. */
export interface OpenFile {
  readonly fd: number;
  readonly stat: BigIntStats;
}

const O_PATH = 0o10000000; // include/uapi/asm-generic/fcntl.h, the same on x86 and arm64
const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY, O_RDONLY } = constants;
/** Whoever mounts one of these decides how long a look at it takes. */
const OF_OTHERS = /^(fuse|fuseblk|nfs|nfs4|cifs|smb3|9p|ceph|autofs|virtiofs)(\.|$)/;
const MAX_PARTS = 256;

/**
 * The files of a mount namespace, as long as one of its processes lives. A path is followed from the namespace's root down, part by
 * part, and never through a symbolic link: the paths that the kernel tells have none, so that one that is there now was put there since,
 * to lead elsewhere. File systems that need another's answer are not looked at.
 */
export class Place {
  readonly #root: number;
  readonly #mounts: readonly Mount[];
  readonly #avoided: readonly string[];

  private constructor(root: number, mounts: readonly Mount[]) {
    this.#root = root;
    this.#mounts = mounts;
    this.#avoided = mounts.filter(({ type }) => OF_OTHERS.test(type)).map(({ point }) => point);
  }

  /** This process's own. Null where its files cannot be read. */
  static own(): Place | null {
    const mountNs = /\d+/.exec(readlinkSync('/proc/self/ns/mnt'))?.[0];
    return Place.open({ mountNs: Number(mountNs), pids: [] });
  }

  /** Null where no process of the namespace is there any more. */
  static open({ mountNs, pids }: Whereabouts): Place | null {
    for (const pid of [...pids, process.pid]) {
      const place = pid > 0 ? placeOf(pid, mountNs) : null;
      if (place) return new Place(place.root, place.mounts);
    }
    return null;
  }

  /** The same by the file's path from the root of its file system, where that is mounted here. */
  realFile({ path, inode, device }: RealFile): OpenFile | null {
    for (const { point, root, device: mounted } of this.#mounts) {
      const isBelow = root === '/' || path.startsWith(`${root}/`);
      if (mounted !== device || !isBelow) continue;
      const file = this.file(`${point === '/' ? '' : point}${root === '/' ? path : path.slice(root.length)}`, inode);
      if (file) return file;
    }
    return null;
  }

  /** The regular file at an absolute path, if it has the inode's number. The caller closes it. */
  file(path: string, inode: number): OpenFile | null {
    if (this.#avoided.some((mount) => path === mount || path.startsWith(`${mount}/`))) return null;
    const bytes = bytesOfText(path);
    const parts = bytes ? partsOf(bytes) : null;
    if (!parts) return null;
    let at = this.#root;
    try {
      for (const [i, part] of parts.entries()) {
        const isLast = i === parts.length - 1;
        const next = openSync(below(at, part), O_PATH | O_NOFOLLOW | (isLast ? 0 : O_DIRECTORY));
        if (at !== this.#root) closeSync(at);
        at = next;
      }
      const stat = fstatSync(at, { bigint: true });
      // Its device is not compared: of overlays and of btrfs the kernel's own is another one than stat's.
      if (!stat.isFile() || Number(stat.ino) !== inode) return null;
      return { fd: openSync(`/proc/self/fd/${at}`, O_RDONLY | O_NONBLOCK | O_NOCTTY), stat };
    } catch {
      return null; // gone, or replaced
    } finally {
      if (at !== this.#root) closeSync(at);
    }
  }

  close(): void {
    closeSync(this.#root);
  }
}

function placeOf(pid: number, mountNs: number): { readonly root: number; readonly mounts: Mount[] } | null {
  let root: number | null = null;
  const isThere = (): boolean => readlinkSync(`/proc/${pid}/ns/mnt`) === `mnt:[${mountNs}]`;
  try {
    if (!isThere()) return null;
    root = openSync(`/proc/${pid}/root`, O_PATH | O_DIRECTORY);
    const mounts = parseMounts(readFileSync(`/proc/${pid}/mountinfo`, 'latin1'));
    // Its number may be another process's by now.
    if (!isThere()) throw new Error('the process has ended');
    return { root, mounts };
  } catch {
    if (root !== null) closeSync(root);
    return null;
  }
}

/** Lines are "36 35 98:0 /root /mount/point options tag:1 - type source options" (proc_pid_mountinfo(5)). */
export function parseMounts(mountinfo: string): Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const [, , device, root, point] = fields;
    if (device === undefined || root === undefined || point === undefined) return [];
    return [{ device, root: plain(root), point: plain(point), type: fields[fields.indexOf('-') + 1] ?? '' }];
  });
}

/** Spaces and the like are written as "\\040". */
function plain(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function partsOf(path: Uint8Array): Uint8Array[] | null {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < path.length;) {
    if (path[at] !== 0x2f) return null;
    const next = path.indexOf(0x2f, at + 1);
    const end = next < 0 ? path.length : next;
    const part = path.subarray(at + 1, end);
    const isDots = part.length <= 2 && part.every((byte) => byte === 0x2e);
    if (isDots || part.includes(0) || parts.length >= MAX_PARTS) return null;
    parts.push(part);
    at = end;
  }
  return parts.length ? parts : null;
}

function below(fd: number, part: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), part]);
}
