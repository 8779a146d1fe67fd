import { randomBytes } from 'node:crypto';
import { EunomiaError } from '../base/errors.js';
import type { Snapshot } from './reader.js';

export interface ShelfOptions {
  /** How long a snapshot is kept after its last page was read, in milliseconds. */
  readonly keptMs: number;
  /** Of all that is kept. */
  readonly bytes: number;
}

interface Kept {
  readonly snapshot: Snapshot;
  /** What it was taken for: its kind, filter and container. */
  readonly of: string;
  /** Whether its first page showed all of it. */
  readonly whole: boolean;
  until: number;
}

/** A place in a snapshot. */
export interface SnapshotPlace {
  readonly id: string;
  readonly snapshot: Snapshot;
  /** How many rows come before. */
  readonly at: number;
}

const CURSOR = /^snapshot:([0-9a-f]{16}):(\d{1,9})$/;

/** Snapshots of which clients have cursors. */
export class Shelf {
  readonly #options: ShelfOptions;
  /** The one that was read least recently first. */
  readonly #kept = new Map<string, Kept>();
  #bytes = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: ShelfOptions) {
    this.#options = options;
  }

  /**
   * Keeps a snapshot for pages to come, and returns its id. Where there is not enough memory for all, others go: first those that are
   * `whole`, of which a client is unlikely to read another page, then those that were read least recently.
   */
  keep(snapshot: Snapshot, of: string, whole = false): string {
    const id = randomBytes(8).toString('hex');
    this.#kept.set(id, { snapshot, of, whole, until: performance.now() + this.#options.keptMs });
    this.#bytes += snapshot.bytes;
    for (const isSpare of [true, false])
      for (const [oldest, kept] of this.#kept) {
        if (this.#bytes <= this.#options.bytes) break;
        if (oldest !== id && kept.whole === isSpare) this.#drop(oldest);
      }
    this.#timer ??= setInterval(() => this.#sweep(), this.#options.keptMs / 4).unref();
    return id;
  }

  cursorOf(id: string, at: number): string {
    return Buffer.from(`snapshot:${id}:${at}`).toString('base64url');
  }

  /** Throws BAD_CURSOR for what is no cursor of a snapshot that was taken for the same, and SNAPSHOT_GONE. */
  find(cursor: string, of: string, argument = 'after'): SnapshotPlace {
    const bad = (why: string): EunomiaError =>
      new EunomiaError('BAD_CURSOR', `${argument}: ${why}`, { details: { argument } });
    const [, id, digits] = CURSOR.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
    if (id === undefined)
      throw bad(`"${cursor.slice(0, 64)}" is no cursor of a snapshot; use one that this field gave, or leave it out`);
    const kept = this.#kept.get(id);
    if (!kept || kept.until < performance.now())
      throw new EunomiaError(
        'SNAPSHOT_GONE',
        `${argument}: the snapshot is not kept any more: it was not read for ${this.#options.keptMs / 1000} s, ` +
          'or others needed its memory; ' +
          'leave the cursor out to take a new one',
        { details: { argument } },
      );
    if (kept.of !== of)
      throw bad(
        'the cursor is of a snapshot that was taken with another field, filter or container; give the same ones',
      );
    const at = Number(digits);
    if (at > kept.snapshot.rows.length) throw bad(`the snapshot has only ${kept.snapshot.rows.length} rows`);
    kept.until = performance.now() + this.#options.keptMs;
    this.#kept.delete(id);
    this.#kept.set(id, kept);
    return { id, snapshot: kept.snapshot, at };
  }

  clear(): void {
    for (const id of [...this.#kept.keys()]) this.#drop(id);
  }

  #drop(id: string): void {
    this.#bytes -= this.#kept.get(id)?.snapshot.bytes ?? 0;
    this.#kept.delete(id);
    if (this.#kept.size > 0 || !this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #sweep(): void {
    for (const [id, { until }] of this.#kept) if (until < performance.now()) this.#drop(id);
  }
}
