import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import * as v from 'valibot';
import { EunomiaError, messageOf } from '../../base/errors.js';
import { readPrivate, replacePrivate } from '../../base/file.js';
import { newerFormat } from '../../base/format.js';

/** What is saved, as the JSON of the schema's `SavedContentInput`: one of these. */
export interface SavedContent {
  readonly filter?: { readonly where: Json; readonly trackers?: readonly string[] | null | undefined } | undefined;
  readonly aggregate?: SavedAggregate | undefined;
  readonly board?: readonly string[] | undefined;
}

export type SavedAggregate = Json & {
  readonly where?: Json | null | undefined;
  readonly trackers?: readonly string[] | null | undefined;
};

type Json = Readonly<Record<string, unknown>>;

export interface SavedQuery {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  readonly version: number;
  readonly savedBy: string;
  /** RFC 3339 with nanoseconds. */
  readonly savedAt: string;
  readonly content: SavedContent;
}

/** What replaces a saved query; null where it is deleted. */
type Made = Omit<SavedQuery, 'id' | 'name' | 'version'> | null;

/** How many are kept, and what each may have, and all together, as JSON. */
export const MAX_QUERIES = 1000;
export const MAX_QUERY_BYTES = 64 << 10;
const MAX_BYTES = 1 << 20;
const FILE = 'queries.json';
const FORMAT = 1;

const json = v.custom<Json>((value) => typeof value === 'object' && value !== null && !Array.isArray(value));
const trackers = v.nullish(v.array(v.string()));
const content = v.union([
  v.strictObject({ filter: v.strictObject({ where: json, trackers }) }),
  v.strictObject({ aggregate: v.looseObject({ where: v.nullish(json), trackers }) }),
  v.strictObject({ board: v.array(v.string()) }),
]);
const query = v.object({
  id: v.string(),
  name: v.string(),
  description: v.nullable(v.string()),
  version: v.number(),
  savedBy: v.string(),
  savedAt: v.string(),
  content,
});
const file = v.object({
  format: v.literal(FORMAT),
  lastVersion: v.number(),
  queries: v.pipe(v.array(query), v.maxLength(MAX_QUERIES)),
});

/**
 * Saved queries by their names: in a file of the data directory that is replaced as a whole with each change, or in memory. It is read when
 * somebody asks first. One that cannot be read is left as it is, and nothing can be read or saved.
 */
export class QueryBook {
  readonly #path: string | null;
  #known: ReadonlyMap<string, SavedQuery> | null = null;
  #lastVersion = 0;
  /** What the file has; null while there is none. */
  #text: string | null = null;
  /** Changes come one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(directory: string | null) {
    this.#path = directory === null ? null : join(directory, FILE);
  }

  /** Whether what is saved outlives the server. */
  get isLasting(): boolean {
    return this.#path !== null;
  }

  /** By their names. Throws STORE_UNAVAILABLE for a file that is damaged or of a newer version. */
  get queries(): ReadonlyMap<string, SavedQuery> {
    return (this.#known ??= this.#read());
  }

  /**
   * Saves what `make` returns, or deletes what is of this name for null, when the changes before are done. Rejects, with nothing changed,
   * with what `make` throws, and with STORE_UNAVAILABLE.
   */
  change(name: string, make: (before: SavedQuery | null) => Made | Promise<Made>): Promise<SavedQuery | null> {
    const changed = this.#turn.then(() => this.#change(name, make));
    this.#turn = changed.catch(() => undefined);
    return changed;
  }

  async #change(name: string, make: (before: SavedQuery | null) => Made | Promise<Made>): Promise<SavedQuery | null> {
    const before = this.queries.get(name) ?? null;
    const made = await make(before);
    const version = this.#lastVersion + 1;
    const saved = made && { id: before?.id ?? `query:${randomBytes(8).toString('hex')}`, name, version, ...made };
    const queries = new Map(this.queries);
    if (saved) queries.set(name, saved);
    else queries.delete(name);
    await this.#write(queries, version);
    this.#known = queries;
    this.#lastVersion = version;
    return saved;
  }

  async #write(queries: ReadonlyMap<string, SavedQuery>, lastVersion: number): Promise<void> {
    const text = `${JSON.stringify({ format: FORMAT, lastVersion, queries: [...queries.values()] })}\n`;
    if (Buffer.byteLength(text) > MAX_BYTES)
      throw new EunomiaError(
        'LIMIT_EXCEEDED',
        'all saved queries together would have more than 1 MiB, which is the most; delete some first',
        { details: { limit: 'savedQueries', maximum: MAX_BYTES } },
      );
    if (this.#path === null) return;
    if (this.#textOf(this.#path) !== this.#text)
      throw unavailable(this.#path, 'it was changed by somebody else; start the server again to read it');
    try {
      await replacePrivate(this.#path, text);
    } catch (error) {
      throw unavailable(this.#path, `it cannot be written: ${messageOf(error)}`, error);
    }
    this.#text = text;
  }

  #read(): ReadonlyMap<string, SavedQuery> {
    if (this.#path === null) return new Map();
    const text = this.#textOf(this.#path);
    if (text === null) return new Map();
    const read = v.safeParse(file, parsed(text));
    if (!read.success) {
      throw unavailable(
        this.#path,
        newerFormat(parsed(text), FORMAT) ??
          'it is damaged; move it away, or put a copy in its place, and start the server again',
      );
    }
    const { queries, lastVersion } = read.output;
    this.#text = text;
    this.#lastVersion = Math.max(lastVersion, ...queries.map(({ version }) => version));
    return new Map(queries.map((one) => [one.name, one]));
  }

  #textOf(path: string): string | null {
    try {
      return readPrivate(path, { most: MAX_BYTES })?.text ?? null;
    } catch (error) {
      throw unavailable(path, `it cannot be read: ${messageOf(error)}`, error);
    }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function unavailable(path: string, why: string, cause?: unknown): EunomiaError {
  return new EunomiaError('STORE_UNAVAILABLE', `the saved queries are not available: ${path}: ${why}`, { cause });
}
