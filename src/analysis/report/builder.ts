import type { Demand, TraceEvent } from '../../event/event.js';
import type {
  BehaviourReport,
  ExitEntry,
  FileEntry,
  MissingSection,
  ProgramEntry,
  ReportedSession,
  ReportSections,
  Section,
  SyscallEntry,
} from '../../event/report.js';
import { Network } from './network.js';
import { sample, Tally } from './tally.js';

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
  readonly known: readonly string[];
  /** What else leaves events out, as the report is to name it. */
  readonly narrowed: readonly string[];
}

/** A session that is summed up. */
export interface ReportSource extends ReportedSession {
  /** Of its trackers, by name. */
  readonly options: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Events that are missing; the report is complete when nothing is. */
export interface Losses {
  readonly lost: number;
  readonly dropped: number;
  /** Whether some are missing that nobody counted: the server was killed. */
  readonly uncounted: boolean;
}

interface Program {
  readonly path: string | null;
  readonly errno: string | null;
  readonly args: string[];
  readonly parents: string[];
}

interface Opened {
  readonly path: string | null;
  readonly errno: string | null;
  readonly comms: string[];
}

/** Options with which a tracker leaves events out. */
const restricting: Readonly<Record<string, (value: unknown) => boolean>> = {
  failed: (value) => value === false,
  failedOnly: (value) => value === true,
  writesOnly: (value) => value === true,
  only: Array.isArray,
  except: Array.isArray,
  operations: Array.isArray,
};

/** What it reads that is captured on demand, by tracker. */
export const reportDemand: Demand = new Map([
  ['exec', new Set(['executable', 'filename', 'args', 'parentComm'])],
  ['open', new Set(['path', 'resolved'])],
]);

// Of a program: lists of arguments that are shown as samples, and how much of each.
const MOST_LISTS = 20;
const MOST_ARGS = 32;
const LONGEST_ARG = 256;
/** Which tracker feeds which section. The last two have no tracker yet. */
const feeds: readonly (readonly [section: string, trackers: readonly string[]])[] = [
  ['programs', ['exec']],
  ['filesRead', ['open']],
  ['filesWritten', ['open']],
  ['failedOpens', ['open']],
  ['peers', ['tcp']],
  ['listeningPorts', ['tcp']],
  ['syscalls', ['syscount', 'syscall']],
  ['exits', ['exit']],
  ['dnsNames', ['dns']],
  ['capabilities', ['capability']],
];
const WRITES: ReadonlySet<string> = new Set(['O_WRONLY', 'O_RDWR', 'O_TRUNC']);

// What is read here of each tracker's events, as schema.graphql has it.

interface ExecEvent extends TraceEvent {
  readonly executable: string | null;
  readonly filename: string | null;
  readonly errno: string | null;
  readonly args: readonly string[] | null;
  readonly parentComm: string | null;
}

interface OpenEvent extends TraceEvent {
  readonly resolved: string | null;
  readonly path: string | null;
  readonly errno: string | null;
  readonly flags: readonly string[];
}

interface ExitEvent extends TraceEvent {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

interface SyscountEvent extends TraceEvent {
  readonly name: string;
  readonly count: string;
  readonly errors: string;
}

interface SyscallEvent extends TraceEvent {
  readonly name: string;
  readonly errno: string | null;
}

/** Sums up behaviour from events, one by one and session by session, in bounded memory. Pure. */
export class ReportBuilder {
  readonly #subject: ReportSubject;
  readonly #programs = new Tally<Program>();
  readonly #read = new Tally<Opened>();
  readonly #written = new Tally<Opened>();
  readonly #failed = new Tally<Opened>();
  readonly #syscalls = new Tally<{ readonly name: string; errors: number }>();
  readonly #exits = new Tally<Omit<ExitEntry, 'count'>>();
  readonly #network = new Network();
  readonly #sources: ReportSource[] = [];
  /** Of the session that is read, whether its calls come as sums too. */
  #summed = false;
  readonly #takers: Readonly<Record<string, (event: never) => void>> = {
    exec: (event: ExecEvent) => this.#exec(event),
    open: (event: OpenEvent) => this.#open(event),
    exit: (event: ExitEvent) => this.#exit(event),
    syscall: (event: SyscallEvent) => this.#syscall(event),
    syscount: (event: SyscountEvent) => this.#syscount(event),
    tcp: (event: TraceEvent) => this.#network.add(event),
  };
  #events = 0;
  #first: string | null = null;
  #last: string | null = null;

  constructor(subject: ReportSubject) {
    this.#subject = subject;
  }

  /** The events that follow are of this session. */
  begin(source: ReportSource): void {
    this.#sources.push(source);
    this.#summed = source.trackers.includes('syscount');
  }

  /** Whether the event is of the report's subject and time. */
  takes({ time, container }: TraceEvent): boolean {
    const { from, to, host, container: wanted } = this.#subject;
    if ((from !== null && time < from) || (to !== null && time >= to)) return false;
    if (host) return container === null;
    return wanted === null || (container !== null && Reflect.get(container, 'id') === wanted.id);
  }

