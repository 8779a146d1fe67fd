/**
 * A behaviour report as clients receive it, and the comparison of two reports. Counts are decimal strings, because they
 * may exceed 2^53.
 */

/**
 * What is not listed in a section, because it exceeds the requested number or could not be distinguished. It is
 * counted, never silently omitted.
 */
export interface Other {
  /** Number of distinct entries; null if there were too many to count. */
  readonly entries: number | null;
  /** Number of events or calls. */
  readonly count: string;
}

/** Most frequent first. */
export interface Section<Entry> {
  readonly entries: readonly Entry[];
  readonly other: Other;
}

export interface ProgramEntry {
  /** The executable; for a failed attempt, the path as passed. */
  readonly path: string | null;
  /** Why it failed; null for programs that were executed. */
  readonly errno: string | null;
  readonly count: string;
  /** Some of its argument lists. */
  readonly args: readonly (readonly string[])[];
  /** Comms of some of its parents. */
  readonly parents: readonly string[];
}

export interface FileEntry {
  readonly path: string | null;
  readonly errno: string | null;
  readonly count: string;
  /** Comms of some of the processes. */
  readonly comms: readonly string[];
}

export type PeerDirection = 'OUT' | 'IN' | 'UNKNOWN';

export interface PeerEntry {
  readonly direction: PeerDirection;
  readonly address: string | null;
  /** For OUT the peer's port, for IN the local port. */
  readonly port: number | null;
  /** Why the connections failed; null for established ones. */
  readonly errno: string | null;
  readonly count: string;
  readonly sentBytes: string;
  readonly receivedBytes: string;
  readonly comms: readonly string[];
}

export interface PortEntry {
  readonly address: string | null;
  readonly port: number | null;
  readonly count: string;
  readonly comms: readonly string[];
}

export interface SyscallEntry {
  readonly name: string;
  readonly count: string;
  readonly errors: string;
}

export interface ExitEntry {
  readonly comm: string;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly count: string;
}

export interface PrivilegeEntry {
  readonly call: string;
  readonly command: string | null;
  readonly errno: string | null;
  readonly count: string;
  /** Comms of some of the processes. */
  readonly comms: readonly string[];
  /** Comms of some of the processes that it was done to. */
  readonly targets: readonly string[];
}

export interface CapabilityEntry {
  readonly capability: string;
  /** Number of checks. */
  readonly count: string;
  /** How many of these failed. */
  readonly denied: string;
  /** Comms of some of the processes. */
  readonly comms: readonly string[];
}

export interface DnsNameEntry {
  readonly name: string | null;
  /** Some of the types that it was asked for. */
  readonly types: readonly string[];
  /** Number of queries. */
  readonly count: string;
  readonly responses: string;
  /** How many of the responses have another code than NOERROR. */
  readonly failed: string;
  /** Some of these codes. */
  readonly failures: readonly string[];
  /** Comms of some of the processes. */
  readonly comms: readonly string[];
}

/** The schema's SeccompAction. */
export type RefusalAction = 'ERRNO' | 'ERRNO_OR_USER_NOTIF' | 'TRAP' | 'KILL_THREAD' | 'KILL_PROCESS' | 'STRICT';

export interface RefusedCallEntry {
  /** The system call, as in strace. */
  readonly name: string;
  /** What the filter did. */
  readonly action: RefusalAction;
  /** The error that callers got; null if the calls did not return, or pretended success. */
  readonly errno: string | null;
  readonly count: string;
  /** Comms of some of the callers. */
  readonly comms: readonly string[];
}

/** A section for which no tracker of the session provides data. */
export interface MissingSection {
  readonly section: string;
  /** The tracker that would provide the data. */
  readonly tracker: string;
  readonly problem: string;
}

/** What excluded events. */
export interface Exclusion {
  /** One of the report's `restrictions`. */
  readonly restriction: string;
  /** What is excluded, as a sentence without its full stop. */
  readonly excluded: string;
  /** What it was set to: CEL of a filter, else JSON. Two restrictions with one value exclude the same. */
  readonly value: string;
  /** Of whose events something is excluded. Absent: of those of all trackers. */
  readonly trackers?: readonly string[];
}

/** A section from which something excludes events. */
export interface RestrictedSection extends Omit<Exclusion, 'trackers'> {
  readonly section: keyof ReportSections;
}

export interface ReportSections {
  readonly programs: Section<ProgramEntry> | null;
  readonly filesRead: Section<FileEntry> | null;
  readonly filesWritten: Section<FileEntry> | null;
  readonly failedOpens: Section<FileEntry> | null;
  readonly peers: Section<PeerEntry> | null;
  readonly listeningPorts: Section<PortEntry> | null;
  readonly syscalls: Section<SyscallEntry> | null;
  readonly exits: Section<ExitEntry> | null;
  readonly privileges: Section<PrivilegeEntry> | null;
  readonly capabilities: Section<CapabilityEntry> | null;
  readonly dnsNames: Section<DnsNameEntry> | null;
  readonly refusedCalls: Section<RefusedCallEntry> | null;
}

/** A session that a report summarizes. */
export interface ReportedSession {
  readonly id: string;
  readonly trackers: readonly string[];
  /** When it was running: RFC 3339; `to` is null while it still is. */
  readonly from: string | null;
  readonly to: string | null;
}

