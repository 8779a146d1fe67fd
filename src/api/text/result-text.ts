import type { ExecutionResult } from 'graphql';
import type { Work } from '../../base/turn.js';

/** Entries of a list that are written in one piece. */
const PIECE = 64;
/** Characters of one part. To join, encode and copy a text of megabytes are long pieces, each of them. */
const PART = 64 << 10;

/** The text of a result: one string where it is short, and parts encoded as UTF-8 where it is long. */
export type ResultText = string | readonly Buffer[];

/** A result as JSON, in pieces: a page of events may be tens of megabytes. The same text as `JSON.stringify` makes. */
export function* resultText({ data, ...rest }: ExecutionResult): Work<ResultText> {
  const parts = new Parts();
  const others = JSON.stringify(rest).slice(1, -1);
  parts.add(`{${others}`);
  if (data !== undefined) {
    parts.add(`${others && ','}"data":`);
    yield* write(data, parts);
  }
  parts.add('}');
  return parts.end();
}

/** Bytes of a text, as it is sent. */
export function byteLength(text: ResultText): number {
  return typeof text === 'string' ? Buffer.byteLength(text) : text.reduce((sum, part) => sum + part.length, 0);
}

class Parts {
  readonly #parts: Buffer[] = [];
  #text = '';

  add(text: string): void {
    this.#text += text;
    if (this.#text.length >= PART) this.#cut();
  }

  end(): ResultText {
    if (this.#parts.length === 0) return this.#text;
    this.#cut();
    return this.#parts;
  }

  #cut(): void {
    if (this.#text === '') return;
    this.#parts.push(Buffer.from(this.#text));
    this.#text = '';
  }
}

function* write(value: unknown, parts: Parts): Work<void> {
  if (Array.isArray(value)) return yield* writeList(value as readonly unknown[], parts);
  if (typeof value !== 'object' || value === null || 'toJSON' in value)
    return parts.add(JSON.stringify(value) ?? 'null');
  let separator = '';
  parts.add('{');
  for (const [key, inner] of Object.entries(value) as [string, unknown][]) {
    if (inner === undefined) continue;
    parts.add(`${separator}${JSON.stringify(key)}:`);
    separator = ',';
    if (typeof inner === 'object') yield* write(inner, parts);
    else parts.add(JSON.stringify(inner) ?? 'null');
  }
  parts.add('}');
}

function* writeList(list: readonly unknown[], parts: Parts): Work<void> {
  parts.add('[');
  if (list.length <= PIECE) {
    for (const [i, entry] of list.entries()) {
      if (i > 0) parts.add(',');
      yield* write(entry ?? null, parts);
    }
    yield;
  } else {
    for (let at = 0; at < list.length; at += PIECE) {
      if (at > 0) parts.add(',');
      parts.add(JSON.stringify(list.slice(at, at + PIECE)).slice(1, -1));
      yield;
    }
  }
  parts.add(']');
}
