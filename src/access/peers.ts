import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import type { ConnectionEnds } from './peer.js';

/** Why a connection does not show that a trusted process made it. `reason` is for the person who asks. */
export type Verdict = { readonly operator: true } | { readonly operator: false; readonly reason: string };

export interface PeerOwner {
  /** Of the process that made the socket. */
  readonly uid: number;
  /** Of the socket, as in the link `socket:[INODE]` of /proc/PID/fd. */
  readonly inode: number;
}

export interface PeerOptions {
  /** Users whose connections count, besides root: by default the one of this process, and the one who ran sudo. */
  readonly users?: readonly number[];
  /** Who these are, in a sentence on a user who is none of them. */
  readonly whom?: string;
  /**
   * Why a process that holds the socket is not trusted; null when it is. By default it must be in `Namespaces` of the
   * host or of this process.
   */
  readonly refuse?: (pid: string) => string | null;
}

/** A turn of the event loop that looks through /proc takes about this long. */
const TURN_MS = 3;

/**
 * Tells whose process is at the other end of a loopback connection. A user counts as an operator when a process of theirs
 * made the socket, and every process that holds it now is in the namespaces of the host or of this process: root inside of
 * a container with the host's network has the uid of root, but other namespaces.
 */
export class Peers {
  readonly #find: (ends: ConnectionEnds) => PeerOwner | null;
  readonly #users: ReadonlySet<number>;
  readonly #whom: string;
  readonly #refuse: (pid: string) => string | null;
  #scan: Scan | null = null;

  /** `find` returns the owner of the socket with these ends, as that socket sees them; null when there is none. */
  constructor(
    find: (ends: ConnectionEnds) => PeerOwner | null,
    {
      users = usersOfProcess(),
      whom = 'neither root nor the one who started the server',
      refuse = refuseForeign(),
    }: PeerOptions = {},
  ) {
    this.#find = find;
    this.#users = new Set([0, ...users]);
    this.#whom = whom;
    this.#refuse = refuse;
  }

  /** Of the other end: its `localAddress` is our remote one. Never rejects; what cannot be told is refused. */
  async check(ends: ConnectionEnds): Promise<Verdict> {
    const owner = this.#find(ends);
    if (!owner) return refused('the owner of this connection cannot be told');
    if (!this.#users.has(owner.uid))
      return refused(`this connection belongs to the user ${owner.uid}, who is ${this.#whom}`);
    const holders = await this.#holdersOf(owner.inode);
    if (holders.length === 0) return refused('the process at the other end of this connection cannot be seen');
    for (const pid of holders) {
      const why = this.#refuse(pid);
      if (why !== null) return refused(`the process at the other end of this connection ${why}`);
    }
    // While we looked, it may have closed the socket, and its id may be another process by now.
    const now = this.#find(ends);
    return now?.inode === owner.inode && now.uid === owner.uid
      ? { operator: true }
      : refused('the connection was closed while its owner was looked up');
  }

  /** Connections that come while /proc is read wait for the next reading, and share it. */
  #holdersOf(inode: number): Promise<readonly string[]> {
    if (!this.#scan?.add(inode)) {
      const scan = new Scan(this.#scan?.done ?? Promise.resolve());
      scan.add(inode);
      this.#scan = scan;
    }
    return this.#scan.holdersOf(inode);
  }
}

/** One reading of the descriptors of all processes, for all inodes that were wanted when it began. */
class Scan {
  readonly done: Promise<void>;
  readonly #holders = new Map<string, string[]>();
  #began = false;

  constructor(before: Promise<void>) {
    this.done = before.then(() => this.#run());
  }

  /** False when it is too late. */
  add(inode: number): boolean {
    if (this.#began) return false;
    const link = `socket:[${inode}]`;
    if (!this.#holders.has(link)) this.#holders.set(link, []);
    return true;
  }

  async holdersOf(inode: number): Promise<readonly string[]> {
    await this.done;
    return this.#holders.get(`socket:[${inode}]`) ?? [];
  }

  async #run(): Promise<void> {
    this.#began = true;
    let turn = performance.now();
    for (const pid of entriesOf('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      for (const fd of entriesOf(`/proc/${pid}/fd`)) {
        let link: string | null = null;
        try {
          link = readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch (error) {
          // None of a process that is not for us to see can be read: an error takes as long as many links.
          if (isDenied(error)) break;
        }
        if (link !== null) this.#holders.get(link)?.push(pid);
        if (performance.now() - turn < TURN_MS) continue;
        await new Promise((resolve) => setImmediate(resolve));
        turn = performance.now();
      }
    }
  }
}

/** Ids of the processes that hold one of these sockets, as far as this process may see them. */
export async function holdersOf(inodes: readonly number[]): Promise<readonly string[]> {
  const scan = new Scan(Promise.resolve());
  for (const inode of inodes) scan.add(inode);
  return [...new Set((await Promise.all(inodes.map((inode) => scan.holdersOf(inode)))).flat())];
}

function usersOfProcess(): number[] {
  const own = process.geteuid?.() ?? 0;
  const sudo = own === 0 ? process.env['SUDO_UID'] : undefined;
  // The overflow uid stands for all users that have none here.
  const overflow = Number(readFileSync('/proc/sys/kernel/overflowuid', 'utf8'));
  return [own, ...(sudo !== undefined && /^\d{1,10}$/.test(sudo) ? [Number(sudo)] : [])].filter(
    (uid) => uid !== overflow,
  );
}

/** Whether a process is in the namespaces of the host, or of this process. */
export class Namespaces {
  readonly #trusted: ReadonlySet<string>;
  readonly #name: 'pid' | 'mnt';

  constructor(name: 'pid' | 'mnt') {
    this.#name = name;
    // Process 1 that this process sees is the host's where it shares the host's pid namespace, and its container's else.
    this.#trusted = new Set([namespaceOf('self', name), namespaceOf('1', name)].filter((id) => id !== null));
  }

  has(pid: string): boolean {
    return this.#trusted.has(namespaceOf(pid, this.#name) ?? '');
  }
}

export const FOREIGN = 'is in a container, or in namespaces of its own';

function refuseForeign(): (pid: string) => string | null {
  const [pids, mounts] = [new Namespaces('pid'), new Namespaces('mnt')];
  return (pid) => (pids.has(pid) && mounts.has(pid) ? null : FOREIGN);
}

function namespaceOf(pid: string, name: 'pid' | 'mnt'): string | null {
  return linkOf(`/proc/${pid}/ns/${name}`);
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null; // closed, ended, or not for us to see
  }
}

function isDenied(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EACCES';
}

function entriesOf(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function refused(reason: string): Verdict {
  return { operator: false, reason };
}
