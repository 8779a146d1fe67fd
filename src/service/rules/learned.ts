import { join } from 'node:path';
import * as v from 'valibot';
import { messageOf } from '../../base/errors.js';
import { readPrivate, replacePrivate } from '../../base/file.js';
import { newerFormat } from '../../base/format.js';
import type { Log } from '../../base/log.js';
import { turns } from '../../base/turn.js';
import type { RuleEngine } from '../../rules/engine.js';
import { FirstSeenBook, type Learned } from '../../rules/first-seen.js';

const FILE = 'rules-learned.ndjson';
const FORMAT = 1;
const MAX_BYTES = 32 << 20;
/** What was learned last may be lost with a server that is killed. */
const EVERY_MS = 60_000;
/** Rules that are away and whose baselines are kept. */
const MAX_AWAY = 100;

const head = v.object({ format: v.literal(FORMAT) });
/** A line of the file: one subject of a rule. `of` is the rule's `firstSeen`. */
const line = v.object({
  rule: v.string(),
  of: v.string(),
  subject: v.string(),
  since: v.number(),
  values: v.array(v.string()),
});

/**
 * What rules have learned (`firstSeen`), in a file of the data directory: it outlives the server, and rules that are away for a while. A
 * file that cannot be read or written is told in the log, and rules learn anew; one of a newer version is left as it is. It is read and
 * written in turns of the event loop.
 */
export class LearnedFile {
  /** Null where nothing is kept. */
  #path: string | null;
  readonly #log: Log;
  readonly #mostBytes: number;
  /** By rule: of those that are away before those that are in force. Null until it was read. */
  #kept: Map<string, Learned> | null = null;
  /** How many values were learned when it was written last; null where rules have changed since. */
  #written: number | null = null;
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(directory: string | null, log: Log, mostBytes = MAX_BYTES) {
    this.#path = directory === null ? null : join(directory, FILE);
    this.#log = log;
    this.#mostBytes = mostBytes;
  }

  /** What rules have learned, those in force and those that are away. */
  async kept(): Promise<ReadonlyMap<string, Learned>> {
    return (this.#kept ??= await this.#read());
  }

  /** Keeps what the rules of this engine learn from now on. */
  follow(engine: RuleEngine): void {
    const kept = (this.#kept ??= new Map<string, Learned>());
    const learned = engine.learned();
    for (const [name, one] of learned) {
      kept.delete(name);
      kept.set(name, one);
    }
    for (const name of kept.keys()) {
      if (kept.size <= learned.size + MAX_AWAY) break;
      kept.delete(name);
    }
    this.#written = null;
    if (this.#path === null || this.#timer || kept.size === 0) return;
    this.#timer = setInterval(() => this.#write(), EVERY_MS).unref();
  }

  /** Resolves when all is written. */
  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#write();
    await this.#writing;
  }

  #write(): void {
    const kept = this.#kept;
    const path = this.#path;
    if (path === null || kept === null || kept.size === 0) return;
    const learned = [...kept.values()].reduce((sum, { book }) => sum + (book.isReading ? 0 : book.learned), 0);
    if (learned === this.#written) return;
    this.#written = learned;
    this.#writing = this.#writing
      .then(() => replacePrivate(path, this.#lines([...kept])))
      .catch((error: unknown) => {
        this.#written = null;
        this.#log.error({ path, problem: messageOf(error) }, 'what rules have learned is not kept');
      });
  }

  /** As much as may be read again. Rules share the room: the subjects that each has used last come first. */
  async *#lines(kept: readonly (readonly [string, Learned])[]): AsyncGenerator<string, void> {
    const first = `${JSON.stringify({ format: FORMAT })}\n`;
    let bytes = first.length;
    let left = kept.map(([rule, { of, book }]) => ({ rule, of, stored: book.stored() }));
    yield first;
    while (left.length > 0) {
      const more: typeof left = [];
      for (const one of left) {
        if (!turns.isOpen) await turns.next();
        const { done, value } = one.stored.next();
        if (done) continue;
        const text = `${JSON.stringify({ rule: one.rule, of: one.of, ...value })}\n`;
        bytes += Buffer.byteLength(text);
        if (bytes > this.#mostBytes) {
          this.#log.warn({ path: this.#path }, 'rules have learned more than is kept: the rest ends with the server');
          return;
        }
        yield text;
        more.push(one);
      }
      left = more;
    }
  }

  async #read(): Promise<Map<string, Learned>> {
    if (this.#path === null) return new Map();
    let text: string;
    try {
      const read = readPrivate(this.#path, { most: this.#mostBytes });
      if (read === null) return new Map();
      ({ text } = read);
    } catch (error) {
      return this.#leave(messageOf(error)); // nobody knows what is in it
    }
    try {
      const [first = ''] = text.split('\n', 1);
      const newer = newerFormat(JSON.parse(first), FORMAT);
      return newer === null ? await learnedOf(text) : this.#leave(newer);
    } catch (error) {
      this.#log.error(
        { path: this.#path, problem: messageOf(error) },
        'what rules had learned cannot be read: they learn anew',
      );
      return new Map();
    }
  }

  /** The file stays as it is. */
  #leave(problem: string): Map<string, Learned> {
    this.#log.error(
      { path: this.#path, problem },
      'what rules had learned cannot be read: they learn anew, and what they learn ends with the server',
    );
    this.#path = null;
    return new Map();
  }
}

async function learnedOf(text: string): Promise<Map<string, Learned>> {
  const kept = new Map<string, Learned>();
  const lines = text.trimEnd().split('\n');
  v.parse(head, JSON.parse(lines[0] ?? ''));
  // What was used last is written first, and forgotten last.
  for (const read of lines.slice(1).reverse()) {
    if (!turns.isOpen) await turns.next();
    const { rule, of, ...stored } = v.parse(line, JSON.parse(read));
    const learned = kept.get(rule) ?? { of, book: new FirstSeenBook() };
    learned.book.restore(stored);
    kept.set(rule, learned);
  }
  return kept;
}
