import type { Work } from './turn.js';

/**
 * Plain data for another thread, as JSON in pieces of bytes: none takes long to write or to read, and they are handed over, not cloned. To
 * clone tens of thousands of objects would hold up both threads.
 */
export type Packed = readonly Uint8Array<ArrayBuffer>[];

/** Entries of lists in one piece. */
const PIECE = 256;

/** What is at a path: a list, or a part of one that follows what is there of it; an object, whose members follow; or anything else. */
type Part = readonly [path: readonly string[], value: unknown];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Long lists may be in objects, not in lists. The names of members are those of a type, not of a client. */
export function* pack(value: object): Work<Packed> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let parts: Part[] = [];
  let entries = 0;
  for (const part of partsOf(value, ['value'])) {
    parts.push(part);
    entries += Array.isArray(part[1]) ? part[1].length + 1 : 1;
    if (entries < PIECE) continue;
    pieces.push(encoder.encode(JSON.stringify(parts)));
    parts = [];
    entries = 0;
    yield;
  }
  return [...pieces, encoder.encode(JSON.stringify(parts))];
}

/** What was packed. Its type, the two threads have agreed on. */
export function* unpack<Value>(packed: Packed): Work<Value> {
  const whole: Record<string, unknown> = {};
  for (const piece of packed) {
    for (const [path, value] of JSON.parse(decoder.decode(piece)) as Part[]) put(whole, path, value);
    yield;
  }
  return whole['value'] as Value;
}

/** For the transfer. */
export function buffersOf(packed: Packed): ArrayBuffer[] {
  return packed.map(({ buffer }) => buffer);
}

function* partsOf(value: unknown, path: readonly string[]): Generator<Part, void> {
  if (Array.isArray(value)) {
    for (let at = 0; at === 0 || at < value.length; at += PIECE) yield [path, value.slice(at, at + PIECE)];
    return;
  }
  if (typeof value !== 'object' || value === null) return yield [path, value];
  yield [path, {}];
  for (const [name, member] of Object.entries(value)) if (member !== undefined) yield* partsOf(member, [...path, name]);
}

function put(whole: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let place = whole;
  for (const name of path.slice(0, -1)) place = place[name] as Record<string, unknown>;
  const name = path.at(-1) ?? '';
  const known = Object.hasOwn(place, name) ? place[name] : undefined;
  if (Array.isArray(known) && Array.isArray(value)) known.push(...(value as readonly unknown[]));
  // An assignment to "__proto__" would make no member; to others it is several times as fast.
  else if (name !== '__proto__') place[name] = value;
  else Object.defineProperty(place, name, { value, writable: true, enumerable: true, configurable: true });
}
