import type { Work } from './turn.js';

/**
 * Plain data for another thread, as JSON in pieces of bytes: none takes long to write or to read, and they are handed over, not cloned. To
 * clone tens of thousands of objects would hold up both threads.
 */
export type Packed = readonly Uint8Array<ArrayBuffer>[];

/** Values in one piece, about. A long text counts as many. */
const PIECE = 512;
const TEXT = 64;

/** What is at a path: of a list or an object, all or what follows what is there of it; or anything else. */
type Part = readonly [path: readonly string[], value: unknown, size: number];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Without circles. However it is nested, and whatever its members are called: no piece is large, unless one text is. */
export function* pack(value: object): Work<Packed> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let parts: Part[] = [];
  let size = 0;
  for (const part of partsOf(value, ['value'])) {
    parts.push(part);
    size += part[2];
    if (size < PIECE) continue;
    pieces.push(bytesOf(parts));
    parts = [];
    size = 0;
    yield;
  }
  return [...pieces, bytesOf(parts)];
}

function bytesOf(parts: readonly Part[]): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify(parts.map(([path, value]) => [path, value])));
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
  const own = sizeOf(value, PIECE);
  if (typeof value !== 'object' || value === null || own < PIECE) return yield [path, value, own];
  const list = Array.isArray(value) ? (value as readonly unknown[]) : null;
  const names = list ? null : Object.keys(value);
  let part: unknown[] | Record<string, unknown> = list ? [] : {};
  let size = 1;
  for (let i = 0, { length } = list ?? names ?? []; i < length; i++) {
    const name = names?.[i] ?? String(i);
    const member: unknown = list ? list[i] : Reflect.get(value, name);
    if (member === undefined && !list) continue;
    const more = textSize(name) + sizeOf(member, PIECE);
    if (size + more >= PIECE) {
      yield [path, part, size];
      part = list ? [] : {};
      size = 1;
    }
    // What follows is behind what was told of it.
    if (more >= PIECE) yield* partsOf(member, [...path, name]);
    else {
      size += more;
      if (Array.isArray(part)) part.push(member);
      else set(part, name, member);
    }
  }
  yield [path, part, size];
}

/** How many values, counted no further than to `most`. */
function sizeOf(value: unknown, most: number): number {
  if (typeof value === 'string') return textSize(value);
  let size = 1;
  if (typeof value !== 'object' || value === null) return size;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length && size < most; i++) size += sizeOf(value[i], most - size);
    return size;
  }
  for (const name in value) {
    if (size >= most) break;
    size += textSize(name) + sizeOf(Reflect.get(value, name), most - size);
  }
  return size;
}

function textSize({ length }: string): number {
  return 1 + Math.floor(length / TEXT);
}

function put(whole: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let place = whole;
  for (const name of path.slice(0, -1)) place = place[name] as Record<string, unknown>;
  const name = path.at(-1) ?? '';
  const known = Object.hasOwn(place, name) ? place[name] : undefined;
  if (Array.isArray(known)) known.push(...(value as readonly unknown[]));
  else if (typeof known === 'object' && known !== null)
    for (const [member, inside] of Object.entries(value as object))
      set(known as Record<string, unknown>, member, inside);
  else set(place, name, value);
}

/** An assignment to "__proto__" would make no member; to others it is several times as fast. */
function set(place: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== '__proto__') place[name] = value;
  else Object.defineProperty(place, name, { value, writable: true, enumerable: true, configurable: true });
}
