import { readFileSync } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import { endianness } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { cgroupClaims } from '../inventory/cgroup.js';
import { parseProcessCgroups } from '../inventory/process-cgroup.js';
import { isLoopback } from './access.js';
import type { ConnectionEnds } from './peer.js';
import { FOREIGN, holdersOf, Namespaces, Peers, type PeerOwner, type Verdict } from './peers.js';

const ESTABLISHED = '01'; // TCP_ESTABLISHED of include/net/tcp_states.h
const LISTENING = '0A'; // TCP_LISTEN
/** How long a server may take to accept a connection. */
const ACCEPT_MS = 5_000;
const AGAIN_MS = 5;

type ReadTable = (file: string) => string;

/**
 * Tells whether the server at the other end of a connection may be handed a token of this machine: a Eunomia server of
 * root, of this user or of `owner`, which is in no container. Whoever listens while the server is away would be handed
 * the token of an operator; root of a container with the host's network has the uid of root. A process that forwards
 * connections (docker-proxy, `ssh -L`) is no server. Never rejects.
 */
export function serverCheck(owner: number): (socket: Socket) => Promise<Verdict> {
  const peers = new Peers(acceptedSocket, {
    users: [process.geteuid?.() ?? 0, owner],
    whom: 'neither root, nor you, nor the owner of the token',
    refuse: refuseOther(),
  });
  return async ({ remoteAddress, remotePort, localAddress, localPort }) => {
    if (
      remoteAddress === undefined ||
      remotePort === undefined ||
      localAddress === undefined ||
      localPort === undefined ||
      !isLoopback(remoteAddress)
    )
      return { operator: false, reason: 'the server is not on this machine' };
    const ends = {
      localAddress: remoteAddress,
      localPort: remotePort,
      remoteAddress: localAddress,
      remotePort: localPort,
    };
    // The kernel completes a connection before the server accepts it, and until then its socket belongs to nobody.
    for (const end = Date.now() + ACCEPT_MS; !acceptedSocket(ends) && Date.now() < end;) await sleep(AGAIN_MS);
    return peers.check(ends);
  };
}

/**
 * The socket of a process at these ends of a connection in this network namespace (proc_net_tcp(5)). Null when there is
 * none, and when no process has accepted it. `read` is for tests.
 */
export function acceptedSocket(ends: ConnectionEnds, read: ReadTable = readProc): PeerOwner | null {
  const [local, remote] = [formsOf(ends.localAddress), formsOf(ends.remoteAddress)];
  for (const [i, file] of ['/proc/net/tcp', '/proc/net/tcp6'].entries()) {
    const wanted = [
      `${local[i]}:${portOf(ends.localPort)}`,
      `${remote[i]}:${portOf(ends.remotePort)}`,
      ESTABLISHED,
    ].join(' ');
    for (const line of read(file).split('\n').slice(1)) {
      const [, from, to, state, , , , uid, , inode] = line.trim().split(/\s+/);
      if (`${from} ${to} ${state}` === wanted && Number(inode) > 0) return { uid: Number(uid), inode: Number(inode) };
    }
  }
  return null;
}

/** Who listens where somebody else cannot any more: "another Eunomia server (process 7)"; "another program" where that cannot be told. */
export async function listenerAt(host: string, port: number): Promise<string> {
  // A wildcard is of all addresses, and a name of any.
  const isAny = isIP(host) === 0 || /^[0:.]+$/.test(host);
  const own = formsOf(host);
  const inodes = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file, i) =>
    readProc(file)
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local = '', , state]) => {
        const [address = '', at] = local.split(':');
        const isThere = isAny || address === own[i] || /^0+$/.test(address);
        return state === LISTENING && at === portOf(port) && isThere;
      })
      .map((parts) => Number(parts[9])),
  );
  const [pid] = await holdersOf(inodes);
  if (pid === undefined) return 'another program';
  const isOurs = isServer(readProc(`/proc/${pid}/cmdline`).split('\0'));
  const name = readProc(`/proc/${pid}/comm`).trim();
  return `${isOurs ? 'another Eunomia server' : name || 'another program'} (process ${pid})`;
}

/** Why a process that accepts connections is no server of this machine. */
function refuseOther(): (pid: string) => string | null {
  const [pids, mounts] = [new Namespaces('pid'), new Namespaces('mnt')];
  return (pid) => {
    // A service of systemd may have mounts of its own (PrivateTmp=, ProtectSystem=).
    if (!pids.has(pid) || !(mounts.has(pid) || isService(readProc(`/proc/${pid}/cgroup`)))) return FOREIGN;
    const args = readProc(`/proc/${pid}/cmdline`).split('\0');
    return isServer(args) ? null : `is no Eunomia server but ${JSON.stringify(args[0])}: it may forward to anybody`;
  };
}

/** Whether the text of /proc/PID/cgroup is that of a service of the system itself, and not of a container in one. */
export function isService(text: string): boolean {
  const paths = parseProcessCgroups(text).map(({ path }) => path);
  return (
    paths.some((path) => /^\/system\.slice\/[^/]+\.service$/.test(path)) &&
    paths.every((path) => cgroupClaims(path).length === 0)
  );
}

/** Whether a command line is that of `eunomia serve`, or of a replay that serves. */
export function isServer(args: readonly string[]): boolean {
  return args.some(
    (arg, i) => /(?:^|\/)(?:eunomia|main\.js)$/.test(arg) && ['serve', 'replay'].includes(args[i + 1] ?? ''),
  );
}

/** An address as the tables of IPv4 and of IPv6 write it: words of 32 bits in the machine's order. Of IPv6 only the loopback. */
function formsOf(address: string): readonly [v4: string | null, v6: string | null] {
  if (address === '::1') return [null, [0, 0, 0, 1].map(wordOf).join('')];
  const bytes = address
    .replace(/^::ffff:/i, '')
    .split('.')
    .map(Number);
  if (bytes.length !== 4) return [null, null];
  const word = wordOf(bytes.reduce((sum, byte) => sum * 256 + byte, 0));
  return [word, [wordOf(0), wordOf(0), wordOf(0xffff), word].join('')];
}

/** A number in network order, as the machine reads it. */
function wordOf(number: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  const read = endianness() === 'LE' ? bytes.readUInt32LE() : number;
  return read.toString(16).toUpperCase().padStart(8, '0');
}

function portOf(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

function readProc(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
