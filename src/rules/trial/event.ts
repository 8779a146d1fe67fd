import type { ConfigFile, Path } from '../../base/config-file.js';
import { messageOf, type EunomiaError } from '../../base/errors.js';
import { sha256 } from '../../base/hash.js';
import { isShared, type CatalogField } from '../../catalog/catalog.js';
import { nanosecondsSince1970, wallTime } from '../../event/clock.js';
import type { TraceEvent } from '../../event/event.js';
import type { ProcessAt } from '../../event/lineage.js';
import type { RuleContext } from '../compile.js';
import type { TestProcesses } from './process.js';

export interface TestContext extends RuleContext {
  /** The lineage of the catalog. */
  readonly processes: TestProcesses;
  /**
   * Makes the event of a line of a recording, checked by the types of the schema; fields that the line lacks are undefined. Throws an Error
   * whose `at` is the path of the field.
   */
  readonly revive: (line: Readonly<Record<string, unknown>>) => TraceEvent;
}

type Fields = Readonly<Record<string, unknown>>;

const FIRST = '2026-01-31T08:15:30.000000000Z';
const UPTIME_NS = 3_600_000_000_000n;
/** Before the first event, where a test does not say when its processes started. */
const AGE_NS = 60_000_000_000n;
const MAX_AFTER_MS = 366 * 24 * 3_600_000;
/** From the first event of a test to its last one: what counts nanoseconds since boot counts no more than 584 years. */
const MAX_YEARS = 100;
const YEAR_NS = 366n * 24n * 3_600n * 1_000_000_000n;
/** Processes start before the first event, and the machine before them. */
const EARLIEST = '1970-01-01T01:00:00Z';
const LATEST = '9999-12-31T23:59:59Z';
const FIRST_PID = 1001;
const HOST_MOUNT_NS = '4026531841';
const MAX_COMM = 15;
const MAX_ANCESTORS = 32;
/** Of a process, beside what events have of it. */
const ofProgram = ['executable', 'executableDeleted', 'args', 'cwd'] as const;
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/;

/** What is known of a process so far, as events have it. */
interface Facts extends ProcessAt {
  readonly startTime: string;
  readonly parent: Facts | null;
  /** As an event before has it. */
  readonly container: unknown;
}

/** Makes the events of one test, in their order, of what is written in a file. */
export class TrialEvents {
  readonly #context: TestContext;
  readonly #file: ConfigFile;
  /** By the pid: what events of it go on with. */
  readonly #known = new Map<number, Facts>();
  #nextPid = FIRST_PID;
  /** Of the event before, and of the boot, in ns since 1970. */
  #time: { readonly ns: bigint; readonly bootNs: bigint } | null = null;

  constructor(context: TestContext, file: ConfigFile) {
    this.#context = context;
    this.#file = file;
  }

  /** Throws BAD_RULES with the place. */
  write(value: unknown, path: Path): TraceEvent {
    const file = this.#file;
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw file.fail(path, 'is to be an event: a mapping with tracker and fields of its events');
    const given = value as Fields;
    const name = file.text(given['tracker'], [...path, 'tracker'], 'exec');
    const tracker = file.at([...path, 'tracker'], () => this.#context.catalog.need(name));
    const own = tracker.fields.filter((field) => !isShared(field.path));
    const usual = ['after', 'tracker', 'time', 'process', 'container'];
    for (const field of Object.keys(given))
      if (!usual.includes(field) && !own.some((one) => one.path === field)) throw this.#unknown(field, name, path);
    const { ns, bootNs } = this.#timeOf(given, path);
    const written = Object.fromEntries(own.map((field) => [field.path, valueOf(field, given[field.path])]));
    // Before what the process is from then on is taken from them.
    this.#revived({ tracker: name, ...written }, path);
    const container = this.#container(given, tracker.fields, path);
    const process = this.#process(given, container, { tracker: name, bootNs }, path);
    const line = {
      tracker: name,
      time: timeText(ns),
      bootNs: String(ns - bootNs),
      cgroupId: container ? container['cgroupId'] : '1',
      container,
      ...written,
      process: { ...process.facts, tid: process.tid, ppid: process.ppid },
      ...(name === 'exec' && ofExec(given, process.facts)),
    };
    const event = this.#revived(line, path);
    for (const { path: field } of own) if (Reflect.get(event, field) === undefined) Reflect.set(event, field, null);
    this.#context.processes.add(event, process.facts);
    return event;
  }

  #unknown(field: string, tracker: string, path: Path): EunomiaError {
    const at = [...path, field];
    if (field === 'bootNs' || field === 'cgroupId')
      return this.#file.failKey(at, field === 'bootNs' ? 'follows from `after` or `time`' : 'follows from `container`');
    try {
      this.#context.catalog.checkField(field, [tracker], 'event');
    } catch (error) {
      return this.#file.failKey(at, messageOf(error).replace(/^event: /, ''));
    }
    return this.#file.failKey(at, `is not written in an event of a test`);
  }

