import type { CgroupId } from '../event/event.js';

/** UNKNOWN: known by its cgroup or mount namespace only, no engine tells of it. */
export type ContainerState =
  'CREATED' | 'RUNNING' | 'PAUSED' | 'RESTARTING' | 'EXITED' | 'DEAD' | 'REMOVED' | 'UNKNOWN';

/** The Kubernetes pod of a container, as the kubelet's labels on it tell. */
export interface Pod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string | null;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * What is known of a container. One object stands for one container for as long as it is remembered, and is updated in
 * place, so that whoever holds it sees the name as soon as it is known. Copy what must not change.
 * Times are RFC 3339 in UTC with nine digits of a second, the engine's own where it tells them.
 */
export interface Container {
  /** 64 hexadecimal digits; lxc:NAME, nspawn:NAME or ctr:NAMESPACE/NAME where there is no such id. */
  readonly id: string;
  readonly name: string | null;
  /** The reference the container was started from, as the user wrote it. */
  readonly image: string | null;
  readonly imageId: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly composeProject: string | null;
  readonly composeService: string | null;
  readonly pod: Pod | null;
  /** Uid of the Kubernetes pod, by the cgroup's path, else by the labels; known without an engine. */
  readonly podUid: string | null;
  /** docker, containerd, crio, podman, lxc, systemd-nspawn or unknown. */
  readonly runtime: string;
  readonly state: ContainerState;
  readonly createdAt: string | null;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly removedAt: string | null;
  /** The container's first process, in the host's pid namespace; null while it does not run. */
  readonly pid: number | null;
  /** Whether it was created with all capabilities and devices; null while no engine tells. */
  readonly privileged: boolean | null;
  /** Addresses; once the container has stopped, the last ones it had (another may hold them by then). */
  readonly ips: readonly string[];
  /** The container's own v2 cgroup; a restarted container gets a new one. Nested ones: `ContainerRegistry.cgroupIds`. */
  readonly cgroupId: CgroupId | null;
  readonly mountNs: number | null;
}

export type MutableContainer = { -readonly [Key in keyof Container]: Container[Key] };

/** What a source has said about one container; what it did not say is left out and stays as it was. */
export interface ContainerFacts {
  readonly id: string;
  readonly name?: string;
  readonly image?: string;
  readonly imageId?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly runtime?: string;
  readonly state?: ContainerState;
  readonly createdAt?: string;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  readonly pid?: number | null;
  readonly privileged?: boolean;
  readonly ips?: readonly string[];
}

export function createContainer(id: string, runtime: string): MutableContainer {
  return {
    id,
    name: null,
    image: null,
    imageId: null,
    labels: {},
    composeProject: null,
    composeService: null,
    pod: null,
    podUid: null,
    runtime,
    state: 'UNKNOWN',
    createdAt: null,
    startedAt: null,
    finishedAt: null,
    removedAt: null,
    pid: null,
    privileged: null,
    ips: [],
    cgroupId: null,
    mountNs: null,
  };
}

/** Milliseconds since the epoch as our times are written. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000000Z');
}

/** Whether the container may have processes. */
export function isAlive({ state }: Pick<Container, 'state'>): boolean {
  return state === 'RUNNING' || state === 'PAUSED' || state === 'UNKNOWN';
}

/** Whether a container is known by its namespaces alone: any user can make such ones. */
export function isNamespaceId(id: string): boolean {
  return id.startsWith('pidns:');
}

/** Writes facts into a container, and says which kind of them changed. */
export function applyFacts(container: MutableContainer, facts: ContainerFacts): { facts: boolean; state: boolean } {
  const before = { ...container };
  container.name = facts.name ?? container.name;
  container.image = facts.image ?? container.image;
  container.imageId = facts.imageId ?? container.imageId;
  container.privileged = facts.privileged ?? container.privileged;
  container.runtime = facts.runtime ?? container.runtime;
  container.state = facts.state ?? container.state;
  container.createdAt = facts.createdAt ?? container.createdAt;
  container.startedAt = facts.startedAt ?? container.startedAt;
  container.finishedAt = facts.finishedAt ?? container.finishedAt;
  if (facts.pid !== undefined) container.pid = facts.pid;
  // An engine forgets the addresses of a stopped container; whoever reads its past still wants them.
  if (facts.ips !== undefined && (facts.ips.length > 0 || isAlive(container))) {
    if (!sameList(container.ips, facts.ips)) container.ips = facts.ips;
  }
  if (facts.labels !== undefined && !sameRecord(container.labels, facts.labels)) {
    container.labels = facts.labels;
    container.composeProject = labelOf(facts.labels, 'com.docker.compose.project', 'io.podman.compose.project');
    container.composeService = labelOf(facts.labels, 'com.docker.compose.service', 'io.podman.compose.service');
    container.pod = podOf(facts.labels);
    container.podUid ??= container.pod?.uid ?? null;
  }
  return {
    facts:
      before.name !== container.name ||
      before.image !== container.image ||
      before.imageId !== container.imageId ||
      before.privileged !== container.privileged ||
      before.labels !== container.labels ||
      before.ips !== container.ips,
    state: before.state !== container.state || before.pid !== container.pid,
  };
}

function labelOf(labels: Readonly<Record<string, string>>, ...names: readonly string[]): string | null {
  for (const name of names) {
    const value = labels[name];
    if (value !== undefined) return value;
  }
  return null;
}

/** The kubelet's labels on a container: `io.kubernetes.pod.{name,namespace,uid}`; the rest but its own are the pod's. */
function podOf(labels: Readonly<Record<string, string>>): Pod | null {
  const name = labels['io.kubernetes.pod.name'];
  if (name === undefined) return null;
  // cri-dockerd keeps annotations as labels with the prefix `annotation.`.
  const own = Object.entries(labels).filter(([key]) => !/^(io\.kubernetes\.|annotation\.)/.test(key));
  return {
    name,
    namespace: labels['io.kubernetes.pod.namespace'] ?? 'default',
    uid: labels['io.kubernetes.pod.uid'] ?? null,
    labels: Object.fromEntries(own),
  };
}

function sameList(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((value, position) => value === right[position]);
}

function sameRecord(left: Readonly<Record<string, string>>, right: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && left[key] === right[key])
  );
}
