import type { AlikeField } from './alike.js';
import type { TraceEvent } from './event.js';
import type { RefusalAction, ReportSections } from './report.js';

/**
 * How trackers feed behaviour reports and advice. A tracker's definition turns each of its events into a fact; the sections of the report
 * (analysis/report/section/) and the observer of advice (analysis/advice/observer.ts) count facts, and know no tracker.
 */

/** A program was executed, or an attempt failed. */
export interface ProgramFact {
  /** The executable; for a failed attempt, the path as passed. Null if it was not captured. */
  readonly path: string | null;
  /** Why it failed. */
  readonly errno: string | null;
  readonly args: readonly string[] | null;
  /** Comm of the parent. */
  readonly parent: string | null;
}

/** A file was opened, or an attempt failed, `count` times. */
export interface FileFact {
  /** Absolute; for a failed attempt, as passed. Null if it was not captured. */
  readonly path: string | null;
  /** The same; of a failed attempt, with the directory that it starts at, as far as that was captured. */
  readonly absolute: string | null;
  /** Why it failed; then nothing is read or written. */
  readonly errno: string | null;
  /** What the opened file can be used for: both, one, or neither (O_PATH). */
  readonly reads: boolean;
  readonly writes: boolean;
  readonly count: number;
  /** When it happened first and last, RFC 3339 with nanoseconds; null: when the event did. */
  readonly first: string | null;
  readonly last: string | null;
}

/** A file system entry was changed, or an attempt failed. */
export interface ChangeFact {
  /** What it makes: a new name for RENAME, LINK and SYMLINK. Absolute, as far as it was captured. Null for none. */
  readonly made: string | null;
  /** What is gone afterwards. */
  readonly removed: string | null;
  /** What has other attributes or another size. */
  readonly changed: string | null;
  /** Why it failed; then nothing was changed. */
  readonly errno: string | null;
}

/** A socket began to take connections or datagrams at a port, or an attempt failed. */
export interface ListenFact {
  readonly protocol: string | null;
  readonly address: string | null;
  readonly port: number | null;
  readonly errno: string | null;
}

/** A process wants to use a device. */
export interface DeviceFact {
  readonly type: 'BLOCK' | 'CHARACTER';
  readonly major: number;
  readonly minor: number;
  /** Below /dev. Null for numbers that are not fixed. */
  readonly name: string | null;
  readonly access: readonly string[];
  readonly denied: boolean;
}

/** What happened to a connection. ACCEPT, CONNECT and CLOSE of one connection have the same addresses and ports. */
export interface ConnectionFact {
  readonly operation: 'CONNECT' | 'ACCEPT' | 'CLOSE' | 'CONNECT_FAILED';
  readonly errno: string | null;
  readonly localAddress: string | null;
  readonly localPort: number | null;
  readonly remoteAddress: string | null;
  readonly remotePort: number | null;
  /** Of CLOSE, in decimal; null if unknown. */
  readonly sentBytes: string | null;
  readonly receivedBytes: string | null;
}

/** A system call returned, `count` times. */
export interface SyscallFact {
  readonly name: string;
  /** The schema's SyscallAbi. Null in old history. */
  readonly abi: string | null;
  /** What tells calls of this name apart (linux/call-arguments.ts). Null for other calls, and where it was not captured. */
  readonly argument: number | null;
  readonly count: number;
  /** How many of these failed. */
  readonly errors: number;
}

/** A process exited. */
export interface ExitFact {
  /** Null if a signal killed it. */
  readonly exitCode: number | null;
  readonly signal: string | null;
}

/** A process used privileges, or an attempt failed. */
export interface PrivilegeFact {
  /** The system call, as in strace. */
  readonly call: string;
  /** Which of the call's commands: "PTRACE_ATTACH". Null for a call that has none. */
  readonly command: string | null;
  /** Why it failed. */
  readonly errno: string | null;
  /** Comm of the process that it was done to. */
  readonly target: string | null;
}

/** The kernel checked for a capability, `count` times. */
export interface CapabilityFact {
  readonly capability: string;
  /** Whether the process had it. */
  readonly granted: boolean;
  readonly count: number;
  /** The system call; null if it was in none. */
  readonly call: string | null;
  /** Depth of the user namespace in which it was needed; 0 is the initial one. */
  readonly level: number;
}

