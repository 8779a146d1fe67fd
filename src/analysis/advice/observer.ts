import type { Observation, ObservedContainer, PathAccess, Seen, Span } from '../../event/advice.js';
import { ANY_NAME, type Alike, type AlikeField, type TraceFacts } from '../../event/alike.js';
import type { Demand, TraceEvent } from '../../event/event.js';
import type { Missing } from '../../event/missing.js';
import {
  feedsOf,
  type AnyReportFeed,
  type FactKind,
  type ReportFacts,
  type ReportFeeds,
} from '../../event/report-feed.js';
import type { ReportSource, ReportTracker } from '../report/index.js';
import { add } from './group.js';
import { isNames, MOST_NAMES, namesIn } from './names.js';
import {
  emptyObservation,
  firstComms,
  gatherKeys,
  keyOf,
  mergeSeen,
  mergeSpans,
  namesKeyOf,
  tableNames,
  type EntryIdentity,
  type TableName,
  type Tables,
} from './observation.js';
import { isOfRuntime } from './runtime.js';

/** Entries of one table. */
const MOST_ENTRIES = 20_000;
/** The calls by which a runtime gives a container its root directory, and which it makes for nothing else. */
const ROOT_CALLS: ReadonlySet<string> = new Set(['pivot_root', 'chroot']);
/** Why an open failed, where rights decided. */
const REFUSALS: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);

/** What is observed. */
export interface ObservedSubject {
  /** Ids of the containers. */
  readonly containers: ReadonlySet<string>;
  /** RFC 3339 with nanoseconds; `from` is in it, `to` is not. Null does not restrict. */
  readonly from: string | null;
  readonly to: string | null;
  readonly trackers: readonly ReportTracker[];
}

type Fact<Kind extends FactKind> = ReportFacts[Kind];
type Handlers = { readonly [Kind in FactKind]: (fact: Fact<Kind>, event: TraceFacts, at: At) => void };

type TableMaps = { readonly [Name in TableName]: Map<string, Tables[Name]> };

/** When something happened first and last and how often, and whether the container's runtime did it. */
interface At extends Pick<Alike, 'last' | 'times'> {
  readonly time: string;
  readonly runtime: boolean;
}

const adviceFeeds = (trackers: readonly ReportTracker[]): Map<string, AnyReportFeed> =>
  new Map(trackers.flatMap(({ name, report }) => (report ? [[name, report] as const] : [])));

/** The on-demand fields that advice reads, by tracker. */
export function adviceDemand(trackers: readonly ReportTracker[]): Demand {
  return new Map([...adviceFeeds(trackers)].map(([name, { demand }]) => [name, new Set(demand)]));
}

/** Where a tracker's events do not differ in these fields, they are the same to `Observer`. */
export function alikeFields(
  trackers: readonly (ReportTracker & { readonly fields: readonly { readonly path: string }[] })[],
): ReadonlyMap<string, readonly AlikeField[]> {
  return new Map(
    trackers.flatMap(({ name, report, fields }) =>
      report ? [[name, report.alike ?? fields.map(({ path }) => path)] as const] : [],
    ),
  );
}

/** Turns events into an observation, session by session, in bounded memory. Pure. */
export class Observer {
  readonly #subject: ObservedSubject;
  readonly #feeds: ReadonlyMap<string, AnyReportFeed>;
  readonly #tables: TableMaps;
  /** The keys of paths with a name in a directory, by the key of what stands for all of them. */
  readonly #names = new Map<string, string[]>();
  readonly #containers = new Map<string, ObservedContainer>();
  readonly #sources: ReportSource[] = [];
  #takers: ReadonlyMap<string, (event: TraceFacts, at: At) => void> = new Map();
  #events = 0;
  #truncated = false;

  constructor(subject: ObservedSubject) {
    this.#subject = subject;
    this.#feeds = adviceFeeds(subject.trackers);
    this.#tables = Object.fromEntries(tableNames.map((name) => [name, new Map()])) as TableMaps;
  }

  /** The events that follow are of this session. */
  begin(source: ReportSource): void {
    this.#sources.push(source);
    this.#takers = new Map(feedsOf(this.#feeds, source.trackers).map(([name, feed]) => [name, this.#taker(feed)]));
  }

