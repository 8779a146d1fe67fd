import { createReadStream } from 'node:fs';
import type { GraphQLSchema } from 'graphql';
import { EunomiaError, messageOf } from '../base/errors.js';
import { firstAsked, readAsked, readAskedFrom, type Asked, type AskedFrom } from '../session/asked.js';
import type { TraceEvent } from '../event/event.js';
import { Reviver, shown, Unfit, type Recordable } from './revive.js';

/** The number in a recording's first line. Another one is another format. */
export const RECORDING = 1;

/** The session that was recorded, as the first line tells it. */
export interface RecordedSession {
  readonly id: string;
  readonly name: string | null;
  readonly labels: readonly { readonly name: string; readonly value: string }[];
  readonly trackers: readonly string[];
  /** Of the trackers, by name. */
  readonly options: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly startedAt: string | null;
  /** What was asked of it at first; null in a recording of a version that did not write it. */
  readonly asked: Asked | null;
  /** The filters of the exports that it came from, as CEL expressions: it has only what matches all of them. */
  readonly exported: readonly string[];
}

export type Entry =
  | { readonly kind: 'event'; readonly event: TraceEvent }
  /** So many events are missing here. */
  | { readonly kind: 'gap'; readonly from: string; readonly to: string; readonly missing: number }
  /** The session was changed here. */
  | { readonly kind: 'change'; readonly change: AskedFrom };

/** A line beyond it is none of ours: argv is 32 KiB at most, a path 4 KiB. */
const LONGEST_LINE = 8 << 20;
const NEWLINE = 10;

/** A file that `export` wrote as NDJSON, read line by line; of any length, in little memory. */
export class Recording {
  readonly file: string;
  readonly session: RecordedSession;
  /** What is wrong with its end, once it was read: it was cut. Null when it is whole. */
  problem: string | null = null;
  readonly #lines: AsyncGenerator<Line>;
  readonly #reviver: Reviver;

  private constructor(file: string, session: RecordedSession, lines: AsyncGenerator<Line>, reviver: Reviver) {
    this.file = file;
    this.session = session;
    this.#lines = lines;
    this.#reviver = reviver;
  }

  /** Reads the first line. Rejects with BAD_RECORDING when the file is none, or one that this build cannot replay. */
  static async open(file: string, schema: GraphQLSchema, trackers: readonly Recordable[]): Promise<Recording> {
    const lines = linesOf(file);
    try {
      const first = await lines.next();
      const head = first.done ? null : headOf(first.value, file);
      if (!head) throw bad(file, 1, 'the file is empty');
      const known = trackers.map(({ name }) => name);
      const unknown = head.trackers.filter((name) => !known.includes(name));
      if (unknown.length)
        throw bad(
          file,
          1,
          `it was recorded with the tracker ${unknown.join(', ')}, which this build does not have; it has ${known.join(', ')}`,
        );
      const recorded = trackers.filter(({ name }) => head.trackers.includes(name));
      return new Recording(file, head, lines, new Reviver(schema, recorded));
    } catch (error) {
      await lines.return(undefined);
      throw error;
    }
  }

  /** What comes behind the first line; can be read once. Rejects with BAD_RECORDING and the number of the line. */
  async *entries(): AsyncGenerator<Entry> {
    let ended = false;
    for await (const line of this.#lines) {
      if (ended)
        throw bad(
          this.file,
          line.number,
          'something follows the line {"end": …}: were two recordings joined? Replay them one by one',
        );
      const value = parsed(line);
      if (!value && line.last) {
        this.problem = `${this.file} ends in the middle of line ${line.number}: that line is lost, and what may have followed`;
        return;
      }
      if (!value) throw bad(this.file, line.number, `this is no JSON object: ${shown(line.text)}`);
      if ('end' in value) ended = true;
      else if ('change' in value) yield changeIn(value['change'], this.file, line.number);
      else if ('gap' in value) yield gapOf(value['gap'], this.file, line.number);
      else yield { kind: 'event', event: this.#event(value, line.number) };
    }
    if (!ended) this.problem = `${this.file} has no line {"end": …}: it was cut, or the export was not finished`;
  }

  async close(): Promise<void> {
    await this.#lines.return(undefined);
  }

  #event(value: Readonly<Record<string, unknown>>, number: number): TraceEvent {
    try {
      return this.#reviver.event(value);
    } catch (error) {
      throw error instanceof Unfit ? bad(this.file, number, error.message) : error;
    }
  }
}

interface Line {
  readonly text: string;
  /** From 1. */
  readonly number: number;
  /** No newline follows it. */
  readonly last: boolean;
}

