import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupId } from '../event/event.js';
import type { CgroupMount } from '../linux/cgroup-mount.js';

// The inode of a v2 directory is what `bpf_get_current_cgroup_id()` returns. kernfs ids are `generation << 32 | number`, and
// a generation passes only after 2^32 cgroups: they fit a double's 2^53.
export type { CgroupId };

/** Which container a cgroup path belongs to. */
export interface CgroupOwner {
  /**
   * docker, containerd, crio, podman, lxc, systemd-nspawn, or unknown (an id stands alone below a parent that no engine
   * uses by default).
   */
  readonly runtime: string;
  /** Where the path names the container and not an engine; else null. */
  readonly name: string | null;
  readonly containerId: string;
  /** The container's own cgroup; the given path is this one or lies below it. */
  readonly path: string;
  /** The Kubernetes pod's uid when a segment above names one. */
  readonly podUid: string | null;
}

const RUNTIME_BY_PREFIX: Readonly<Record<string, string>> = {
  docker: 'docker',
  'cri-containerd': 'containerd',
  nerdctl: 'containerd',
  crio: 'crio',
  libpod: 'podman',
  'libpod-payload': 'podman',
};

// `docker-<id>.scope` (systemd driver), `libpod-<id>` (podman's cgroupfs), and `<pod>.slice:cri-containerd:<id>`,
// which containerd makes when it and the kubelet disagree about the driver. conmon's own cgroups
// (`libpod-conmon-<id>.scope`, `crio-conmon-<id>.scope`) do not match: the monitor is a host process.
const PREFIXED = /^(?:.+:)?(docker|cri-containerd|nerdctl|crio|libpod|libpod-payload)[-:]([0-9a-f]{64})(?:\.scope)?$/;
const BARE = /^[0-9a-f]{64}$/;
// `pod<uid>` (cgroupfs) and `kubepods-burstable-pod<uid with underscores>.slice` (systemd); a static pod's uid is 32 hex digits.
const POD = /(?:^|-)pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=\.slice|:|$)/;

/**
 * Finds the containers that a cgroup path names, outermost first; none when the path is the host's. Pure.
 * A name is a claim: whoever may make directories there may choose it. `CgroupTrust` says which claims to believe.
 */
export function cgroupClaims(path: string): CgroupOwner[] {
  const claims: CgroupOwner[] = [];
  // An engine's id has 64 characters; the others are few. Most host paths end here.
  if (path.length < 64 && !NAMED_SOMEWHERE.test(path)) return claims;
  let podUid: string | null = null;
  let parent = '';
  let end = 0;
  for (const segment of path.split('/')) {
    end += segment.length + 1;
    if (segment === '') continue;
    podUid ??= POD.exec(segment)?.[1]?.replaceAll('_', '-') ?? null;
    const claim = (runtime: string, containerId: string, name: string | null = null): void =>
      void claims.push({ runtime, containerId, name, path: path.slice(0, end - 1), podUid });
    const named = namedContainer(segment, parent, path);
    const [, prefix, id] = PREFIXED.exec(segment) ?? [];
    if (BARE.test(segment)) claim(bareRuntime(parent, podUid), segment);
    else if (prefix !== undefined && id !== undefined) claim(RUNTIME_BY_PREFIX[prefix] ?? 'unknown', id);
    else if (named !== null && segment.length <= MAX_NAME) claim(named.runtime, named.id, named.name);
    parent = segment;
  }
  return claims;
}