  /** An event, or many that are alike. */
  add(
    event: TraceFacts,
    { last, events, times }: Omit<Alike, 'event'> = { last: event.time, events: 1, times: 1 },
  ): void {
    const { time, process, container } = event;
    const { from, to, containers } = this.#subject;
    if ((from !== null && time < from) || (to !== null && time >= to) || container === null) return;
    const { id, name, image } = container as ObservedContainer;
    if (!containers.has(id)) return;
    this.#events += events;
    if (!this.#containers.has(id)) this.#containers.set(id, { id, name, image, started: null });
    const runtime = isOfRuntime(process);
    if (!runtime) this.#add('users', { uid: process.uid, gid: process.gid }, event, { time, last, times: events });
    this.#takers.get(event.tracker)?.(event, { time, last, times, runtime });
  }

  /**
   * `now`: until when a session has been watching that is still running. Entries are in the order in which they came: to sort tens of
   * thousands takes long, and `merge` does it where that disturbs nobody.
   */
  build({ lost, dropped, uncounted }: Missing, now: string): Observation {
    const spansOf = (sources: readonly ReportSource[]): Span[] =>
      mergeSpans(sources.flatMap(({ from, to }) => this.#spanOf(from, to ?? now)));
    const spans = spansOf(this.#sources);
    // Sessions side by side observe together; one after the other, each has to.
    const isObserved = (kind: FactKind): boolean => {
      const observing = this.#sources.filter(({ trackers }) => this.#kindsOf(trackers).includes(kind));
      return observing.length > 0 && JSON.stringify(spansOf(observing)) === JSON.stringify(spans);
    };
    return {
      ...emptyObservation(),
      ...Object.fromEntries(tableNames.map((name) => [name, [...this.#tables[name].values()]])),
      containers: [...this.#containers.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      spans,
      sessions: [...new Set(this.#sources.map(({ id }) => id))].sort(),
      trackers: [...new Set(this.#sources.flatMap(({ trackers }) => trackers))].sort(),
      unobserved: kinds.filter((kind) => !isObserved(kind)).sort(),
      events: this.#events,
      lost,
      dropped,
      uncounted,
      excluded: [...new Set(this.#sources.flatMap((source) => this.#excluded(source)))].sort(),
      truncated: this.#truncated,
    };
  }

  #kindsOf(trackers: readonly string[]): FactKind[] {
    return trackers.flatMap((name) => this.#feeds.get(name)?.feeds ?? []);
  }

  #spanOf(start: string | null, end: string): Span[] {
    if (start === null) return [];
    const { from, to } = this.#subject;
    const first = from !== null && from > start ? from : start;
    const last = to !== null && to < end ? to : end;
    return first < last ? [{ from: first, to: last }] : [];
  }

  #excluded(source: ReportSource): string[] {
    return [
      ...source.excluded.map(({ excluded }) => excluded),
      ...feedsOf(this.#feeds, source.trackers).flatMap(([tracker, { restricting = [] }]) =>
        restricting
          .filter(({ option, applies }) => applies(source.options[tracker]?.[option]))
          .map(({ option, says }) => `${says} (${tracker}.${option})`),
      ),
    ];
  }

  #taker<Kind extends FactKind>(feed: ReportFeeds[Kind]): (event: TraceFacts, at: At) => void {
    const handle: Handlers[Kind] = this.#handlers[feed.feeds];
    return (event, at) => {
      // A feed reads fields of its tracker, which the event has as far as they count.
      const fact = feed.read(event as TraceEvent);
      if (fact) handle(fact, event, at);
    };
  }

  readonly #handlers: Handlers = {
    syscalls: ({ name, abi, argument, count, errors }, event, at) => {
      const { time, runtime, times } = at;
      if (runtime && ROOT_CALLS.has(name)) this.#started(event, time);
      this.#add('calls', { name, abi, argument, runtime }, event, at, count, { errors: errors * times });
    },
    capabilities: ({ capability, call, granted, level, count }, event, at) =>
      this.#add('capabilities', { capability, call, granted, level, runtime: at.runtime }, event, at, count),
    files: ({ path, errno, reads, writes, count, first, last }, event, watched) => {
      const at = {
        ...watched,
        time: first ?? watched.time,
        last: last ?? watched.last,
        times: watched.times * count,
      };
      if (errno === null) {
        if (reads) this.#path('READ', path, event, at);
        if (writes) this.#path('WRITE', path, event, at);
      } else if (path !== null && REFUSALS.has(errno) && !at.runtime)
        this.#add('refusals', { kind: 'PATH', what: path, errno }, event, at);
    },
    changes: ({ made, removed, changed, errno }, event, at) => {
      if (errno !== null) return;
      this.#path('MAKE', made, event, at);
      this.#path('REMOVE', removed, event, at);
      this.#path('CHANGE', changed, event, at);
    },
    devices: ({ type, major, minor, name, access, denied }, event, at) => {
      for (const each of access as readonly ('READ' | 'WRITE' | 'MAKE')[])
        this.#add('devices', { type, major, minor, name, access: each, denied, runtime: at.runtime }, event, at);
    },
    listens: ({ protocol, address, port, errno }, event, at) => {
      if (errno === null && protocol !== null && port !== null && port > 0)
        this.#add('ports', { protocol, address, port }, event, at);
    },
    network: ({ operation, localAddress, localPort, remoteAddress, remotePort }, event, at) => {
      if (operation === 'ACCEPT' && localPort !== null)
        this.#add('ports', { protocol: 'TCP', address: localAddress, port: localPort }, event, at);
      const connects = operation === 'CONNECT' || operation === 'CONNECT_FAILED';
      if (connects && remoteAddress !== null && remotePort !== null)
        this.#add('peers', { address: remoteAddress, port: remotePort }, event, at);
    },
    names: ({ name, addresses }, event, at) => {
      if (name === null) return;
      for (const address of addresses.length ? addresses : [null]) this.#add('names', { name, address }, event, at);
    },
    programs: ({ path, errno }, event, at) => {
      if (path !== null && errno === null)
        this.#add('programs', { path, comm: event.process.comm, runtime: at.runtime }, event, at);
    },
    privileges: ({ call, command, errno }, event, at) => {
      const { time, runtime } = at;
      if (runtime && ROOT_CALLS.has(call)) this.#started(event, time);
      this.#add('privileges', { call, command, errno, runtime }, event, at);
    },
    refusals: ({ name, errno }, event, at) => {
      if (!at.runtime) this.#add('refusals', { kind: 'CALL', what: name, errno }, event, at);
    },
    exits: () => undefined,
  };

  #started({ container }: TraceFacts, time: string): void {
    const known = this.#containers.get((container as ObservedContainer).id);
    if (known && (known.started === null || time < known.started))
      this.#containers.set(known.id, { ...known, started: time });
  }

  #path(access: PathAccess, given: string | null, event: TraceFacts, at: At): void {
    const path = given === null ? null : stablePath(given);
    if (path === null) return;
    const table = this.#tables.paths;
    const { size } = table;
    const { runtime } = at;
    const names = namesKeyOf({ path, access, runtime });
    const identity = { path: table.has(names) ? namesIn(path) : path, access, runtime };
    this.#add('paths', identity, event, at);
    if (table.size === size || !isNames(namesIn(path))) return;
    add(this.#names, names, keyOf('paths', identity));
    const known = this.#names.get(names) ?? [];
    if (known.length <= MOST_NAMES && !isNames(path)) return;
    gatherKeys(table, names, known);
    this.#names.delete(names);
  }

  #add<Name extends TableName>(
    name: Name,
    identity: EntryIdentity<Name>,
    { process }: TraceFacts,
    { time, last, times }: Pick<At, 'time' | 'last' | 'times'>,
    count = 1,
    more: object = {},
  ): void {
    const table: Map<string, Tables[Name]> = this.#tables[name];
    const key = keyOf(name, identity);
    const known = table.get(key);
    if (!known && table.size >= MOST_ENTRIES) {
      this.#truncated = true;
      return;
    }
    const seen: Seen = { comms: firstComms([process.comm]), first: time, last, count: count * times };
    const entry = { ...identity, ...more, ...seen } as Tables[Name];
    table.set(key, known ? mergeSeen(known, entry) : entry);
  }
}

/** One path for what has another number each time, without slashes at its end; null for what is on no file system that is mounted. */
export function stablePath(path: string): string | null {
  if (!path.startsWith('/') || path.startsWith('/memfd:')) return null;
  if (path.endsWith(`/${ANY_NAME}`)) return namesIn(path);
  // What is called " (deleted)" leaves a slash, as it is the end of what stands for all names.
  const whole = path.replace(/ \(deleted\)$/, '');
  let end = whole.length;
  while (end > 1 && whole.endsWith('/', end)) end--;
  return whole
    .slice(0, end)
    .replace(/^\/proc\/\d+(?=\/|$)/, '/proc/PID')
    .replace(/^(\/proc\/PID\/task)\/\d+(?=\/|$)/, '$1/TID')
    .replace(/^(\/proc\/PID(?:\/task\/TID)?\/(?:fd|fdinfo))\/\d+$/, '$1/FD')
    .replace(/^\/dev\/pts\/\d+$/, '/dev/pts/N');
}

/** The kinds of facts that advice is made from. */
const kinds: readonly FactKind[] = [
  'syscalls',
  'capabilities',
  'files',
  'changes',
  'devices',
  'listens',
  'network',
  'names',
  'programs',
  'privileges',
  'refusals',
];
