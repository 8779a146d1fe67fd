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
import { add } from './group.js';
import { isNames, MOST_NAMES, namesIn } from './names.js';

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
export type EntryIdentity<Name extends TableName> = Omit<Tables[Name], keyof Seen | 'errors'>;

/** The members that identify an entry, in the order that entries are sorted by. */
const identities: { readonly [Name in TableName]: readonly (keyof EntryIdentity<Name> & string)[] } = {
  calls: ['name', 'abi', 'argument', 'runtime'],
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
 * What was seen in any of them. Associative and commutative; an empty observation changes nothing. Counts are added: no two must be of the
 * same events. All at once: each entry is looked at once, however many there are.
 */
export function merge(...all: readonly Observation[]): Observation {
  const tables = tableNames.map((name) => [name, mergeTable(name, ...all.map((each) => each[name]))]);
  return {
    ...emptyObservation(),
    containers: mergeContainers(all.flatMap(({ containers }) => containers)),
    spans: mergeSpans(all.flatMap(({ spans }) => spans)),
    sessions: union(all.flatMap(({ sessions }) => sessions)),
    trackers: union(all.flatMap(({ trackers }) => trackers)),
    unobserved: union(all.flatMap(({ unobserved }) => unobserved)),
    events: sum(all.map(({ events }) => events)),
    lost: sum(all.map(({ lost }) => lost)),
    dropped: sum(all.map(({ dropped }) => dropped)),
    uncounted: all.some(({ uncounted }) => uncounted),
    excluded: union(all.flatMap(({ excluded }) => excluded)),
    truncated: all.some(({ truncated }) => truncated),
    ...(Object.fromEntries(tables) as { readonly [Name in TableName]: Tables[Name][] }),
    peaks: all.map(({ peaks }) => peaks).reduce(mergePeaks, emptyObservation().peaks),
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
  if (table === 'paths') gatherNames(found as Map<string, SeenPath>);
  return [...found].sort(([a], [b]) => order(a, b)).map(([, entry]) => entry);
}

/**
 * Makes one entry of the names in a directory, for each access to it of which there are more than `MOST_NAMES`, or one is there already.
 * Whatever the order in which names come, the same entries are left.
 */
function gatherNames(paths: Map<string, SeenPath>): void {
  const directories = new Map<string, string[]>();
  for (const [key, entry] of paths) if (isNames(namesIn(entry.path))) add(directories, namesKeyOf(entry), key);
  for (const [names, keys] of directories)
    if (keys.length > MOST_NAMES || paths.has(names)) gatherKeys(paths, names, keys);
}

/** Makes one entry, with this key, of those with the others: names in one directory and what stands for all of them. */
export function gatherKeys(paths: Map<string, SeenPath>, names: string, keys: Iterable<string>): void {
  const entries = [...keys].flatMap((key) => paths.get(key) ?? []);
  for (const key of keys) paths.delete(key);
  paths.set(names, entries.map(namesOf).reduce(mergeSeen));
}

/** The key of the entry that stands for all names in the directory of a path. */
export function namesKeyOf(entry: EntryIdentity<'paths'>): string {
  return keyOf('paths', namesOf(entry));
}

function namesOf<Entry extends EntryIdentity<'paths'>>(entry: Entry): Entry {
  return { ...entry, path: namesIn(entry.path) };
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

function mergeContainers(containers: readonly ObservedContainer[]): ObservedContainer[] {
  const found = new Map<string, ObservedContainer>();
  for (const { id, name, image, started } of containers) {
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

function union(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort(order);
}

const sum = (counts: readonly number[]): number => counts.reduce((all, count) => all + count, 0);
const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const earlier = (a: string, b: string): string => (b < a ? b : a);
const later = (a: string, b: string): string => (b > a ? b : a);
const least = (a: string | null, b: string | null): string | null => (a === null ? b : b === null ? a : earlier(a, b));
