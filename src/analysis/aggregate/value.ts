import type { Bucket, FieldValue, TraceEvent } from '../../event/event.js';
import { textOf } from '../../event/value-text.js';
import { lineagePath, type Lineage } from '../../event/lineage.js';
import { compileField } from '../../catalog/catalog.js';
import type { Total } from './kernel-total.js';

/** What a group's key is made of: a list stands as its JSON. */
export type KeyValue = string | number | boolean | null;
export type KeyReader = (event: TraceEvent) => KeyValue;

/** Between 1 and 2: off by this factor at most from all that lie there. */
export const MIDDLE = Math.SQRT2;

const PLAIN = /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$/;

/**
 * Compiles a path, checked before by the catalog, into a reader. Generated code as in pipeline/view.ts: one closure for all paths
 * reads its properties megamorphically, which costs several times as much as the field itself.
 */
export function compileReader(path: string, lineage: Lineage | null = null): (event: TraceEvent) => FieldValue {
  const [first = '', second] = path.split('.');
  // A label's name is the client's text, and must not find what every object inherits.
  if (!PLAIN.test(path) || lineagePath(path) !== null) return compileField(path, lineage);
  const body = second === undefined ? `event.${first}` : `event.${first}?.${second}`;
  const compiled: unknown = new Function('event', `return ${body} ?? null`);
  return compiled as (event: TraceEvent) => FieldValue;
}

/** `mixed`: trackers differ in the field's type, so that only its text tells whether two values are one. */
export function compileKey(path: string, mixed: boolean, lineage: Lineage | null = null): KeyReader {
  const read = compileReader(path, lineage);
  if (mixed) return (event) => textOf(read(event));
  return (event) => {
    const value = read(event);
    return typeof value === 'object' && value !== null ? JSON.stringify(value) : (value as KeyValue);
  };
}

/** A histogram without a value is null. */
const valuesIn = (histogram: readonly Bucket[] | null): number =>
  (histogram ?? []).reduce((sum, { count }) => sum + Number(count), 0);

/** The value of a measured field in the event at hand: read and parsed once, however many measures take it. */
export class Cell {
  readonly #read: (event: TraceEvent) => FieldValue;
  readonly #totalOf: ((event: TraceEvent) => Total | null) | null;
  /** Whether the value is a total of all that the event stands for, and not the value of each. */
  total = false;
  /** The single values of a total, by power of two; null where there are none, or they are not known. */
  histogram: readonly Bucket[] | null = null;
  /** Of how many values a total is; null where all that the event stands for have one, and for what is no total. */
  #values: number | null = null;
  value: FieldValue = null;
  /** NaN when it is no number. Beyond 2^53 only `value`, a decimal text, is exact. */
  number = Number.NaN;

  constructor(read: (event: TraceEvent) => FieldValue, totalOf: ((event: TraceEvent) => Total | null) | null = null) {
    this.#read = read;
    this.#totalOf = totalOf;
  }

  load(event: TraceEvent): void {
    if (this.#totalOf) {
      const total = this.#totalOf(event);
      this.total = total !== null;
      this.histogram = total?.histogram?.(event) ?? null;
      if (total?.valuesOf) this.#values = total.valuesOf(event);
      else if (total?.histogram) this.#values = valuesIn(this.histogram);
      else this.#values = null;
    }
    this.set(this.#read(event));
  }

  set(value: FieldValue): void {
    this.value = value;
    if (typeof value === 'number') this.number = value;
    else if (typeof value === 'string' && value !== '') this.number = Number(value);
    else this.number = Number.NaN;
  }

  /** Of a number that a double holds, for measures that look at nothing else. */
  setNumber(number: number): void {
    this.value = null;
    this.number = number;
  }

  /** Of how many the value is: of a total those that have one, else the event's weight. */
  countOf(weight: number): number {
    return this.#values ?? weight;
  }

  /** Each single value of a total, as far as it is known, with how often it was there: the middle of its power of two, by their ratio. */
  forEach(take: (value: number, count: number) => void): void {
    for (const { from, count } of this.histogram ?? [])
      // Of 0 to 2, 1 to 2 tells.
      if (count !== '0') take(MIDDLE * Math.max(1, from), Number(count));
  }

  /** The whole number that it is, exactly; null for a fraction. */
  get big(): bigint | null {
    if (Number.isSafeInteger(this.number)) return BigInt(this.number);
    return typeof this.value === 'string' && /^-?\d+$/.test(this.value) ? BigInt(this.value) : null;
  }
}
