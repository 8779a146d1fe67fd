import type {
  CurrentRights,
  LimitRights,
  Observation,
  PeerRight,
  PortRight,
  Seen,
  SeenCall,
  SeenCapability,
} from '../../event/advice.js';
import { isDefaultDevice } from './docker-default.js';
import { add } from './group.js';

/** What a container needs besides calls and files. */

export const MIB = 1 << 20;
/** Headroom over what was used at most. */
export const factors = { memory: 1.5, pids: 2, cpus: 2 };
export const LEAST = { memoryBytes: 32 * MIB, pids: 32, cpus: 0.25 };
/** Programs that work by the set-user-ID bit, which no-new-privileges disables. */
const RAISING =
  /\/(sudo|su|doas|pkexec|passwd|chsh|chfn|newgrp|newuidmap|newgidmap|mount|umount|fusermount3?|crontab)$/;
const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/;

/** Capabilities that a process had, in a call that did not fail each time. */
export function neededCapabilities(
  { capabilities }: Observation,
  calls: ReadonlyMap<string, readonly SeenCall[]>,
  current: CurrentRights | null,
): Map<string, SeenCapability[]> {
  const granted = capabilities.filter((check) => check.granted);
  // That of the container's own user namespace: the first where engines do not map users.
  const own = granted.reduce((least, { level }) => Math.min(least, level), Infinity);
  const found = new Map<string, SeenCapability[]>();
  for (const check of granted) {
    // One in no call is of a page fault or an interrupt, and one in a namespace below needs nothing of the container.
    if (check.runtime || check.call === null || check.level !== own) continue;
    // Overlayfs works with the rights of who mounted it: what the container does not have was granted to that.
    if (current && !current.capabilities.includes(check.capability)) continue;
    const seen = calls.get(check.call) ?? [];
    const failed = seen.length > 0 && seen.every(({ count, errors }) => count > 0 && errors === count);
    if (!failed) add(found, check.capability, check);
  }
  return found;
}

export function devicesOf({ devices }: Observation): { path: string; access: string; seen: Seen[] }[] {
  const found = new Map<string, { letters: Set<string>; seen: Seen[] }>();
  for (const device of devices) {
    // Engines let every container make device files; to use one needs its own rule.
    if (device.runtime || device.denied || device.access === 'MAKE' || isDefaultDevice(device)) continue;
    const path = `/dev/${device.name ?? `${device.type === 'BLOCK' ? 'block' : 'char'}/${device.major}:${device.minor}`}`;
    const known = found.get(path) ?? { letters: new Set<string>(), seen: [] };
    known.letters.add(device.access === 'READ' ? 'r' : 'w');
    known.seen.push(device);
    found.set(path, known);
  }
  return [...found]
    .sort(byFirst)
    .map(([path, { letters, seen }]) => ({ path, access: [...letters].sort().join(''), seen }));
}

/** "uid:gid" if all of the container's programs ran as one user who is not root, from the start on. */
export function userOf({ users }: Observation): string | null {
  const [user, another] = users;
  return user && !another && user.uid !== 0 ? `${user.uid}:${user.gid}` : null;
}

/** Whether a program may have raised its privileges by its set-user-ID bit. */
export function raises({ programs, users }: Observation): boolean {
  return users.some(({ uid }) => uid !== 0) && programs.some(({ path, runtime }) => !runtime && RAISING.test(path));
}

export function portsOf({ ports }: Observation): (PortRight & { seen: Seen[] })[] {
  const found = new Map<string, PortRight & { seen: Seen[] }>();
  for (const { protocol, address, port, ...seen } of ports) {
    if ((protocol !== 'TCP' && protocol !== 'UDP') || (address !== null && LOOPBACK.test(address))) continue;
    const key = `${protocol} ${port}`;
    const known = found.get(key) ?? { protocol, port, seen: [] };
    known.seen.push(seen);
    found.set(key, known);
  }
  return [...found.values()].sort((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

export function peersOf({ peers, names }: Observation): (PeerRight & { seen: Seen[] })[] {
  const nameOf = new Map(names.flatMap(({ name, address }) => (address === null ? [] : [[address, name] as const])));
  const found = new Map<string, Omit<PeerRight, 'addresses'> & { addresses: Set<string>; seen: Seen[] }>();
  for (const { address, port, ...seen } of peers) {
    if (LOOPBACK.test(address)) continue;
    const name = nameOf.get(address) ?? null;
    const key = `${name ?? address} ${port}`;
    const known = found.get(key) ?? { protocol: 'TCP' as const, name, addresses: new Set<string>(), port, seen: [] };
    known.addresses.add(address);
    known.seen.push(seen);
    found.set(key, known);
  }
  return [...found].sort(byFirst).map(([, peer]) => ({ ...peer, addresses: [...peer.addresses].sort() }));
}

export function limitsOf({ peaks: { memoryBytes, pids, cpus } }: Observation): LimitRights {
  return {
    memoryBytes:
      memoryBytes === null
        ? null
        : Math.max(LEAST.memoryBytes, Math.ceil((memoryBytes * factors.memory) / (16 * MIB)) * 16 * MIB),
    pids: pids === null ? null : Math.max(LEAST.pids, Math.ceil(pids * factors.pids)),
    cpus: cpus === null ? null : Math.max(LEAST.cpus, Math.ceil(cpus * factors.cpus * 4) / 4),
  };
}

/** Orders entries of a map by their keys. */
export const byFirst = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
  a < b ? -1 : a > b ? 1 : 0;
