import type { Bucket, FieldValue, TraceEvent } from '../../event/event.js';
import type { CatalogTracker } from '../../catalog/catalog.js';
import { columnsOf, measurementOf, OWN_TAGS, SEQ, WIDE_SUFFIX, type PointColumn } from './column.js';
import { isInt64, listValue, tag, textValue } from './line.js';

/** Events between which two of the same nanosecond are told apart: the ring's order and the clock's differ by far less. */
const GENERATION = 1 << 16;

/**
 * Series and nanosecond are a point's identity: a second event of one session at the same nanosecond, as two CPUs make them, would
 * overwrite the first. It gets a number, 1 and up, for a tag of its own; the first gets 0 and no tag. A line that is
 * sent again stays equal.
 */
export class Twins {
  #recent = new Map<string, number>();
  #older = new Map<string, number>();

  numberOf(ns: string): number {
    const number = this.#recent.get(ns) ?? this.#older.get(ns) ?? 0;
    this.#recent.set(ns, number + 1);
    if (this.#recent.size >= GENERATION) {
      this.#older = this.#recent;
      this.#recent = new Map();
    }
    return number;
  }
}

let cachedPrefix = '';
let cachedSeconds = '';

/** "2026-01-31T08:15:30.123456789Z" → nanoseconds since 1970, in decimal. */
export function nanosecondsOf(time: string): string {
  const prefix = time.slice(0, 19);
  if (prefix !== cachedPrefix) {
    cachedSeconds = String(Date.parse(`${prefix}Z`) / 1000);
    cachedPrefix = prefix;
  }
  return cachedSeconds + time.slice(20, 29).replace('Z', '').padEnd(9, '0');
}

/** "1769847330123456789" → "2026-01-31T08:15:30.123456789Z". */
export function timeOfNanoseconds(ns: string): string {
  const seconds = Number(ns.slice(0, -9));
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${ns.slice(-9).padStart(9, '0')}Z`;
}

interface Root {
  readonly name: string;
  /** The rest of each path; empty for the root itself. */
  readonly columns: readonly { readonly key: string; readonly column: PointColumn }[];
}

/** The part of a line that holds one column; empty when there is no value. */
function fieldPart({ name, kind }: PointColumn, value: FieldValue): string {
  if (value === null) return '';
  if (kind === 'list')
    return `,${name}=${listValue(Array.isArray(value) ? (value as readonly (string | Bucket)[]) : [String(value)])}`;
  if (kind === 'text') return `,${name}=${textValue(String(value))}`;
  if (kind === 'boolean') return `,${name}=${value === true ? 'true' : 'false'}`;
  if (kind === 'number') return Number.isFinite(value) ? `,${name}=${String(value)}` : '';
  const decimal = String(value);
  return isInt64(decimal) ? `,${name}=${decimal}i` : `,${name}${WIDE_SUFFIX}="${decimal}"`;
}

/** Writes the events of one session's trackers as points. */
export class PointWriter {
  readonly #host: string;
  readonly #session: string;
  readonly #twins = new Twins();
  readonly #trackers: ReadonlyMap<string, readonly Root[]>;

  constructor({
    host,
    session,
    trackers,
  }: {
    readonly host: string;
    readonly session: string;
    readonly trackers: readonly CatalogTracker[];
  }) {
    this.#host = tag(OWN_TAGS.host, host);
    this.#session = tag(OWN_TAGS.session, session);
    this.#trackers = new Map(trackers.map((tracker) => [tracker.name, rootsOf(columnsOf(tracker))]));
  }

  /** The event's line, without its end. */
  lineOf(event: TraceEvent, seq: number): string {
    const ns = nanosecondsOf(event.time);
    const twin = this.#twins.numberOf(ns);
    let tags = `${this.#host}${this.#session}`;
    let fields = '';
    for (const { name, columns } of this.#trackers.get(event.tracker) ?? []) {
      const root = Reflect.get(event, name) as unknown;
      for (const { key, column } of columns) {
        const value = key === '' ? (root as FieldValue) : inside(root, key);
        if (column.kind === 'tag') tags += tag(column.name, value == null ? null : String(value));
        else fields += fieldPart(column, value ?? null);
      }
    }
    if (twin > 0) tags += tag(OWN_TAGS.twin, String(twin));
    return `${measurementOf(event.tracker)}${tags} ${SEQ}=${seq}i${fields} ${ns}`;
  }
}

function inside(root: unknown, key: string): FieldValue {
  return typeof root === 'object' && root !== null
    ? ((Reflect.get(root, key) as FieldValue | undefined) ?? null)
    : null;
}

/** Columns by the event's property that holds them: making the process of an event costs, so it is read once. */
function rootsOf(columns: readonly PointColumn[]): Root[] {
  const names = [...new Set(columns.map(({ path }) => path.split('.')[0] ?? path))];
  return names.map((name) => ({
    name,
    columns: columns
      .filter(({ path }) => path === name || path.startsWith(`${name}.`))
      .map((column) => ({ key: column.path.slice(name.length + 1), column })),
  }));
}
