/** A report of behaviour as it reaches clients: plain data, and its comparison with another. Counts are decimal text, since they may pass 2^53 in JSON. */

/** What was not told apart, or is beyond the number that was asked for: it is counted, never silently cut. */
export interface Other {
  /** Different ones; null when there were too many to tell apart. */
  readonly entries: number | null;
  /** Events, or calls. */
  readonly count: string;
}

/** Most frequent first. */
export interface Section<Entry> {
  readonly entries: readonly Entry[];
  readonly other: Other;
}

export interface ProgramEntry {
  /** The executable; of a failed attempt, the path as it was passed. */
  readonly path: string | null;
  /** Why it failed; null for programs that ran. */
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
  /** Comms of some of those that did it. */
  readonly comms: readonly string[];
}

export type PeerDirection = 'OUT' | 'IN' | 'UNKNOWN';

export interface PeerEntry {
  readonly direction: PeerDirection;
  readonly address: string | null;
  /** The peer's port of OUT, this side's of IN. */
  readonly port: number;
  /** Why the connections failed; null for those that did not. */
  readonly errno: string | null;
  readonly count: string;
  readonly sentBytes: string;
  readonly receivedBytes: string;
  readonly comms: readonly string[];
}

export interface PortEntry {
  readonly address: string | null;
  readonly port: number;
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
  readonly exitCode: number;
  readonly signal: string | null;
  readonly count: string;
}

/** A section that no tracker of the session feeds. */
export interface MissingSection {
  readonly section: string;
  /** The tracker that would feed it. */
  readonly tracker: string;
  readonly reason: string;
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
}

/** A session whose events a report sums up. */
export interface ReportedSession {
  readonly id: string;
  readonly trackers: readonly string[];
  /** When it ran: RFC 3339; `to` is null while it runs. */
  readonly from: string | null;
  readonly to: string | null;
}

export interface BehaviourReport extends ReportSections {
  /** Null for a range of time. */
  readonly session: string | null;
  readonly sessions: readonly ReportedSession[];
  readonly container: { readonly id: string; readonly name: string | null; readonly image: string | null } | null;
  /** True: only what happened in no container. */
  readonly host: boolean;
  readonly from: string | null;
  readonly to: string | null;
  readonly trackers: readonly string[];
  readonly events: string;
  readonly lost: string;
  readonly dropped: string;
  readonly complete: boolean;
  /** Options of the session's trackers that leave events out: "open.failedOnly". */
  readonly restrictions: readonly string[];
  /** Trackers with which several of the sessions ran at the same time: what more than one saw is counted more than once. */
  readonly doubled: readonly string[];
  readonly missing: readonly MissingSection[];
}

/** One thing that only one of two reports has. */
export interface Difference {
  readonly section: string;
  /** What it is, in words: "connects to 10.0.0.1:80". */
  readonly what: string;
  readonly count: string;
}

export interface ReportComparison {
  readonly added: readonly Difference[];
  readonly gone: readonly Difference[];
  /** Sections that only one of them has, which therefore were not compared. */
  readonly notCompared: readonly string[];
  /** False when a loss, entries that were not told apart, or other options of the trackers may hide or make a difference. */
  readonly certain: boolean;
}

type Describe<Entry> = (entry: Entry) => string;

const because = (errno: string | null): string => (errno === null ? '' : ` (${errno})`);
const file: Describe<FileEntry> = ({ path, errno }) => `${path ?? 'a path that was not captured'}${because(errno)}`;

/** What makes an entry the same in two reports. */
export const describe: {
  readonly [Name in keyof ReportSections]: Describe<NonNullable<ReportSections[Name]>['entries'][number]>;
} = {
  programs: ({ path, errno }) => `${path ?? 'a path that was not captured'}${because(errno)}`,
  filesRead: file,
  filesWritten: file,
  failedOpens: file,
  peers: ({ direction, address, port, errno }) =>
    `${{ OUT: 'to', IN: 'from', UNKNOWN: 'with' }[direction]} ${address ?? 'no address'} port ${port}${because(errno)}`,
  listeningPorts: ({ address, port }) => `${address ?? 'no address'} port ${port}`,
  syscalls: ({ name }) => name,
  exits: ({ comm, exitCode, signal }) => `${comm} ${signal === null ? `with code ${exitCode}` : `by ${signal}`}`,
};

export const sections = Object.keys(describe) as (keyof ReportSections)[];

/** What is new in `after`, and what of `before` is no longer there. */
export function compareReports(before: BehaviourReport, after: BehaviourReport): ReportComparison {
  const added: Difference[] = [];
  const gone: Difference[] = [];
  const notCompared: string[] = [];
  let certain = before.complete && after.complete && String(before.restrictions) === String(after.restrictions);
  for (const section of sections) {
    const old = entriesOf(before, section);
    const now = entriesOf(after, section);
    if (!old !== !now) notCompared.push(section);
    if (!old || !now) continue;
    certain &&= before[section]?.other.count === '0' && after[section]?.other.count === '0';
    for (const [what, count] of now) if (!old.has(what)) added.push({ section, what, count });
    for (const [what, count] of old) if (!now.has(what)) gone.push({ section, what, count });
  }
  return { added, gone, notCompared, certain };
}

function entriesOf(report: BehaviourReport, section: keyof ReportSections): Map<string, string> | null {
  const found = report[section];
  if (!found) return null;
  const tell = describe[section] as Describe<unknown>;
  return new Map(found.entries.map((entry) => [tell(entry), entry.count]));
}