async function* linesOf(file: string): AsyncGenerator<Line> {
  let number = 0;
  let rest: Buffer[] = [];
  let waiting = 0;
  try {
    for await (const part of createReadStream(file, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) {
      let from = 0;
      for (let to = part.indexOf(NEWLINE); to >= 0; to = part.indexOf(NEWLINE, from)) {
        const text = Buffer.concat([...rest, part.subarray(from, to)]).toString();
        rest = [];
        waiting = 0;
        from = to + 1;
        yield { text, number: ++number, last: false };
      }
      if (from < part.length) rest.push(part.subarray(from));
      waiting += part.length - from;
      if (waiting > LONGEST_LINE)
        throw bad(file, number + 1, `it is longer than ${LONGEST_LINE >> 20} MiB: this is no recording`);
    }
  } catch (error) {
    throw error instanceof EunomiaError
      ? error
      : new EunomiaError('BAD_RECORDING', `${file}: cannot be read: ${messageOf(error)}`, { cause: error });
  }
  if (rest.length) yield { text: Buffer.concat(rest).toString(), number: ++number, last: true };
}

function bad(file: string, line: number, why: string): EunomiaError {
  return new EunomiaError('BAD_RECORDING', `${file}, line ${line}: ${why}`, { details: { file, line } });
}

function parsed({ text }: Line): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function headOf(line: Line, file: string): RecordedSession {
  const head = parsed(line)?.['eunomia'];
  if (!isObject(head))
    throw bad(
      file,
      1,
      `this is no recording: it must begin with {"eunomia": …}, as \`eunomia export SESSION --format ndjson\` writes it`,
    );
  if (head['history'] !== undefined)
    throw bad(
      file,
      1,
      'the file has the events of a range of time; only the export of one session can be replayed: `eunomia export SESSION`',
    );
  if (head['recording'] !== RECORDING)
    throw bad(
      file,
      1,
      `the recording has the format ${shown(head['recording'])}, and this build reads ${RECORDING}: replay it ` +
        `with the Eunomia that wrote it (${shown(head['version'])})`,
    );
  const { session, fields, where } = head;
  if (fields !== null)
    throw bad(
      file,
      1,
      "the recording has only some of the events' fields, or is an aggregate; export it again without --fields and --group-by to replay it",
    );
  if (!isObject(session)) throw bad(file, 1, '"eunomia.session" is missing');
  const { id, name, labels, trackers, options, startedAt, spec, exported } = session;
  const isLabel = (label: unknown): boolean =>
    isObject(label) && typeof label['name'] === 'string' && typeof label['value'] === 'string';
  if (typeof id !== 'string') throw bad(file, 1, `"eunomia.session.id" is ${shown(id)}, not a text`);
  if (!Array.isArray(trackers) || trackers.length === 0 || !trackers.every((tracker) => typeof tracker === 'string')) {
    throw bad(file, 1, `"eunomia.session.trackers" is ${shown(trackers)}, not a list of trackers`);
  }
  const asked = readAsked(spec);
  return {
    id,
    name: typeof name === 'string' ? name : null,
    labels: Array.isArray(labels) && labels.every(isLabel) ? (labels as RecordedSession['labels']) : [],
    trackers,
    options: isObject(options)
      ? Object.fromEntries(
          Object.entries(options).filter((entry): entry is [string, Readonly<Record<string, unknown>>] =>
            isObject(entry[1]),
          ),
        )
      : {},
    startedAt: typeof startedAt === 'string' ? startedAt : null,
    asked: asked && firstAsked(asked),
    exported: [...(Array.isArray(exported) ? exported : []), where].filter((filter) => typeof filter === 'string'),
  };
}

function gapOf(gap: unknown, file: string, line: number): Entry {
  const { from, to, lost, dropped } = isObject(gap) ? gap : {};
  const isTime = (value: unknown): value is string =>
    typeof value === 'string' && /^.{19}\.\d{9}Z$/.test(value) && !Number.isNaN(Date.parse(value));
  const missing = Number(lost) + Number(dropped);
  if (!isTime(from) || !isTime(to) || !Number.isSafeInteger(missing) || missing < 0)
    throw bad(file, line, `"gap" is ${shown(gap)}; it needs from, to, lost and dropped`);
  return { kind: 'gap', from, to, missing };
}

function changeIn(value: unknown, file: string, line: number): Entry {
  const change = readAskedFrom(value);
  if (!change) throw bad(file, line, `"change" is ${shown(value)}; it needs at, input and where`);
  return { kind: 'change', change };
}
