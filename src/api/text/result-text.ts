import type { ExecutionResult } from 'graphql';
import type { Work } from '../../base/turn.js';

/** Entries of a list that are written in one piece. */
const PIECE = 64;

/** A result as JSON, in pieces: a page of events may be tens of megabytes. The same text as `JSON.stringify` makes. */
export function* resultText({ data, ...rest }: ExecutionResult): Work<string> {
  const others = JSON.stringify(rest).slice(1, -1);
  if (data === undefined) return `{${others}}`;
  return `{${others}${others && ','}"data":${yield* text(data)}}`;
}

function* text(value: unknown): Work<string> {
  if (Array.isArray(value)) return yield* listText(value as readonly unknown[]);
  if (typeof value !== 'object' || value === null || 'toJSON' in value) return JSON.stringify(value) ?? 'null';
  const parts: string[] = [];
  for (const [key, inner] of Object.entries(value) as [string, unknown][]) {
    if (inner !== undefined)
      parts.push(`${JSON.stringify(key)}:${typeof inner === 'object' ? yield* text(inner) : JSON.stringify(inner)}`);
  }
  return `{${parts.join(',')}}`;
}

function* listText(list: readonly unknown[]): Work<string> {
  const parts: string[] = [];
  if (list.length <= PIECE) {
    for (const entry of list) parts.push(yield* text(entry ?? null));
    yield;
    return `[${parts.join(',')}]`;
  }
  for (let at = 0; at < list.length; at += PIECE) {
    parts.push(JSON.stringify(list.slice(at, at + PIECE)).slice(1, -1));
    yield;
  }
  return `[${parts.join(',')}]`;
}