  add(event: TraceEvent): void {
    if (!this.takes(event)) return;
    this.#events++;
    if (this.#first === null || event.time < this.#first) this.#first = event.time;
    if (this.#last === null || event.time > this.#last) this.#last = event.time;
    this.#takers[event.tracker]?.(event as never);
  }

  /** `top`: entries of a section at most; the rest is summed up. */
  build(top: number, { lost, dropped, uncounted }: Losses): BehaviourReport {
    const { session, container, host, from, to } = this.#subject;
    const trackers = this.#trackers();
    const of = <Made>(tracker: string, make: () => Made, other = tracker): Made | null =>
      trackers.includes(tracker) || trackers.includes(other) ? make() : null;
    const files = (tally: Tally<Opened>): Section<FileEntry> =>
      tally.section(top, (entry, count) => ({ ...entry, count }));
    const sections: ReportSections = {
      programs: of('exec', () =>
        this.#programs.section(top, ({ args, ...entry }, count): ProgramEntry => ({
          ...entry,
          count,
          args: args.map((text) => JSON.parse(text) as string[]),
        })),
      ),
      filesRead: of('open', () => files(this.#read)),
      filesWritten: of('open', () => files(this.#written)),
      failedOpens: of('open', () => files(this.#failed)),
      peers: of('tcp', () => this.#network.peers(top)),
      listeningPorts: of('tcp', () => this.#network.ports(top)),
      syscalls: of(
        'syscount',
        () =>
          this.#syscalls.section(top, ({ name, errors }, count): SyscallEntry => ({
            name,
            count,
            errors: String(errors),
          })),
        'syscall',
      ),
      exits: of('exit', () => this.#exits.section(top, (entry, count): ExitEntry => ({ ...entry, count }))),
    };
    return {
      session,
      sessions: this.#sources.map(({ options: _options, ...source }) => source),
      container,
      host,
      from: from ?? this.#first,
      to: to ?? this.#last,
      trackers,
      events: String(this.#events),
      lost: String(lost),
      dropped: String(dropped),
      complete: lost === 0 && dropped === 0 && !uncounted,
      restrictions: this.#restrictions(),
      doubled: this.#doubled(),
      ...sections,
      missing: this.#missing(trackers),
    };
  }

  #trackers(): string[] {
    return [...new Set(this.#sources.flatMap(({ trackers }) => trackers))];
  }

  #restrictions(): string[] {
    const options = this.#sources.flatMap((source) =>
      source.trackers.flatMap((tracker) =>
        Object.entries(source.options[tracker] ?? {})
          .filter(([name, value]) => restricting[name]?.(value))
          .map(([name]) => `${tracker}.${name}`),
      ),
    );
    return [...new Set([...options, ...this.#subject.narrowed])];
  }

  #doubled(): string[] {
    const together = (a: ReportSource, b: ReportSource): boolean =>
      (a.to === null || b.from === null || b.from < a.to) && (b.to === null || a.from === null || a.from < b.to);
    return this.#trackers().filter((tracker) => {
      const sources = this.#sources.filter(({ trackers }) => trackers.includes(tracker));
      return sources.some((source, i) => sources.slice(i + 1).some((other) => together(source, other)));
    });
  }

  #missing(trackers: readonly string[]): MissingSection[] {
    const { session, known } = this.#subject;
    return feeds.flatMap(([section, names]) => {
      if (names.some((name) => trackers.includes(name))) return [];
      const [tracker = ''] = names;
      const without =
        session === null
          ? `no session that was read ran with the tracker ${tracker}`
          : `the session ran without the tracker ${tracker}`;
      const reason = `not observed: ${known.includes(tracker) ? without : `this build has no tracker ${tracker}`}`;
      return [{ section, tracker, reason }];
    });
  }

  #exec({ executable, filename, errno, args, parentComm }: ExecEvent): void {
    const path = errno === null ? (executable ?? filename) : filename;
    const program = this.#programs.add(`${path} ${errno}`, () => ({ path, errno, args: [], parents: [] }));
    if (!program) return;
    if (args)
      sample(
        program.args,
        JSON.stringify(args.slice(0, MOST_ARGS).map((arg) => arg.slice(0, LONGEST_ARG))),
        MOST_LISTS,
      );
    if (parentComm !== null) sample(program.parents, parentComm);
  }

  #open({ resolved, path: passed, errno, flags, process }: OpenEvent): void {
    const path = resolved ?? passed;
    const count = (tally: Tally<Opened>): void => {
      const opened = tally.add(`${path} ${errno}`, () => ({ path, errno, comms: [] }));
      if (opened) sample(opened.comms, process.comm);
    };
    if (errno !== null) return count(this.#failed);
    if (flags.includes('O_PATH')) return; // a name only: nothing can be read or written through it
    if (flags.some((flag) => WRITES.has(flag))) count(this.#written);
    if (!flags.includes('O_WRONLY')) count(this.#read);
  }

  #exit({ exitCode, signal, process: { comm } }: ExitEvent): void {
    this.#exits.add(`${comm} ${exitCode} ${signal}`, () => ({ comm, exitCode, signal }));
  }

  #syscall({ name, errno }: SyscallEvent): void {
    // Both see each call.
    if (this.#summed) return;
    const entry = this.#syscalls.add(name, () => ({ name, errors: 0 }));
    if (entry && errno !== null) entry.errors++;
  }

  #syscount({ name, count, errors }: SyscountEvent): void {
    const entry = this.#syscalls.add(name, () => ({ name, errors: 0 }), Number(count));
    if (entry) entry.errors += Number(errors);
  }
}
