/** Where the v2 hierarchy is mounted, and which cgroup of it (`root`) is visible there. */
export interface CgroupMount {
  readonly point: string;
  readonly root: string;
}

/**
 * Finds the v2 hierarchy in the text of `/proc/self/mountinfo`; null on a host that mounts only v1.
 * Of several mounts the one that shows most of the tree wins: in a container with its own cgroup namespace, the host's
 * hierarchy mounted beside it has a root such as `/../..`.
 */
export function findCgroupMount(mountinfo: string): CgroupMount | null {
  let best: CgroupMount | null = null;
  for (const line of mountinfo.split('\n')) {
    const [mount, source] = line.split(' - ');
    if (mount === undefined || source === undefined || !source.startsWith('cgroup2 ')) continue;
    const fields = mount.split(' ');
    const [root, point] = [fields[3], fields[4]];
    if (root === undefined || point === undefined) continue;
    const found = { root: unescapeMount(root), point: unescapeMount(point) };
    if (best === null || depth(found.root) < depth(best.root)) best = found;
  }
  return best;
}

/** Where each v1 hierarchy is mounted, by its controllers as /proc/PID/cgroup writes them: `cpu,cpuacct`, `name=systemd`. */
export function findLegacyMounts(mountinfo: string): Map<string, CgroupMount> {
  const found = new Map<string, CgroupMount>();
  for (const line of mountinfo.split('\n')) {
    const [mount, source] = line.split(' - ');
    const [type, , options] = source?.split(' ') ?? [];
    const [root, point] = [mount?.split(' ')[3], mount?.split(' ')[4]];
    if (type !== 'cgroup' || options === undefined || root === undefined || point === undefined) continue;
    // The options in the order of the controllers, and others (rw, xattr, release_agent=…) between them.
    const controllers = options.split(',').filter((option) => option.startsWith('name=') || V1_CONTROLLERS.has(option));
    found.set(controllers.join(','), { root: unescapeMount(root), point: unescapeMount(point) });
  }
  return found;
}

const V1_CONTROLLERS = new Set([
  'cpuset',
  'cpu',
  'cpuacct',
  'blkio',
  'memory',
  'devices',
  'freezer',
  'net_cls',
  'perf_event',
  'net_prio',
  'hugetlb',
  'pids',
  'rdma',
  'misc',
]);

function depth(root: string): number {
  return root.split('/').reduce((sum, part) => sum + (part === '..' ? -1 : part === '' ? 0 : 1), 0);
}

/** mountinfo writes space, tab, newline and backslash as octal escapes. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
