import type { Demand, TraceEvent } from '../../event/event.js';
import type { Missing } from '../../event/missing.js';
import type {
  BehaviourReport,
  Exclusion,
  MissingSection,
  ReportedSession,
  ReportSections,
  RestrictedSection,
} from '../../event/report.js';
import { feedsOf, sectionsOf, type AnyReportFeed, type FactKind, type ReportFeeds } from '../../event/report-feed.js';
import { Capabilities } from './section/capabilities.js';
import { Exits } from './section/exits.js';
import { Files } from './section/files.js';
import { Names } from './section/names.js';
import { Network } from './section/network.js';
import { Privileges } from './section/privileges.js';
import { Programs } from './section/programs.js';
import { Refusals } from './section/refusals.js';
import type { SectionCounter } from './section/section.js';
import { Syscalls } from './section/syscalls.js';

/** A tracker as far as reports are concerned. */
export interface ReportTracker {
  readonly name: string;
  /** Null if its events are in no section. */
  readonly report: AnyReportFeed | null;
}

/** What the report is about. */
export interface ReportSubject {
  /** One session; null is a range of time, and all that was recorded in it. */
  readonly session: string | null;
  readonly container: BehaviourReport['container'];
  /** Only what happened in no container. */
  readonly host: boolean;
  /** RFC 3339 with nanoseconds; `from` is in it, `to` is not. Null does not restrict. */
  readonly from: string | null;
  readonly to: string | null;
  /** Of this build, also those that the sessions do without. */
  readonly trackers: readonly ReportTracker[];
  /** What leaves events out of all sessions. */
  readonly narrowed: readonly Exclusion[];
}

/** A session that is summed up. */
export interface ReportSource extends ReportedSession {
  /** Of its trackers, by name. */
  readonly options: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** What kept events of all its trackers out of it. */
  readonly excluded: readonly Exclusion[];
}

/** What a section is of which no tracker was running. */
const unobserved: ReportSections = {
  programs: null,
  filesRead: null,
  filesWritten: null,
  failedOpens: null,
  peers: null,
  listeningPorts: null,
  syscalls: null,
  exits: null,
  privileges: null,
  capabilities: null,
  dnsNames: null,
  refusedCalls: null,
};
type CountedFeed = ReportFeeds[CountedKind];
const isCounted = (kind: FactKind): kind is CountedKind => sectionsOf[kind].length > 0;
const countedFeeds = (trackers: readonly ReportTracker[]): Map<string, CountedFeed> =>
  new Map(
    trackers.flatMap(({ name, report }) =>
      report && isCounted(report.feeds) ? [[name, report as CountedFeed] as const] : [],
    ),
  );
const kinds = (Object.keys(sectionsOf) as FactKind[]).filter(isCounted);

/** The kinds that have sections. */
type CountedKind = { [Kind in FactKind]: (typeof sectionsOf)[Kind] extends readonly [] ? never : Kind }[FactKind];
type Counters = { readonly [Kind in CountedKind]: SectionCounter<Kind> };
type Taker = (event: TraceEvent) => void;

/** The on-demand fields that a report reads, by tracker. */
export function reportDemand(trackers: readonly ReportTracker[]): Demand {
  return new Map([...countedFeeds(trackers)].map(([name, { demand }]) => [name, new Set(demand)]));
}

