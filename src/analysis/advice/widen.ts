import type { Refusal, Rights, SeccompProfile, SeccompRule } from '../../event/advice.js';
import { isBelow, roomFor, TMPFS_BYTES } from './filesystem.js';

/** Rights with what was refused, and what of it was not in them before: "openat", "CAP_CHOWN", "/run". */
export interface Widened {
  readonly rights: Rights;
  readonly added: readonly string[];
}

/** A refusal, and how the container's own rights answer the same: `clone3` with ENOSYS, which the C library takes as an invitation. */
export interface MissingRight extends Refusal {
  /** The errno's number; null or left out where they allow it. */
  readonly answer?: number | null;
}

/**
 * Adds to rights what was refused under them. Never takes anything away: a recommendation that is tried again and again ends with what its
 * container attempts. What no right can allow adds nothing.
 */
export function widen(rights: Rights, refusals: readonly MissingRight[]): Widened {
  const added: string[] = [];
  let wider = rights;
  for (const refusal of refusals) {
    const next = widened(wider, refusal);
    if (next === wider) continue;
    wider = next;
    added.push(refusal.what);
  }
  return { rights: wider, added: [...new Set(added)] };
}

function widened(rights: Rights, refusal: MissingRight): Rights {
  switch (refusal.kind) {
    case 'CALL':
      return withCall(rights, refusal);
    case 'CAPABILITY':
      return withCapability(rights, refusal.what);
    case 'PATH':
      return withPath(rights, refusal);
    case 'DEVICE':
      return withDevice(rights, refusal.what);
  }
}

function withCall(rights: Rights, { what, answer = null }: MissingRight): Rights {
  const { seccomp } = rights;
  const known = seccomp.syscalls.filter(({ names }) => names.includes(what));
  if (known.some(({ action, args }) => action === 'SCMP_ACT_ALLOW' && args === undefined)) return rights;
  // One that is allowed with some arguments is allowed with all: an answer would take those away.
  const rule: SeccompRule =
    answer === null || known.some(({ action }) => action === 'SCMP_ACT_ALLOW')
      ? { names: [what], action: 'SCMP_ACT_ALLOW' }
      : { names: [what], action: 'SCMP_ACT_ERRNO', errnoRet: answer };
  if (known.some((one) => isSame(one, rule) && one.args === undefined)) return rights;
  return { ...rights, seccomp: withRule(seccomp, rule) };
}

function isSame(one: SeccompRule, other: SeccompRule): boolean {
  return one.action === other.action && one.errnoRet === other.errnoRet;
}

/** A rule for one call, in place of those that say less of it. */
function withRule(profile: SeccompProfile, rule: SeccompRule): SeccompProfile {
  const [name = ''] = rule.names;
  const others = profile.syscalls
    .map((one) => ({ ...one, names: one.names.filter((each) => each !== name) }))
    .filter(({ names }) => names.length > 0);
  const host = others.findIndex((one) => one.args === undefined && isSame(one, rule));
  const syscalls =
    host < 0
      ? [...others, rule]
      : others.map((one, index) => (index === host ? { ...one, names: [...one.names, name].sort() } : one));
  return { ...profile, syscalls };
}

function withCapability(rights: Rights, name: string): Rights {
  if (rights.capabilities.includes(name)) return rights;
  return { ...rights, capabilities: [...rights.capabilities, name].sort() };
}

/**
 * Permits a program with the set-user-ID bit, or capabilities of its own, to get them: what else could be missing where a process is
 * refused a capability that its container has?
 */
export function permitPrivileges(rights: Rights, refusals: readonly Refusal[]): Widened {
  const inVain = refusals.some(({ kind, what }) => kind === 'CAPABILITY' && rights.capabilities.includes(what));
  if (!rights.noNewPrivileges || !inVain) return { rights, added: [] };
  return { rights: { ...rights, noNewPrivileges: false }, added: ['privileges of executables'] };
}

function withPath(rights: Rights, { what, errno }: MissingRight): Rights {
  // A program as another user than before may be refused what the image has for the other; its capabilities are told apart.
  if (errno !== 'EROFS') return rights.user === null ? rights : { ...rights, user: null };
  const volume = longest(rights.volumes, what);
  const tmpfs = longest(rights.tmpfs, what);
  if (volume && (!tmpfs || volume.path.length > tmpfs.path.length)) {
    if (volume.writable) return rights;
    const volumes = rights.volumes.map((one) => (one === volume ? { ...one, writable: true } : one));
    return { ...rights, volumes };
  }
  if (tmpfs || !rights.readOnlyRoot) return rights;
  const room = roomFor(what);
  if (room.kind === 'ROOT') return { ...rights, readOnlyRoot: false };
  if (room.kind === 'VOLUME')
    return { ...rights, volumes: byPath([...rights.volumes, { path: room.path, writable: true }]) };
  return { ...rights, tmpfs: byPath([...rights.tmpfs, { path: room.path, sizeBytes: TMPFS_BYTES }]) };
}

function byPath<Mount extends { readonly path: string }>(mounts: readonly Mount[]): Mount[] {
  return mounts.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** The innermost mount that a path is in. */
function longest<Mount extends { readonly path: string }>(mounts: readonly Mount[], path: string): Mount | null {
  const inside = mounts.filter((mount) => isBelow(path, mount.path));
  return inside.sort((a, b) => b.path.length - a.path.length)[0] ?? null;
}

function withDevice(rights: Rights, path: string): Rights {
  if (rights.devices.some((device) => device.path === path)) return rights;
  return { ...rights, devices: byPath([...rights.devices, { path, access: 'rwm' }]) };
}