// Containers that have a name and no id of 64 digits. `lxc.payload.NAME`, before LXC 4 `/lxc/NAME`; its monitor
// (`lxc.monitor.NAME`) is a host process. systemd-nspawn: `machine-NAME.scope`, or `systemd-nspawn@NAME.service` as a
// service; machines of libvirt and the like are named `machine-qemu\x2d…` and are none. `ctr run` makes
// `/NAMESPACE/NAME`: told from other cgroups for containerd's usual namespaces alone.
const NAMED_SOMEWHERE = /\/lxc[./]|\/machine\.slice\/|^\/(?:default|k8s\.io|moby|buildkit)\/|^\/\.\.\//;
const LXC = /^lxc\.payload\.(.+)$/;
const NSPAWN = /^(?:machine-(?!qemu\\x2d)(.+)\.scope|systemd-nspawn@(.+)\.service)$/;
const CTR = /^\/(default|k8s\.io|moby|buildkit)\/([A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)(?:\/|$)/;
const MAX_NAME = 255;

function namedContainer(
  segment: string,
  parent: string,
  path: string,
): { runtime: string; id: string; name: string } | null {
  const lxc = LXC.exec(segment)?.[1] ?? (parent === 'lxc' ? segment : undefined);
  if (lxc !== undefined) return { runtime: 'lxc', id: `lxc:${lxc}`, name: lxc };
  const machine = NSPAWN.exec(segment);
  if (machine !== null && parent === 'machine.slice') {
    // systemd writes what a unit's name may not hold as \x2d.
    const name = (machine[1] ?? machine[2] ?? '').replace(/\\x([0-9a-f]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    return { runtime: 'systemd-nspawn', id: `nspawn:${name}`, name };
  }
  const [, namespace, name] = CTR.exec(path) ?? [];
  if (namespace !== undefined && name === segment && parent === namespace)
    return { runtime: 'containerd', id: `ctr:${namespace}/${name}`, name };
  return null;
}

function bareRuntime(parent: string, podUid: string | null): string {
  if (podUid !== null) return 'containerd';
  if (parent === 'docker') return 'docker';
  if (parent === 'libpod_parent') return 'podman';
  return 'unknown';
}

/** The directory of a cgroup given by its path in the hierarchy (as the kernel's tracepoints and /proc/PID/cgroup write it). */
export function cgroupDirectory(mount: CgroupMount, path: string): string {
  const below = mount.root !== '/' && path.startsWith(`${mount.root}/`) ? path.slice(mount.root.length) : path;
  return join(mount.point, below);
}

/** A cgroup directory's id; null when it has gone. */
export async function readCgroupId(directory: string): Promise<CgroupId | null> {
  try {
    const { ino } = await stat(directory);
    return Number.isSafeInteger(ino) ? ino : null;
  } catch {
    return null;
  }
}

export interface WalkOptions {
  /** Called for each cgroup, parents before children, with its path in the hierarchy; returning true ends the walk. */
  readonly visit: (id: CgroupId, path: string) => boolean | void;
  readonly signal?: AbortSignal;
  /** The walk ends after this many directories, so that a hostile tree costs a bounded time. Default 100,000. */
  readonly limit?: number;
}

const WIDTH = 16;

/** Walks the mounted tree, breadth first, off the event loop (16 file system calls at a time). Vanished directories are skipped. */
export async function walkCgroups(mount: CgroupMount, { visit, signal, limit = 100_000 }: WalkOptions): Promise<void> {
  const prefix = mount.root === '/' ? '' : mount.root;
  let level = [''];
  let seen = 0;
  while (level.length > 0) {
    const next: string[] = [];
    for (let at = 0; at < level.length; at += WIDTH) {
      if (signal?.aborted === true || seen >= limit) return;
      const chunk = level.slice(at, at + WIDTH);
      const results = await Promise.all(chunk.map(async (below) => readCgroup(mount.point, below)));
      for (const [position, result] of results.entries()) {
        const below = chunk[position];
        if (below === undefined || result === null) continue;
        seen += 1;
        if (visit(result.id, `${prefix}${below}` || '/') === true) return;
        for (const child of result.children) next.push(`${below}/${child}`);
      }
    }
    level = next;
  }
}

async function readCgroup(point: string, below: string): Promise<{ id: CgroupId; children: string[] } | null> {
  const directory = point + below;
  const id = await readCgroupId(directory);
  if (id === null) return null;
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return { id, children: entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name) };
  } catch {
    return { id, children: [] };
  }
}