/** Summarizes behaviour from events, one by one and session by session, in bounded memory. Pure. */
export class ReportBuilder {
  readonly #subject: ReportSubject;
  readonly #feeds: ReadonlyMap<string, CountedFeed>;
  readonly #counters: Counters = {
    programs: new Programs(),
    files: new Files(),
    network: new Network(),
    syscalls: new Syscalls(),
    exits: new Exits(),
    privileges: new Privileges(),
    capabilities: new Capabilities(),
    names: new Names(),
    refusals: new Refusals(),
  };
  readonly #sources: ReportSource[] = [];
  /** Of the session that is being read. */
  #takers: ReadonlyMap<string, Taker> = new Map();
  #events = 0;
  #first: string | null = null;
  #last: string | null = null;

  constructor(subject: ReportSubject) {
    this.#subject = subject;
    this.#feeds = countedFeeds(subject.trackers);
  }

  /** The events that follow are of this session. */
  begin(source: ReportSource): void {
    this.#sources.push(source);
    this.#takers = new Map(feedsOf(this.#feeds, source.trackers).map(([name, feed]) => [name, this.#taker(feed)]));
  }

  add(event: TraceEvent): void {
    // Each reading of a time formats it.
    const { time } = event;
    if (!this.#takes(time, event)) return;
    this.#events++;
    if (this.#first === null || time < this.#first) this.#first = time;
    if (this.#last === null || time > this.#last) this.#last = time;
    this.#takers.get(event.tracker)?.(event);
  }

  /** Whether the event is of the report's subject and time. */
  #takes(time: string, { container }: TraceEvent): boolean {
    const { from, to, host, container: wanted } = this.#subject;
    if ((from !== null && time < from) || (to !== null && time >= to)) return false;
    if (host) return container === null;
    return wanted === null || (container !== null && Reflect.get(container, 'id') === wanted.id);
  }

  /** `top`: maximum number of entries per section; the rest is counted together. */
  build(top: number, { lost, dropped, uncounted, complete }: Missing): BehaviourReport {
    const { session, container, host, from, to, narrowed } = this.#subject;
    const restricted = this.#restricted();
    // Options say what a tracker looks at; these leave out events that it saw.
    const exclusions = [...this.#sources.flatMap(({ excluded }) => excluded), ...narrowed];
    const restrictions = [...new Set([...restricted, ...exclusions].map(({ restriction }) => restriction))];
    return {
      session,
      sessions: this.#sources.map(({ options: _options, excluded: _excluded, ...source }) => source),
      container,
      host,
      from: from ?? this.#first,
      to: to ?? this.#last,
      trackers: this.#trackers(),
      events: String(this.#events),
      lost: String(lost),
      dropped: String(dropped),
      uncounted,
      complete: complete && exclusions.length === 0,
      restrictions,
      restricted,
      extensions: this.#extensions(),
      doubled: this.#doubled(),
      ...this.#sections(top),
      missing: this.#missing(),
    };
  }

  #taker<Kind extends CountedKind>(feed: ReportFeeds[Kind]): Taker {
    const counter: Counters[Kind] = this.#counters[feed.feeds];
    return (event) => {
      const fact = feed.read(event);
      if (fact) counter.add(fact, event);
    };
  }

  #trackers(): string[] {
    return [...new Set(this.#sources.flatMap(({ trackers }) => trackers))];
  }

  /** The kinds of facts that a session had a tracker for. */
  #observed(): ReadonlySet<FactKind> {
    return new Set(this.#trackers().flatMap((name) => this.#feeds.get(name)?.feeds ?? []));
  }

  #sections(top: number): ReportSections {
    const observed = this.#observed();
    return kinds.reduce(
      (sections, kind) => (observed.has(kind) ? { ...sections, ...this.#counters[kind].build(top) } : sections),
      unobserved,
    );
  }

  #restricted(): RestrictedSection[] {
    const all = this.#sources.flatMap((source) =>
      feedsOf(this.#feeds, source.trackers).flatMap(([tracker, { feeds, restricting = [] }]): RestrictedSection[] => [
        ...restricting
          .map((restriction) => ({ ...restriction, value: source.options[tracker]?.[restriction.option] }))
          .filter(({ applies, value }) => applies(value))
          .flatMap(({ option, says, value, sections = sectionsOf[feeds] }) =>
            sections.map((section) => ({
              section,
              restriction: `${tracker}.${option}`,
              excluded: says,
              value: JSON.stringify(value),
            })),
          ),
        ...[...source.excluded, ...this.#subject.narrowed]
          .filter(({ trackers }) => trackers?.includes(tracker) ?? true)
          .flatMap(({ restriction, excluded, value }) =>
            sectionsOf[feeds].map((section) => ({ section, restriction, excluded, value })),
          ),
      ]),
    );
    return [
      ...new Map(all.map((each) => [JSON.stringify([each.section, each.restriction, each.value]), each])).values(),
    ];
  }

  /** Options by which trackers tell of more than they do by default. */
  #extensions(): string[] {
    const all = this.#sources.flatMap(({ trackers, options }) =>
      feedsOf(this.#feeds, trackers).flatMap(([tracker, { extending = [] }]) =>
        extending.filter((option) => options[tracker]?.[option] === true).map((option) => `${tracker}.${option}`),
      ),
    );
    return [...new Set(all)].sort();
  }

  #doubled(): string[] {
    const together = (a: ReportSource, b: ReportSource): boolean =>
      (a.to === null || b.from === null || b.from < a.to) && (b.to === null || a.from === null || a.from < b.to);
    return this.#trackers().filter((tracker) => {
      const sources = this.#sources.filter(({ trackers }) => trackers.includes(tracker));
      return sources.some((source, i) => sources.slice(i + 1).some((other) => together(source, other)));
    });
  }

  #missing(): MissingSection[] {
    const { session } = this.#subject;
    const observed = this.#observed();
    return kinds
      .filter((kind) => !observed.has(kind))
      .flatMap((kind) => {
        const tracker = this.#feederOf(kind);
        const without =
          session === null
            ? `no session that was read ran with the tracker ${tracker}`
            : `the session ran without the tracker ${tracker}`;
        return sectionsOf[kind].map((section) => ({ section, tracker, problem: `not observed: ${without}` }));
      });
  }

  /** The tracker to use for facts of a kind: of those that observe the same, the one with the lowest cost. */
  #feederOf(kind: FactKind): string {
    const feeders = [...this.#feeds].filter(([, { feeds }]) => feeds === kind);
    return (feeders.find(([, { supersededBy }]) => !supersededBy?.length) ?? feeders[0])?.[0] ?? '';
  }
}