  #timeOf(given: Fields, path: Path): { readonly ns: bigint; readonly bootNs: bigint } {
    const file = this.#file;
    const at = [...path, 'time'];
    if (given['after'] !== undefined && given['time'] !== undefined)
      throw file.failKey(at, 'does not go together with `after`; write one of them');
    const before = this.#time;
    let ns: bigint;
    if (given['time'] === undefined) {
      const after = file.duration(given['after'] ?? (before ? '1ms' : '0s'), [...path, 'after'], 0, MAX_AFTER_MS);
      ns = (before?.ns ?? nanosecondsSince1970(FIRST)) + BigInt(after) * 1_000_000n;
    } else {
      const text = typeof given['time'] === 'string' ? paddedTime(given['time']) : null;
      if (text === null) throw file.fail(at, 'is to be a time like 2026-01-31T08:15:30.5Z');
      ns = nanosecondsSince1970(text);
      if (before && ns < before.ns)
        throw file.fail(at, `goes back: the event before it is at ${timeText(before.ns)}; write events in their order`);
    }
    const bootNs = before?.bootNs ?? ns - UPTIME_NS;
    // Of many steps the sum is at fault, and none of them.
    const written = ['time', 'after'].find((name) => given[name] !== undefined);
    const place = written === undefined ? path : [...path, written];
    if (ns < nanosecondsSince1970(EARLIEST) || ns > nanosecondsSince1970(LATEST))
      throw file.fail(
        place,
        `the event is not between ${EARLIEST} and ${LATEST}, with all \`after\` of the events before it`,
      );
    if (ns - bootNs - UPTIME_NS > BigInt(MAX_YEARS) * YEAR_NS)
      throw file.fail(
        place,
        `the event is more than ${MAX_YEARS} years after the first one, with all \`after\` of those between`,
      );
    this.#time = { ns, bootNs };
    return this.#time;
  }

  /** As a recording has it: with all of its fields. */
  #container(given: Fields, fields: readonly CatalogField[], path: Path): Fields | null {
    const file = this.#file;
    const at = [...path, 'container'];
    const written = given['container'] === undefined ? this.#containerBefore(given) : given['container'];
    if (written === undefined || written === null) return null;
    const prefix = 'container.';
    const own = fields.filter((field) => field.path.startsWith(prefix));
    const name = (field: CatalogField): string => field.path.slice(prefix.length);
    const container = file.fields(written, at, [...own.map(name), 'labels', 'pod']);
    const hash = sha256(JSON.stringify(container['name'] ?? container));
    const { labels, pod = null } = container;
    return {
      ...Object.fromEntries(own.map((field) => [name(field), valueOf(field, container[name(field)])])),
      id: container['id'] ?? hash,
      runtime: container['runtime'] ?? 'docker',
      state: container['state'] ?? 'RUNNING',
      cgroupId: String(container['cgroupId'] ?? Number.parseInt(hash.slice(0, 8), 16)),
      labels: labelsOf(labels),
      pod: isMapping(pod) ? { ...pod, uid: pod['uid'] ?? null, labels: labelsOf(pod['labels']) } : pod,
    };
  }

  /** That of the process of this pid, as an event before has it. */
  #containerBefore({ process }: Fields): unknown {
    const pid: unknown = isMapping(process) ? process['pid'] : undefined;
    return typeof pid === 'number' ? this.#known.get(pid)?.container : undefined;
  }

  #process(
    given: Fields,
    container: Fields | null,
    { tracker, bootNs }: { readonly tracker: string; readonly bootNs: bigint },
    path: Path,
  ): { readonly facts: Facts; readonly tid: unknown; readonly ppid: number } {
    const at = [...path, 'process'];
    const written = this.#file.fields(given['process'] ?? {}, at, [...ofProcess, 'tid', 'ancestors']);
    const failed = given['errno'] !== undefined && given['errno'] !== null;
    const executed = tracker === 'exec' && !failed;
    const program: Fields = executed
      ? {
          ...Object.fromEntries(ofProgram.map((name) => [name, written[name] ?? given[name]])),
          file: written['executable'] ?? given['executable'] ?? given['filename'],
        }
      : {};
    const mountNs = container && String(4_026_532_000 + Number.parseInt(String(container['id']).slice(-5), 16));
    const ancestors = this.#file.list(written['ancestors'], [...at, 'ancestors']);
    if (ancestors.length > MAX_ANCESTORS)
      throw this.#file.fail(
        [...at, 'ancestors'],
        `there are ${ancestors.length}; at most ${MAX_ANCESTORS} are allowed`,
      );
    const usual = { tracker, bootNs, mountNs: mountNs || HOST_MOUNT_NS };
    let parent: Facts | null | undefined = written['ancestors'] && ancestors.length === 0 ? null : undefined;
    // The oldest first: what is known of its own ancestors goes on.
    for (let i = ancestors.length - 1; i >= 0; i--) {
      const place = [...at, 'ancestors', i];
      const ancestor = this.#file.fields(ancestors[i], place, ofProcess);
      parent = this.#facts(ancestor, {}, parent, usual, place);
    }
    const facts = this.#facts(written, program, parent, { ...usual, container }, at);
    return { facts, tid: written['tid'] ?? facts.pid, ppid: facts.ppid };
  }

  /** `program`: what it executes with this event. `parent`: undefined where none is written. */
  #facts(
    written: Fields,
    program: Fields,
    parent: Facts | null | undefined,
    usual: {
      readonly tracker: string;
      readonly bootNs: bigint;
      readonly mountNs: string;
      readonly container?: unknown;
    },
    at: Path,
  ): Facts {
    const pid: unknown = written['pid'] ?? this.#freshPid();
    const known = written['pid'] === undefined ? undefined : this.#known.get(pid as number);
    const startTime = written['startTime'] === undefined ? undefined : timeOf(written['startTime']);
    const before = startTime === undefined || known?.startTime === startTime ? known : undefined;
    const of = parent === undefined ? (before?.parent ?? null) : parent;
    const started = startTime ?? before?.startTime ?? timeText(usual.bootNs + UPTIME_NS - AGE_NS);
    const executable = program['executable'] ?? written['executable'] ?? before?.executable ?? null;
    const named = program['file'] ?? (before ? undefined : written['executable']);
    const comm = typeof named === 'string' ? named.slice(named.lastIndexOf('/') + 1).slice(0, MAX_COMM) : undefined;
    // What events have of a process is checked as theirs.
    const line = {
      pid,
      tid: pid,
      ppid: written['ppid'] ?? of?.pid ?? before?.ppid ?? 1,
      uid: written['uid'] ?? before?.uid ?? 0,
      gid: written['gid'] ?? before?.gid ?? 0,
      comm: written['comm'] ?? comm ?? before?.comm ?? 'process',
      startTime: started,
      mountNs: written['mountNs'] === undefined ? (before?.mountNs ?? usual.mountNs) : wide(written['mountNs']),
    };
    const { process } = this.#revived({ tracker: usual.tracker, process: line }, at.slice(0, -1), at);
    const facts: Facts = {
      ...process,
      startNs: Number(nanosecondsSince1970(process.startTime) - usual.bootNs),
      executable: this.#text(executable, [...at, 'executable']),
      executableDeleted: this.#flag(
        program['executableDeleted'] ??
          written['executableDeleted'] ??
          before?.executableDeleted ??
          (executable === null ? null : false),
        [...at, 'executableDeleted'],
      ),
      args: this.#texts(program['args'] ?? written['args'] ?? before?.args ?? null, [...at, 'args']),
      cwd: this.#text(program['cwd'] ?? written['cwd'] ?? before?.cwd ?? null, [...at, 'cwd']),
      parent: of,
      container: usual.container === undefined ? before?.container : usual.container,
    };
    this.#known.set(facts.pid, facts);
    return facts;
  }

  /** Of a process that is written without a pid: one of its own. */
  #freshPid(): number {
    while (this.#known.has(this.#nextPid)) this.#nextPid++;
    return this.#nextPid++;
  }

  /** `process`: where the fields of the line's process are written. */
  #revived(line: Fields, path: Path, process: Path = [...path, 'process']): TraceEvent {
    try {
      return this.#context.revive(line);
    } catch (error) {
      const at: unknown = error instanceof Error ? Reflect.get(error, 'at') : undefined;
      if (typeof at !== 'string') throw error;
      const parts = [...at.matchAll(/[^.[\]]+/g)].map(([part]) => (/^\d+$/.test(part) ? Number(part) : part));
      const [first, ...rest] = parts;
      const place = first === 'process' ? [...process, ...rest] : [...path, ...parts];
      throw this.#file.fail(place, messageOf(error).replace(/^"[^"]*" /, ''));
    }
  }

  #text(value: unknown, path: Path): string | null {
    if (value === null || typeof value === 'string') return value;
    throw this.#file.fail(path, 'is to be a text or null');
  }

  #flag(value: unknown, path: Path): boolean | null {
    if (value === null || typeof value === 'boolean') return value;
    throw this.#file.fail(path, 'is to be true, false or null');
  }

  #texts(value: unknown, path: Path): readonly string[] | null {
    if (value === null || (Array.isArray(value) && value.every((item) => typeof item === 'string'))) return value;
    throw this.#file.fail(path, 'is to be a list of texts, or null; put numbers in quotes');
  }
}