export interface BehaviourReport extends ReportSections {
  /** Null for a time range. */
  readonly session: string | null;
  readonly sessions: readonly ReportedSession[];
  readonly container: { readonly id: string; readonly name: string | null; readonly image: string | null } | null;
  /** True: covers only events outside containers. */
  readonly host: boolean;
  readonly from: string | null;
  readonly to: string | null;
  readonly trackers: readonly string[];
  readonly events: string;
  readonly lost: string;
  readonly dropped: string;
  /** Whether events are missing that nobody counted. */
  readonly uncounted: boolean;
  /** Whether nothing is missing of what the trackers, with their options, saw of the subject. */
  readonly complete: boolean;
  /** What excludes events: "open.failedOnly", "session.where". */
  readonly restrictions: readonly string[];
  readonly restricted: readonly RestrictedSection[];
  /** Options that added events: "privilege.routine". A file of an older version does not say. */
  readonly extensions?: readonly string[];
  /**
   * Trackers that several of the sessions ran at the same time: events seen by more than one session are counted more
   * than once.
   */
  readonly doubled: readonly string[];
  readonly missing: readonly MissingSection[];
}

/** Something that only one of two reports contains. */
export interface Difference {
  readonly section: string;
  /** A human-readable description: "to 10.0.0.1 port 80". */
  readonly what: string;
  readonly count: string;
}

export interface ReportComparison {
  readonly added: readonly Difference[];
  readonly gone: readonly Difference[];
  /** Sections that only one of the reports has, so that they were not compared. */
  readonly notCompared: readonly string[];
  /** False if losses, unlisted entries or different restrictions may hide or cause a difference. */
  readonly certain: boolean;
}

type Describe<Entry> = (entry: Entry) => string;

const atPort = (port: number | null): string => (port === null ? '' : ` port ${port}`);
const because = (errno: string | null): string => (errno === null ? '' : ` (${errno})`);
const file: Describe<FileEntry> = ({ path, errno }) => `${path ?? 'a path that was not captured'}${because(errno)}`;

/** The identity of an entry, by which two reports are compared. */
export const describe: {
  readonly [Name in keyof ReportSections]: Describe<NonNullable<ReportSections[Name]>['entries'][number]>;
} = {
  programs: ({ path, errno }) => `${path ?? 'a path that was not captured'}${because(errno)}`,
  filesRead: file,
  filesWritten: file,
  failedOpens: file,
  peers: ({ direction, address, port, errno }) =>
    `${{ OUT: 'to', IN: 'from', UNKNOWN: 'with' }[direction]} ${address ?? 'no address'}${atPort(port)}${because(errno)}`,
  listeningPorts: ({ address, port }) => `${address ?? 'no address'}${atPort(port)}`,
  syscalls: ({ name }) => name,
  exits: ({ comm, exitCode, signal }) => `${comm} ${signal === null ? `with code ${exitCode}` : `by ${signal}`}`,
  privileges: ({ call, command, errno }) => `${command ?? call}${because(errno)}`,
  capabilities: ({ capability, denied }) => `${capability}${denied === '0' ? '' : ' (denied)'}`,
  dnsNames: ({ name }) => name ?? 'no name',
  refusedCalls: ({ name, action, errno }) => `${name} (${errno ?? action})`,
};

export const sections = Object.keys(describe) as (keyof ReportSections)[];

/** Returns what only `after` contains (added) and what only `before` contains (gone). */
export function compareReports(before: BehaviourReport, after: BehaviourReport): ReportComparison {
  const added: Difference[] = [];
  const gone: Difference[] = [];
  const notCompared: string[] = [];
  let certain = isWhole(before) && isWhole(after) && extensionsOf(before) === extensionsOf(after);
  for (const section of sections) {
    const old = entriesOf(before, section);
    const now = entriesOf(after, section);
    if (!old !== !now) notCompared.push(section);
    if (!old || !now) continue;
    certain &&= before[section]?.other.count === '0' && after[section]?.other.count === '0';
    certain &&= restrictionsOf(before, section) === restrictionsOf(after, section);
    for (const [what, count] of now) if (!old.has(what)) added.push({ section, what, count });
    for (const [what, count] of old) if (!now.has(what)) gone.push({ section, what, count });
  }
  return { added, gone, notCompared, certain };
}

/** Whether nothing is missing of what it was to have. A file of a version that did not say so may lack anything. */
function isWhole({ lost, dropped, uncounted }: BehaviourReport): boolean {
  return lost === '0' && dropped === '0' && uncounted === false;
}

/** By which options trackers told of more than by default. */
function extensionsOf({ extensions = [] }: BehaviourReport): string {
  return extensions.join();
}

/** What was excluded from a section: equal for two reports that looked at the same. */
function restrictionsOf({ restricted = [] }: BehaviourReport, name: keyof ReportSections): string {
  const own = restricted.filter(({ section }) => section === name);
  return JSON.stringify(own.map(({ restriction, value }) => [restriction, value]).sort());
}

function entriesOf(report: BehaviourReport, section: keyof ReportSections): Map<string, string> | null {
  const found = report[section];
  if (!found) return null;
  const tell = describe[section] as Describe<unknown>;
  return new Map(found.entries.map((entry) => [tell(entry), entry.count]));
}
