import type { ExecutionResult } from 'graphql';
import { JsonBytes } from '../../record/json/bytes.js';
import { objectJson, type JsonEntry, type JsonShape } from '../../record/json/shape.js';
import { JsonWriter } from '../../record/json/writer.js';
import type { Slice } from '../../record/batch-buffer.js';
import type { Work } from '../../base/turn.js';
import { Delivery } from '../../record/delivery.js';
import type { Execution } from '../graphql/compile.js';
import { SharedTexts } from './shared.js';
import { planText, type TextPlan } from './text-plan.js';

/** A transport that takes results as text. */
export interface TextSink {
  /** Before and behind each result; ASCII. */
  readonly head: string;
  readonly tail: string;
  /**
   * Sends the parts of one message, and resolves when they have left: their bytes are written over then. A transport
   * without it reads `EncodedResult.stringify` before it asks for the next result.
   */
  readonly send?: (parts: readonly Buffer[]) => Promise<void>;
  /**
   * Where results must not be made before the transport has room for one: resolves when it has, with the function that
   * says that one was sent.
   */
  readonly turn?: () => Promise<() => void>;
}

/** A result that is text already: `stringify` is what graphql-yoga asks for. */
export class EncodedResult implements ExecutionResult {
  /** It has no errors: a result with errors is never text. */
  readonly errors?: undefined;
  readonly parts: readonly Buffer[];
  readonly stringify: () => string;

  constructor(parts: readonly Buffer[]) {
    this.parts = parts;
    this.stringify = () => this.parts.map((part) => part.toString('latin1')).join('');
  }
}

interface SharedWriter {
  readonly key: string;
  readonly writer: JsonWriter;
  /** Operations with an equal selection that are under way. */
  readers: number;
}

const FIRST_BYTES = 16 << 10;
/** A larger buffer is not kept between two messages. */
const KEPT_BYTES = 2 << 20;
/** From here on a shared text is a part of its own; a shorter one is cheaper to copy. */
const PART_BYTES = 32 << 10;
/** Events written before others may have their turn: one with all fields takes several microseconds. */
const PIECE_EVENTS = 512;

/** Writes batches of events as text. One an engine, so that operations with equal selections share their writer and its texts. */
export class TextEncoders {
  readonly #writers = new Map<string, SharedWriter>();
  readonly #texts = new SharedTexts();

  /** Null when an executor of GraphQL has to make the operation's results. `close` must be called when it ends. */
  open(execution: Execution, sink: TextSink): TextEncoder | null {
    const plan = planText(execution);
    return (
      plan &&
      new TextEncoder(
        plan,
        sink,
        this.#texts,
        (shape) => this.#take(shape),
        (writer) => this.#release(writer),
      )
    );
  }

  close(): void {
    this.#texts.clear();
  }

  #take(shape: JsonShape): SharedWriter {
    // Functions are left out: they follow from the names and types.
    const key = JSON.stringify([...shape]);
    const shared = this.#writers.get(key) ?? { key, writer: new JsonWriter(shape), readers: 0 };
    shared.readers += 1;
    this.#writers.set(key, shared);
    return shared;
  }

  #release(shared: SharedWriter): void {
    shared.readers -= 1;
    if (shared.readers === 0) this.#writers.delete(shared.key);
  }
}

/** Writes the results of one operation. */
export class TextEncoder {
  readonly #plan: TextPlan;
  readonly #sink: TextSink;
  readonly #texts: SharedTexts;
  readonly #writers: ReadonlyMap<string, SharedWriter>;
  readonly #release: (writer: SharedWriter) => void;
  #out = new JsonBytes(FIRST_BYTES);

  constructor(
    plan: TextPlan,
    sink: TextSink,
    texts: SharedTexts,
    take: (shape: JsonShape) => SharedWriter,
    release: (writer: SharedWriter) => void,
  ) {
    this.#plan = plan;
    this.#sink = sink;
    this.#texts = texts;
    this.#writers = new Map(
      plan.entries.flatMap((entry) => (entry.kind === 'events' ? [[entry.key, take(entry.shape)] as const] : [])),
    );
    this.#release = release;
  }

  /**
   * Null when an executor has to make this result: its events are no records, or hold a value that the schema does not allow. One result
   * at a time: the one before is written over.
   */
  *encode(delivery: unknown): Work<EncodedResult | null> {
    if (!(delivery instanceof Delivery)) return null;
    for (const { writer } of this.#writers.values()) if (!writer.canWrite(delivery.slices)) return null;
    if (this.#out.bytes.length > KEPT_BYTES) this.#out = new JsonBytes(FIRST_BYTES);
    try {
      return new EncodedResult(yield* this.#write(delivery));
    } catch {
      // The executor meets the same value, and tells of it where it stands.
      return null;
    }
  }

  close(): void {
    for (const writer of this.#writers.values()) this.#release(writer);
  }

  *#write(delivery: Delivery): Work<Buffer[]> {
    const out = this.#out;
    const parts: Buffer[] = [];
    out.at = 0;
    out.add(`${this.#sink.head}{"data":{${JSON.stringify(this.#plan.key)}:{`);
    let from = 0;
    for (const [i, entry] of this.#plan.entries.entries()) {
      out.add(`${i ? ',' : ''}${JSON.stringify(entry.key)}:`);
      if (entry.kind !== 'events') out.add(batchJson(delivery, entry));
      else from = yield* this.#events(this.#writers.get(entry.key), delivery.slices, parts, from);
    }
    out.add(`}}}${this.#sink.tail}`);
    parts.push(out.since(from));
    return parts;
  }

  /** Returns where the part that is being written begins: a shared text stands as a part of its own between what is written here. */
  *#events(shared: SharedWriter | undefined, slices: readonly Slice[], parts: Buffer[], start: number): Work<number> {
    const out = this.#out;
    let from = start;
    let first = true;
    out.add('[');
    for (const piece of shared ? piecesOf(slices) : []) {
      if (!first) {
        yield;
        out.add(',');
      }
      first = false;
      if (shared?.readers === 1) shared.writer.write(piece, out);
      else if (shared) {
        const text = this.#texts.of(shared.writer, piece);
        if (text.length < PART_BYTES) out.addBytes(text);
        else {
          parts.push(out.since(from), text);
          from = out.at;
        }
      }
    }
    out.add(']');
    return from;
  }
}

/** Cut at the same places of a batch whoever reads it, so that readers share the texts. */
function* piecesOf(slices: readonly Slice[]): Generator<Slice> {
  for (const { batch, from, to } of slices) {
    for (let at = from; at < to;) {
      const end = Math.min(to, at - (at % PIECE_EVENTS) + PIECE_EVENTS);
      yield { batch, from: at, to: end };
      at = end;
    }
  }
}

function batchJson(delivery: Delivery, entry: Exclude<TextPlan['entries'][number], { kind: 'events' }>): string {
  if (entry.kind === 'constant') return entry.json;
  if (entry.kind === 'leaf') return entry.json(Reflect.get(delivery, entry.field));
  return gapJson(delivery, entry.entries);
}

function gapJson({ gap }: Delivery, entries: readonly JsonEntry[]): string {
  return gap ? objectJson(gap, entries) : 'null';
}