/** DNS was asked for a name, or has answered. */
export interface NameFact {
  readonly operation: 'QUERY' | 'RESPONSE';
  /** Null for a message without one. */
  readonly name: string | null;
  readonly type: string | null;
  /** Of a response. */
  readonly rcode: string | null;
  /** Of a response, and if captured. */
  readonly addresses: readonly string[];
}

/** A seccomp filter refused a system call. */
export interface RefusalFact {
  /** The system call, as in strace. */
  readonly name: string;
  /** What tells calls of this name apart (linux/call-arguments.ts). Null for other calls, and where it was not read. */
  readonly argument: number | null;
  /** What the filter did. */
  readonly action: RefusalAction;
  /** The error that the caller got; null if the call did not return, or pretended success. */
  readonly errno: string | null;
}

/** The kinds of facts. */
export interface ReportFacts {
  readonly programs: ProgramFact;
  readonly files: FileFact;
  readonly changes: ChangeFact;
  readonly listens: ListenFact;
  readonly devices: DeviceFact;
  readonly network: ConnectionFact;
  readonly syscalls: SyscallFact;
  readonly exits: ExitFact;
  readonly privileges: PrivilegeFact;
  readonly capabilities: CapabilityFact;
  readonly names: NameFact;
  readonly refusals: RefusalFact;
}

export type FactKind = keyof ReportFacts;
export type SectionName = keyof ReportSections;

/** The sections that facts of a kind are counted in; none for what only advice reads. */
export const sectionsOf = {
  programs: ['programs'],
  files: ['filesRead', 'filesWritten', 'failedOpens'],
  changes: [],
  listens: [],
  devices: [],
  network: ['peers', 'listeningPorts'],
  syscalls: ['syscalls'],
  exits: ['exits'],
  privileges: ['privileges'],
  capabilities: ['capabilities'],
  names: ['dnsNames'],
  refusals: ['refusedCalls'],
} as const satisfies Readonly<Record<FactKind, readonly SectionName[]>>;

/** An option of a tracker that can exclude events from a report. */
export interface Restriction {
  readonly option: string;
  /** Whether this value of it excludes events. */
  readonly applies: (value: unknown) => boolean;
  /** What is excluded, as a sentence without its full stop: "opens that succeed are excluded". */
  readonly says: string;
  /** The sections that lack something then. Default: all that the tracker feeds. */
  readonly sections?: readonly SectionName[];
}

/** What a tracker contributes to reports. */
export interface ReportFeed<Kind extends FactKind = FactKind, Event extends TraceEvent = TraceEvent> {
  /** The kind of its facts. */
  readonly feeds: Kind;
  /** The on-demand fields that `read` reads: a report demands them. Default: none. */
  readonly demand?: readonly string[];
  /**
   * The fact that an event is; null for an event that is none. Called for each event of the tracker, and of no other (so that its
   * parameter may be of this tracker's event type). Pure; must not throw.
   */
  read(event: Event): ReportFacts[Kind] | null;
  /**
   * The fields from which `read` makes what advice takes of a fact. A store gives events that do not differ in these as one, with the
   * others missing, so that `read` must bear that. Default: all fields.
   */
  readonly alike?: readonly AlikeField[];
  /** Options that exclude events. Default: none. */
  readonly restricting?: readonly Restriction[];
  /** Options that, when true, add events which the tracker leaves out by default. Default: none. */
  readonly extending?: readonly string[];
  /** Options, besides `every`, that neither exclude nor add events, whatever they are set to. Default: none. */
  readonly neutral?: readonly string[];
  /**
   * Trackers that observe the same, at a lower cost. In a session that also runs one of them, this tracker's events are not counted: they
   * would be counted twice. Default: none.
   */
  readonly supersededBy?: readonly string[];
}

/** A feed of each kind, so that its kind tells what it reads. */
export type ReportFeeds<Event extends TraceEvent = TraceEvent> = {
  readonly [Kind in FactKind]: ReportFeed<Kind, Event>;
};

export type AnyReportFeed<Event extends TraceEvent = TraceEvent> = ReportFeeds<Event>[FactKind];

/** The feeds whose events count in a session with these trackers: of two that observe the same, one. */
export function feedsOf<Feed extends Pick<ReportFeed, 'supersededBy'>>(
  feeds: ReadonlyMap<string, Feed>,
  trackers: readonly string[],
): (readonly [string, Feed])[] {
  return trackers.flatMap((name) => {
    const feed = feeds.get(name);
    return feed && !feed.supersededBy?.some((other) => trackers.includes(other)) ? [[name, feed] as const] : [];
  });
}
