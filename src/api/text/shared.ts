import { JsonBytes } from '../../record/json/bytes.js';
import type { JsonWriter } from '../../record/json/writer.js';
import type { Slice } from '../../record/batch-buffer.js';

/** All texts together; the ones made first leave first. */
const BUDGET_BYTES = 32 << 20;
/** Readers that keep up ask within milliseconds; one that is further behind has its text made anew. */
const KEPT_MS = 500;
const FIRST_BYTES = 64 << 10;

interface BatchTexts {
  readonly madeAt: number;
  readonly texts: Map<string, Buffer>;
  bytes: number;
}

/**
 * The text of a part of a batch, made once for all operations that select the same of it. Batches live long, in a session's
 * history; their texts are kept for a moment only.
 */
export class SharedTexts {
  readonly #batches = new Map<Slice['batch'], BatchTexts>();
  readonly #ids = new WeakMap<JsonWriter, number>();
  #nextId = 1;
  #bytes = 0;
  #scratch = new JsonBytes(FIRST_BYTES);
  #timer: NodeJS.Timeout | null = null;

  /** The events of the slice with commas between them. Nobody may write into it. */
  of(writer: JsonWriter, slice: Slice): Buffer {
    const { batch, from, to } = slice;
    const key = `${this.#idOf(writer)}:${from}:${to}`;
    const made = this.#batches.get(batch);
    const known = made?.texts.get(key);
    if (known) return known;
    this.#scratch.at = 0;
    writer.write(slice, this.#scratch);
    const text = Buffer.from(this.#scratch.since(0));
    const texts = made ?? { madeAt: performance.now(), texts: new Map<string, Buffer>(), bytes: 0 };
    texts.texts.set(key, text);
    texts.bytes += text.length;
    this.#batches.set(batch, texts);
    this.#bytes += text.length;
    this.#forget((each) => this.#bytes > BUDGET_BYTES && each !== texts);
    this.#timer ??= setInterval(() => this.#expire(), KEPT_MS).unref();
    return text;
  }

  clear(): void {
    this.#forget(() => true);
    this.#rest();
  }

  #idOf(writer: JsonWriter): number {
    const known = this.#ids.get(writer);
    if (known !== undefined) return known;
    this.#ids.set(writer, this.#nextId);
    return this.#nextId++;
  }

  #expire(): void {
    const oldest = performance.now() - KEPT_MS;
    this.#forget(({ madeAt }) => madeAt < oldest);
    if (this.#batches.size === 0) this.#rest();
  }

  #rest(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    this.#scratch = new JsonBytes(FIRST_BYTES);
  }

  /** From the oldest on, as long as it is asked for. */
  #forget(leaves: (texts: BatchTexts) => boolean): void {
    for (const [batch, texts] of this.#batches) {
      if (!leaves(texts)) return;
      this.#batches.delete(batch);
      this.#bytes -= texts.bytes;
    }
  }
}
