import type { FieldValue, TraceEvent } from '../../event.js';
import { compileField } from '../../trackers/catalog.js';

/** What a group's key is made of: a list stands as its JSON. */
export type KeyValue = string | number | boolean | null;
export type KeyReader = (event: TraceEvent) => KeyValue;

const PLAIN = /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$/;

/**
 * Compiles a path, checked before by the catalog, into a reader. Generated code as in pipeline/view.ts: one closure for all paths
 * reads its properties megamorphically, which costs several times as much as the field itself.
 */
export function compileReader(path: string): (event: TraceEvent) => FieldValue {
  const [first = '', second] = path.split('.');
  // A label's name is the client's text, and must not find what every object inherits.
  if (!PLAIN.test(path)) return compileField(path);
  const body = second === undefined ? `event.${first}` : `event.${first}?.${second}`;
  const compiled: unknown = new Function('event', `return ${body} ?? null`);
  return compiled as (event: TraceEvent) => FieldValue;
}

/** `mixed`: trackers differ in the field's type, so that only its text tells whether two values are one. */
export function compileKey(path: string, mixed: boolean): KeyReader {
  const read = compileReader(path);
  if (mixed) return (event) => textOf(read(event));
  return (event) => {
    const value = read(event);
    return typeof value === 'object' && value !== null ? JSON.stringify(value) : (value as KeyValue);
  };
}

/** As it would stand in JSON, without quotes; a list as JSON. */
export function textOf(value: FieldValue): string | null {
  if (value === null) return null;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The value of a measured field in the event at hand: read and parsed once, however many measures take it. */
export class Cell {
  readonly #read: (event: TraceEvent) => FieldValue;
  value: FieldValue = null;
  /** NaN when it is no number. Beyond 2^53 only `value`, a decimal text, is exact. */
  number = Number.NaN;

  constructor(read: (event: TraceEvent) => FieldValue) {
    this.#read = read;
  }

  load(event: TraceEvent): void {
    this.set(this.#read(event));
  }

  set(value: FieldValue): void {
    this.value = value;
    if (typeof value === 'number') this.number = value;
    else if (typeof value === 'string' && value !== '') this.number = Number(value);
    else this.number = Number.NaN;
  }

  /** The whole number that it is, exactly; null for a fraction. */
  get big(): bigint | null {
    if (Number.isSafeInteger(this.number)) return BigInt(this.number);
    return typeof this.value === 'string' && /^-?\d+$/.test(this.value) ? BigInt(this.value) : null;
  }
}
