import type { AdviceDifference, Aspect, CurrentRights, Rights } from '../../event/advice.js';
import { isAllowedByDefault } from './docker-default.js';
import { nativeCalls, syscallNames } from '../../linux/syscalls.js';
import { allowedBy, argumentsIn } from './seccomp.js';

/** What a container may do, for comparison: of each aspect, what there is and how. */
type Comparable = Readonly<Record<Aspect, ReadonlyMap<string, string>>>;

/** What the later advice has that the earlier one has not, and the other way round. */
export function diffRights(before: Rights, after: Rights): AdviceDifference[] {
  return differences(ofRights(before), ofRights(after));
}

/**
 * What would change for a container that has rights now. What no engine tells of, such as its peers and arguments of calls, is not
 * compared.
 */
export function diffCurrent(current: CurrentRights, after: Rights): AdviceDifference[] {
  const now = ofCurrent(current);
  const CALL = present(allowedBy(after.seccomp));
  return differences(now, { ...ofRights(after), CALL, PORT: now.PORT, PEER: now.PEER });
}

function differences(before: Comparable, after: Comparable): AdviceDifference[] {
  return (Object.keys(before) as Aspect[]).flatMap((aspect) => {
    const [old, now] = [before[aspect], after[aspect]];
    const all = [...new Set([...old.keys(), ...now.keys()])].sort();
    return all.flatMap((what): AdviceDifference[] => {
      const [was, is] = [old.get(what) ?? null, now.get(what) ?? null];
      if (was === is) return [];
      return [
        { aspect, what, change: was === null ? 'ADDED' : is === null ? 'REMOVED' : 'CHANGED', before: was, after: is },
      ];
    });
  });
}

const present = (names: readonly string[]): Map<string, string> => new Map(names.map((name) => [name, 'allowed']));
const single = (what: string, value: unknown): Map<string, string> => new Map([[what, String(value)]]);

function limits(of: { memoryBytes: number | null; pids: number | null; cpus: number | null }): Map<string, string> {
  return new Map(
    Object.entries({ 'memory bytes': of.memoryBytes, pids: of.pids, cpus: of.cpus }).flatMap(([what, value]) =>
      value === null ? [] : [[what, String(value)] as const],
    ),
  );
}

function ofRights(rights: Rights): Comparable {
  const { seccomp } = rights;
  const callOf = (name: string): string => ['allowed', argumentsIn(seccomp, name) ?? []].flat().join(' ');
  return {
    CALL: new Map(allowedBy(seccomp).map((name) => [name, callOf(name)])),
    CAPABILITY: present(rights.capabilities),
    ROOT: single('/', rights.readOnlyRoot ? 'read-only' : 'writable'),
    TMPFS: present(rights.tmpfs.map(({ path }) => path)),
    VOLUME: new Map(rights.volumes.map(({ path, writable }) => [path, writable ? 'writable' : 'read-only'])),
    DEVICE: new Map(rights.devices.map(({ path, access }) => [path, access])),
    USER: rights.user === null ? new Map() : single('user', rights.user),
    NO_NEW_PRIVILEGES: single('no-new-privileges', rights.noNewPrivileges),
    PORT: present(rights.ports.map(({ protocol, port }) => `${protocol} ${port}`)),
    PEER: present(rights.peers.map(({ name, addresses, port }) => `${name ?? addresses.join(' ')} ${port}`)),
    LIMIT: limits(rights.limits),
  };
}

function ofCurrent(current: CurrentRights): Comparable {
  const all = syscallNames().filter((name) => nativeCalls(name).length > 0);
  const calls = {
    default: all.filter(isAllowedByDefault),
    unconfined: all,
    custom: current.calls ?? [],
  }[current.privileged ? 'unconfined' : current.seccomp];
  return {
    CALL: present(calls),
    CAPABILITY: present(current.capabilities),
    ROOT: single('/', current.readOnlyRoot ? 'read-only' : 'writable'),
    TMPFS: present(current.tmpfs),
    VOLUME: new Map(current.mounts.map(({ path, writable }) => [path, writable ? 'writable' : 'read-only'])),
    DEVICE: new Map(current.devices.map((path) => [path, 'rwm'])),
    USER: current.user === '' ? new Map() : single('user', current.user),
    NO_NEW_PRIVILEGES: single('no-new-privileges', current.noNewPrivileges),
    PORT: new Map(),
    PEER: new Map(),
    LIMIT: limits(current),
  };
}
