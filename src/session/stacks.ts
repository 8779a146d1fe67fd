import { bytesOfText } from '../base/bytes.js';
import type { Chunk } from '../kernel/protocol.js';
import { headerOffsets } from '../record/batch.js';
import type { TrackerRuntime } from '../record/runtime.js';
import type { StackAsk } from '../symbols/protocol.js';
import type { SymbolThread } from '../symbols/thread.js';

/** Where a tracker's records have their stack, by its index; null for one without, or where the session does not capture it. */
export type StackPlaces = readonly (number | null)[];

/** A captured stack, the last thing in its record: the record's index, its place, and where in it the field and the bytes are. */
interface Captured {
  readonly index: number;
  readonly record: number;
  readonly field: number;
  readonly offset: number;
  readonly length: number;
}

const MAX_TEXT = 16_384;
const CUT = '(cut: there is no room for more)';
const aligned = (bytes: number): number => (bytes + 7) & ~7;

/**
 * Makes frames of captured stacks. A chunk belongs to all sessions that share its source, of which some may not have asked for stacks: it
 * stays as it is, and those who asked get a copy with the texts of the frames in place of what was captured, which is far more.
 */
export class Stacks {
  readonly #thread: Pick<SymbolThread, 'describe' | 'end'>;
  readonly #begun = new WeakMap<Chunk, Map<string, Promise<Chunk>>>();

  constructor(thread: Pick<SymbolThread, 'describe' | 'end'>) {
    this.#thread = thread;
  }

  /** The chunk with frames; null where none is captured in it. The chunk's memory must be held until then. Never rejects. */
  read(chunk: Chunk, view: DataView, places: StackPlaces): Promise<Chunk> | null {
    const found = capturedIn(chunk, view, places);
    if (found.length === 0) return null;
    const begun = this.#begun.get(chunk) ?? new Map<string, Promise<Chunk>>();
    this.#begun.set(chunk, begun);
    const key = places.join();
    const work = begun.get(key) ?? this.#unwound(chunk, view, found);
    begun.set(key, work);
    return work;
  }

  end(): Promise<void> {
    return this.#thread.end();
  }

  async #unwound(chunk: Chunk, view: DataView, found: readonly Captured[]): Promise<Chunk> {
    const texts = await this.#thread.describe(found.map((one) => askOf(chunk, view, one)));
    return withFrames(
      chunk,
      found.map((one, i) => ({ ...one, text: textOf(texts[i] ?? []) })),
    );
  }
}

/** By the index of a tracker in its session. */
export function stackPlaces(trackers: readonly TrackerRuntime[], masks: readonly bigint[]): StackPlaces {
  return trackers.map(({ layout }, i) => {
    for (const { kind, name, offset } of layout.fields.values()) {
      const bit = layout.captures.get(name);
      if (kind === 'eu_stack' && bit !== undefined && (masks[i] ?? 0n) & (1n << BigInt(bit))) return offset;
    }
    return null;
  });
}

function capturedIn({ data, offsets }: Chunk, view: DataView, places: StackPlaces): Captured[] {
  const found: Captured[] = [];
  if (places.every((place) => place === null)) return found;
  for (const [index, record] of offsets.entries()) {
    const field = places[view.getUint16(record + headerOffsets.tracker, true)] ?? null;
    if (field === null) continue;
    const word = view.getUint32(record + field, true);
    const offset = word & 0xffff;
    if (word !== 0 && data[record + offset] === 0) found.push({ index, record, field, offset, length: word >>> 16 });
  }
  return found;
}

function askOf({ data, clock }: Chunk, view: DataView, { record, offset, length }: Captured): StackAsk {
  const header = (name: 'pid' | 'ppid' | 'initPid' | 'mountNs'): number =>
    view.getUint32(record + headerOffsets[name], true);
  return {
    captured: data.slice(record + offset, record + offset + length),
    mountNs: header('mountNs'),
    pid: header('pid'),
    at:
      clock.seconds * 1000 + (Number(view.getBigUint64(record + headerOffsets.bootNs, true)) + clock.nanoseconds) / 1e6,
    others: [header('initPid'), header('ppid')].filter((pid) => pid !== 0),
  };
}

function withFrames(chunk: Chunk, stacks: readonly (Captured & { readonly text: Uint8Array })[]): Chunk {
  const byIndex = new Map(stacks.map((stack) => [stack.index, stack]));
  const parts = [...chunk.offsets.entries()].map(([index, start]) => {
    const end = chunk.offsets[index + 1] ?? chunk.data.length;
    const stack = byIndex.get(index);
    return { stack, bytes: chunk.data.subarray(start, stack ? start + stack.offset : end) };
  });
  const sizes = parts.map(({ stack, bytes }) => aligned(bytes.length + (stack?.text.length ?? 0)));
  const data = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  const view = new DataView(data.buffer);
  const offsets = new Uint32Array(parts.length);
  let at = 0;
  for (const [index, { stack, bytes }] of parts.entries()) {
    offsets[index] = at;
    data.set(bytes, at);
    if (stack) {
      data.set(stack.text, at + stack.offset);
      view.setUint32(at + stack.field, ((stack.text.length << 16) | stack.offset) >>> 0, true);
    }
    at += sizes[index] ?? 0;
  }
  return { ...chunk, data, offsets };
}

/** The frames, each with a NUL before the next one; as many as there may be. */
function textOf(frames: readonly string[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let left = MAX_TEXT;
  for (const frame of frames) {
    const part = bytesOfText(frame) ?? Buffer.from(frame);
    left -= part.length + 1;
    if (left < 0) break;
    if (parts.length > 0) parts.push(Uint8Array.of(0));
    parts.push(part);
  }
  if (left < 0 || parts.length === 0) parts.push(Buffer.from(parts.length > 0 ? `\0${CUT}` : CUT));
  return Buffer.concat(parts);
}