const ofProcess = ['pid', 'startTime', 'ppid', 'uid', 'gid', 'comm', 'mountNs', ...ofProgram];

/** Of an exec that succeeded, what it executes is what the process is from then on. */
function ofExec(given: Fields, facts: Facts): Fields {
  if (given['errno'] !== undefined && given['errno'] !== null) return {};
  return {
    ...Object.fromEntries(ofProgram.map((name) => [name, given[name] === undefined ? facts[name] : given[name]])),
    parentComm: given['parentComm'] === undefined ? (facts.parent?.comm ?? null) : given['parentComm'],
  };
}

/** As JSON has it. What is left out is null or, where the schema has no null, what nothing of it would be. */
function valueOf({ valueType: { kind, list, nullable }, type }: CatalogField, given: unknown): unknown {
  if (given === undefined) {
    if (nullable) return null;
    if (list) return [];
    if (kind === 'BOOLEAN') return false;
    if (kind === 'TEXT') return '';
    return kind === 'INTEGER' || kind === 'NUMBER' ? (isWide(type) ? '0' : 0) : undefined;
  }
  if (isWide(type)) return wide(given);
  return kind === 'TIME' ? timeOf(given) : given;
}

function isWide(type: string): boolean {
  return /^U?Int64!?$/.test(type);
}

/** Whole numbers of 64 bits may be written as numbers. */
function wide(value: unknown): unknown {
  return Number.isSafeInteger(value) ? String(value) : value;
}

function labelsOf(labels: unknown): unknown {
  return isMapping(labels) ? Object.entries(labels).map(([name, value]) => ({ name, value })) : (labels ?? []);
}

function isMapping(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** With all nine digits of a second; what is no time as it is. */
function timeOf<Value>(value: Value): Value | string {
  return (typeof value === 'string' ? paddedTime(value) : null) ?? value;
}

function paddedTime(text: string): string | null {
  const [, second = '', fraction = ''] = TIME.exec(text) ?? [];
  return second === '' || Number.isNaN(Date.parse(`${second}Z`)) ? null : `${second}.${fraction.padEnd(9, '0')}Z`;
}

function timeText(ns: bigint): string {
  return wallTime({ seconds: 0, nanoseconds: 0 }, Number(ns >> 32n), Number(ns & 0xffff_ffffn));
}
