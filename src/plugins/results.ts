import { nowText } from '../event/clock.js';
import { eventIdOf } from '../record/place.js';
import { Feed } from './feed.js';
import type { EmittedResult } from './protocol.js';

/** Something that a plugin emitted. */
export interface PluginResult {
  /** From 0, without holes, over the life of the attachment. */
  readonly seq: number;
  readonly time: string;
  readonly kind: string;
  /** JSON. */
  readonly json: string;
  /** Of the event that it is about; null for none. */
  readonly eventId: string | null;
  /** The plugin's version that emitted it. */
  readonly version: string;
}

const MAX_RESULTS = 10_000;
const MAX_BYTES = 8 << 20;
const FEED_LIMIT = 10_000;

/** What a plugin has found in one session: the newest results, and whoever follows them. */
export class Results {
  readonly #session: string;
  #results: PluginResult[] = [];
  #bytes = 0;
  #next = 0;
  readonly #feeds = new Set<Feed<PluginResult>>();
  #ended = false;

  constructor(session: string) {
    this.#session = session;
  }

  /** Results that there ever were. */
  get count(): number {
    return this.#next;
  }

  add(emitted: readonly EmittedResult[], version: string): void {
    if (!emitted.length) return;
    const time = nowText();
    const session = this.#session;
    const added = emitted.map(({ kind, json, place }) => ({
      seq: this.#next++,
      time,
      kind,
      json,
      eventId: place === null ? null : eventIdOf({ session, seq: place }),
      version,
    }));
    for (const result of added) {
      this.#results.push(result);
      this.#bytes += result.json.length;
    }
    let out = 0;
    while (this.#results.length - out > MAX_RESULTS || this.#bytes > MAX_BYTES)
      this.#bytes -= this.#results[out++]?.json.length ?? 0;
    if (out) this.#results = this.#results.slice(out);
    for (const feed of this.#feeds) feed.push(added);
  }

  /** Those that are held, oldest first. */
  get held(): readonly PluginResult[] {
    return this.#results;
  }

  follow(replay: number): Feed<PluginResult> {
    const feed = new Feed(replay > 0 ? this.#results.slice(-replay) : [], FEED_LIMIT, (closed) =>
      this.#feeds.delete(closed),
    );
    this.#feeds.add(feed);
    if (this.#ended) feed.end();
    return feed;
  }

  /** It goes on after all: a failed plugin was mended. */
  resume(): void {
    this.#ended = false;
  }

  end(): void {
    this.#ended = true;
    for (const feed of this.#feeds) feed.end();
  }
}
