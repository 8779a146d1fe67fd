import type {
  Observation,
  ObservedContainer,
  ResourcePeaks,
  Seen,
  SeenCall,
  SeenCapability,
  SeenDevice,
  SeenName,
  SeenPath,
  SeenPeer,
  SeenPort,
  SeenPrivilege,
  SeenProgram,
  SeenRefusal,
  SeenUser,
  Span,
} from '../../event/advice.js';

/** What was seen of a container: tables of what it did, each entry with who, when and how often. Merging is exact: halves make a whole. */

/** Names of processes in an entry. */
export const MOST_COMMS = 8;

/** The tables of an observation. */
export interface Tables {
  readonly calls: SeenCall;
  readonly capabilities: SeenCapability;
  readonly paths: SeenPath;
  readonly devices: SeenDevice;
  readonly ports: SeenPort;
  readonly peers: SeenPeer;
  readonly names: SeenName;
  readonly programs: SeenProgram;
  readonly privileges: SeenPrivilege;
  readonly users: SeenUser;
  readonly refusals: SeenRefusal;
}

export type TableName = keyof Tables;

/** What an entry is identified by: all of it but its evidence. */
export type Identity<Name extends TableName> = Omit<Tables[Name], keyof Seen | 'errors'>;

/** The members that identify an entry, in the order that entries are sorted by. */
const identities: { readonly [Name in TableName]: readonly (keyof Identity<Name> & string)[] } = {
  calls: ['name', 'abi', 'runtime'],
  capabilities: ['capability', 'call', 'granted', 'level', 'runtime'],
  paths: ['path', 'access', 'runtime'],
  devices: ['type', 'major', 'minor', 'name', 'access', 'denied', 'runtime'],
  ports: ['protocol', 'address', 'port'],
  peers: ['address', 'port'],
  names: ['name', 'address'],
  programs: ['path', 'comm', 'runtime'],
  privileges: ['call', 'command', 'errno', 'runtime'],
  users: ['uid', 'gid'],
  refusals: ['kind', 'what', 'errno'],
};

export const tableNames = Object.keys(identities) as TableName[];

/** Equal for entries of a table that stand for the same. */
export function keyOf(table: TableName, entry: object): string {
  return JSON.stringify(identities[table].map((member) => Reflect.get(entry, member)));
}

export function emptyObservation(): Observation {
  return {
    version: 1,
    containers: [],
    spans: [],
    sessions: [],
    trackers: [],
    unobserved: [],
    events: 0,
    lost: 0,
    dropped: 0,
    uncounted: false,
    excluded: [],
    truncated: false,
    calls: [],
    capabilities: [],
    paths: [],
    devices: [],
    ports: [],
    peers: [],
    names: [],
    programs: [],
    privileges: [],
    users: [],
    refusals: [],
    peaks: { memoryBytes: null, pids: null, cpus: null },
  };
}

/**
 * What was seen in both. Associative and commutative; an empty observation changes nothing. Counts are added: the two must not be of
 * the same events.
 */
export function merge(a: Observation, b: Observation): Observation {
  return {
    version: 1,
    containers: mergeContainers(a.containers, b.containers),
    spans: mergeSpans([...a.spans, ...b.spans]),
    sessions: union(a.sessions, b.sessions),
    trackers: union(a.trackers, b.trackers),
    unobserved: union(a.unobserved, b.unobserved),
    events: a.events + b.events,
    lost: a.lost + b.lost,
    dropped: a.dropped + b.dropped,
    uncounted: a.uncounted || b.uncounted,
    excluded: union(a.excluded, b.excluded),
    truncated: a.truncated || b.truncated,
    calls: mergeTable('calls', a.calls, b.calls),
    capabilities: mergeTable('capabilities', a.capabilities, b.capabilities),
    paths: mergeTable('paths', a.paths, b.paths),
    devices: mergeTable('devices', a.devices, b.devices),
    ports: mergeTable('ports', a.ports, b.ports),
    peers: mergeTable('peers', a.peers, b.peers),
    names: mergeTable('names', a.names, b.names),
    programs: mergeTable('programs', a.programs, b.programs),
    privileges: mergeTable('privileges', a.privileges, b.privileges),
    users: mergeTable('users', a.users, b.users),
    refusals: mergeTable('refusals', a.refusals, b.refusals),
    peaks: mergePeaks(a.peaks, b.peaks),
  };
}

/** Entries of one table, each once, sorted. */
export function mergeTable<Name extends TableName>(
  table: Name,
  ...parts: readonly (readonly Tables[Name][])[]
): Tables[Name][] {
  const found = new Map<string, Tables[Name]>();
  for (const entry of parts.flat()) {
    const key = keyOf(table, entry);
    const known = found.get(key);
    found.set(key, known ? mergeSeen(known, entry) : entry);
  }
  return [...found].sort(([a], [b]) => order(a, b)).map(([, entry]) => entry);
}

export function mergeSeen<Entry extends Seen>(a: Entry, b: Entry): Entry {
  return {
    ...a,
    ...('errors' in a ? { errors: Number(a.errors) + Number(Reflect.get(b, 'errors')) } : {}),
    comms: firstComms([...a.comms, ...b.comms]),
    first: earlier(a.first, b.first),
    last: later(a.last, b.last),
    count: a.count + b.count,
  };
}

/** The first few in the order of their names: so that it does not matter in which order they were seen. */
export function firstComms(comms: Iterable<string>): string[] {
  return [...new Set(comms)].sort(order).slice(0, MOST_COMMS);
}

/** Disjoint and in their order. */
export function mergeSpans(spans: readonly Span[]): Span[] {
  const sorted = [...spans].sort((a, b) => order(a.from, b.from) || order(a.to, b.to));
  const merged: Span[] = [];
  for (const span of sorted) {
    const last = merged.at(-1);
    if (!last || last.to < span.from) merged.push(span);
    else merged[merged.length - 1] = { from: last.from, to: later(last.to, span.to) };
  }
  return merged;
}

function mergeContainers(a: readonly ObservedContainer[], b: readonly ObservedContainer[]): ObservedContainer[] {
  const found = new Map<string, ObservedContainer>();
  for (const { id, name, image, started } of [...a, ...b]) {
    const known = found.get(id);
    found.set(id, {
      id,
      name: least(known?.name ?? null, name),
      image: least(known?.image ?? null, image),
      started: least(known?.started ?? null, started),
    });
  }
  return [...found.values()].sort((x, y) => order(x.id, y.id));
}

function mergePeaks(a: ResourcePeaks, b: ResourcePeaks): ResourcePeaks {
  const most = (x: number | null, y: number | null): number | null =>
    x === null ? y : y === null ? x : Math.max(x, y);
  return { memoryBytes: most(a.memoryBytes, b.memoryBytes), pids: most(a.pids, b.pids), cpus: most(a.cpus, b.cpus) };
}

function union(a: readonly string[], b: readonly string[]): string[] {
  return [...new Set([...a, ...b])].sort(order);
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const earlier = (a: string, b: string): string => (b < a ? b : a);
const later = (a: string, b: string): string => (b > a ? b : a);
const least = (a: string | null, b: string | null): string | null => (a === null ? b : b === null ? a : earlier(a, b));
