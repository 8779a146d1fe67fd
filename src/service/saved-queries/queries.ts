import { coerceInputValue, isInputType } from 'graphql';
import type { Caller } from '../../access/caller.js';
import { authorize } from '../../access/caller.js';
import { compileAggregate, type AggregateInput } from '../../analysis/aggregate/index.js';
import { EunomiaError, invalid, suggest } from '../../base/errors.js';
import { listed } from '../../base/listed.js';
import { turns } from '../../base/turn.js';
import { nowText } from '../../event/clock.js';
import { allOf, checkSaved, filterOf, savedIn, writtenOut } from '../../filter/index.js';
import type { SavedContentInput, SavedQueryKind } from '../../generated/schema.js';
import { inRange, listInRange, textInRange } from '../check.js';
import { listingOf, type Listing } from '../listing.js';
import type { Parts } from '../parts.js';
import type { PageRequest } from '../session/handle.js';
import { MAX_QUERIES, MAX_QUERY_BYTES, type QueryBook, type SavedContent, type SavedQuery } from './book.js';

const NAME = /^[\p{L}\p{N}](?:[\p{L}\p{M}\p{N} ._/-]{0,98}[\p{L}\p{M}\p{N}._/-])?$/u;
const MAX_BOARD = 100;
const MAX_ROWS = 1000;
const MAX_GROUPS = 10_000;

/** A saved query, as the schema has it. */
export interface SavedQueryView extends SavedQuery {
  readonly kind: SavedQueryKind;
  readonly lasting: boolean;
  readonly trackers: readonly string[] | null;
}

export interface SaveRequest {
  readonly name: string;
  readonly content: SavedContentInput;
  readonly description?: string | null | undefined;
  readonly ifVersion?: number | null | undefined;
}

type QueryParts = Pick<Parts, 'queries' | 'catalog' | 'fields' | 'schema'>;

/** Filters, aggregates and boards that clients share by name. */
export class Queries {
  readonly #parts: QueryParts;

  constructor(parts: QueryParts) {
    this.#parts = parts;
  }

  /** By name. Throws BAD_USER_INPUT, BAD_CURSOR or STORE_UNAVAILABLE. */
  page(
    _caller: Caller,
    { kind, ...range }: Omit<PageRequest, 'where'> & { readonly kind: SavedQueryKind | null },
  ): Listing<SavedQueryView> {
    const all = [...this.#book.queries.values()]
      .map((query) => this.#view(query))
      .filter((query) => kind === null || query.kind === kind)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    return listingOf(all, range, { name: 'savedQueries', keyOf: ({ name }) => [name], most: MAX_QUERIES });
  }

  find(_caller: Caller, name: string): SavedQueryView | null {
    const query = this.#book.queries.get(name);
    return query ? this.#view(query) : null;
  }

  byId(_caller: Caller, id: string): SavedQueryView | null {
    const query = [...this.#book.queries.values()].find((one) => one.id === id);
    return query ? this.#view(query) : null;
  }

  /** What a board lists, in its order. */
  listedBy({ content: { board = [] } }: SavedQuery): readonly SavedQueryView[] {
    return board.flatMap((name) => {
      const query = this.#book.queries.get(name);
      return query ? [this.#view(query)] : [];
    });
  }

  /** Rejects with FORBIDDEN, BAD_USER_INPUT, QUERY_CONFLICT, LIMIT_EXCEEDED or STORE_UNAVAILABLE. */
  async save(caller: Caller, { name, content: given, description, ifVersion }: SaveRequest): Promise<SavedQueryView> {
    authorize(caller, 'saveQuery');
    checkName(name);
    const content = this.#parts.catalog.written('SavedContentInput', given) as SavedContent;
    if (Object.keys(content).length !== 1) throw invalid('content', 'needs exactly one of filter, aggregate and board');
    const words = description == null ? null : textInRange('description', description, 1000);
    const bytes = Buffer.byteLength(JSON.stringify(content));
    if (bytes > MAX_QUERY_BYTES)
      throw invalid('content', `has ${bytes} bytes as JSON; at most ${MAX_QUERY_BYTES} are allowed`, {
        max: MAX_QUERY_BYTES,
      });
    const saved = await this.#book.change(name, async (before) => {
      requireVersion(name, before, ifVersion ?? null);
      if (!before && this.#book.queries.size >= MAX_QUERIES)
        throw invalid('name', `there are ${MAX_QUERIES} saved queries, which is the most; delete one first`);
      this.#check(name, content, 'content');
      await this.#checkUsers(name, content);
      return { description: words, savedBy: caller.who, savedAt: nowText(), content };
    });
    if (!saved) throw new TypeError('what is saved is there');
    return this.#view(saved);
  }

  /** Rejects with FORBIDDEN, UNKNOWN_QUERY, QUERY_CONFLICT, QUERY_IN_USE or STORE_UNAVAILABLE. */
  async delete(caller: Caller, name: string, ifVersion: number | null): Promise<void> {
    authorize(caller, 'deleteQuery');
    await this.#book.change(name, (before) => {
      if (!before) throw this.#unknown(name, 'name');
      if (ifVersion !== null) requireVersion(name, before, ifVersion);
      const users = this.#users(name);
      if (users.length)
        throw new EunomiaError(
          'QUERY_IN_USE',
          `"${name}" is named by ${listed(users.map((user) => `"${user.name}"`))}; change or delete ` +
            `${users.length === 1 ? 'that' : 'those'} first`,
          { details: { usedBy: users.map((user) => user.name) } },
        );
      return null;
    });
  }

  /**
   * A saved aggregate as the arguments of `aggregate`, and the filter of its events with another one. Throws BAD_USER_INPUT or
   * UNKNOWN_QUERY.
   */
  aggregate(
    _caller: Caller,
    name: string,
    where: unknown = null,
  ): { readonly input: AggregateInput; readonly where: unknown } {
    const query = this.#book.queries.get(name);
    if (!query) throw this.#unknown(name, 'name');
    const { aggregate } = query.content;
    if (!aggregate) throw invalid('name', `"${name}" is ${wordOf(query.content)}, and no aggregate`);
    return { input: this.#inputOf(aggregate), where: allOf([ofTrackers(aggregate), aggregate.where, where]) };
  }

  get #book(): QueryBook {
    return this.#parts.queries;
  }

  #view(query: SavedQuery): SavedQueryView {
    const { filter, aggregate } = query.content;
    return {
      ...query,
      kind: kindOf(query.content),
      lasting: this.#book.isLasting,
      trackers: (filter ?? aggregate)?.trackers ?? null,
    };
  }

  /** As it will be when it is used. */
  #check(name: string, { filter, aggregate, board }: SavedContent, path: string): void {
    const { catalog, fields } = this.#parts;
    if (filter) {
      const trackers = this.#trackersOf(filter.trackers, `${path}.filter.trackers`);
      checkSaved(filter.where, fields, trackers, `${path}.filter.where`);
      // Within `not` and `or`, what is written out could not be read again.
      if (Object.keys(filterJson(filter)).length === 0)
        throw invalid(`${path}.filter.where`, 'is empty; give at least one condition, or `trackers`');
      // Compiles it, too: a pattern may be too large.
      filterOf(filter.where, fields, trackers, `${path}.filter.where`);
    } else if (aggregate) {
      const at = `${path}.aggregate`;
      const trackers = this.#trackersOf(aggregate.trackers, `${at}.trackers`);
      filterOf(aggregate.where, fields, trackers, `${at}.where`);
      const input = this.#inputOf(aggregate);
      inRange(`${at}.limit`, input.limit ?? MAX_ROWS, 1, MAX_ROWS, 'rows');
      inRange(`${at}.maxGroups`, input.maxGroups ?? MAX_GROUPS, 1, MAX_GROUPS, 'groups');
      within(at, () => compileAggregate(input, catalog, trackers));
    } else if (board) this.#checkBoard(name, board, `${path}.board`);
  }

  #checkBoard(name: string, board: readonly string[], path: string): void {
    listInRange(path, board, MAX_BOARD, '["errors"]');
    board.forEach((entry, i) => {
      const at = `${path}[${i}]`;
      const first = board.indexOf(entry);
      if (first < i) throw invalid(at, `"${cut(entry)}" is there already, in ${path}[${first}]`);
      if (entry === name) throw invalid(at, 'is the board itself; a board lists filters and aggregates');
      const query = this.#book.queries.get(entry);
      if (!query) throw this.#unknown(entry, at);
      if (query.content.board) throw invalid(at, `"${entry}" is a board; a board lists filters and aggregates`);
    });
  }

  /** What names it must be right with what it becomes. These may be all others, and are not checked in one piece. */
  async #checkUsers(name: string, content: SavedContent): Promise<void> {
    for (const user of this.#users(name)) {
      if (!turns.isOpen) await turns.next('REQUEST');
      if (user.content.board && content.board)
        throw invalid('content', `the board "${user.name}" lists "${name}", and a board cannot list another one`);
      if (!user.content.aggregate) continue;
      if (!content.filter)
        throw invalid('content', `the aggregate "${user.name}" names "${name}" as a filter; it has to stay one`);
      const { fields } = this.#parts;
      const { where, trackers: names } = user.content.aggregate;
      const trackers = this.#trackersOf(names, 'content.filter.trackers');
      const { filter } = content;
      const saved = (one: string, at: string): unknown => (one === name ? filterJson(filter) : fields.saved?.(one, at));
      try {
        filterOf(writtenOut(where, { saved }), fields, trackers);
      } catch (error) {
        if (!(error instanceof EunomiaError)) throw error;
        throw invalid('content.filter', `the aggregate "${user.name}" names it, and would be wrong: ${error.message}`);
      }
    }
  }

  #users(name: string): SavedQuery[] {
    return [...this.#book.queries.values()].filter(
      ({ content: { board, aggregate } }) =>
        board?.includes(name) || (aggregate && savedIn(aggregate.where).includes(name)),
    );
  }

  #trackersOf(names: readonly string[] | null | undefined, path: string): readonly string[] {
    const { catalog } = this.#parts;
    if (names == null) return catalog.trackers.map((tracker) => tracker.name);
    listInRange(path, names, catalog.trackers.length, '["exec"]');
    names.forEach((name, i) => catalog.need(name, `${path}[${i}]`));
    return [...new Set(names)];
  }

  /** Durations are texts in what is saved. */
  #inputOf(aggregate: NonNullable<SavedContent['aggregate']>): AggregateInput {
    const type = this.#parts.schema.getType('SavedAggregateInput');
    if (!isInputType(type)) throw new EunomiaError('BAD_SCHEMA', 'the schema has no SavedAggregateInput');
    // What it filters is compiled as it is.
    const { where: _where, trackers: _trackers, ...rest } = aggregate;
    return coerceInputValue(rest, type, (path, _value, error) => {
      throw invalid(['aggregate', ...path].join('.'), error.message);
    }) as AggregateInput;
  }

  #unknown(name: string, path: string): EunomiaError {
    return unknownQuery(name, this.#book, path);
  }
}

/** For `FilterFields.saved`. */
export function savedFilters(book: QueryBook): (name: string, path: string) => unknown {
  return (name, path) => {
    const query = book.queries.get(name);
    if (!query) throw unknownQuery(name, book, path);
    if (!query.content.filter) throw invalid(path, `"${name}" is ${wordOf(query.content)}, and no filter`);
    return filterJson(query.content.filter);
  };
}

function filterJson(filter: NonNullable<SavedContent['filter']>): object {
  return allOf([ofTrackers(filter), filter.where]);
}

function ofTrackers({ trackers }: { readonly trackers?: readonly string[] | null | undefined }): unknown {
  return trackers ? { tracker: { in: trackers } } : null;
}

function unknownQuery(name: string, book: QueryBook, path: string): EunomiaError {
  const hint = suggest(cut(name), book.queries.keys()) || '; `savedQueries` lists those there are';
  return new EunomiaError('UNKNOWN_QUERY', `${path}: there is no saved query "${cut(name)}"${hint}`, {
    details: { argument: path },
  });
}

function requireVersion(name: string, before: SavedQuery | null, ifVersion: number | null): void {
  if ((before?.version ?? null) === ifVersion) return;
  const what = before
    ? `"${name}" has the version ${before.version}, saved by ${before.savedBy} at ${before.savedAt}`
    : `there is no saved query "${name}" any more, or there never was`;
  const how = before
    ? `read it, and give ifVersion: ${before.version} to replace it${ifVersion === null ? ', or save under another name' : ''}`
    : 'leave ifVersion out to save it anew';
  throw new EunomiaError('QUERY_CONFLICT', `${what}; ${how}`, { details: { version: before?.version ?? null } });
}

function checkName(name: string): void {
  if (NAME.test(name) && name === name.normalize('NFC')) return;
  throw invalid(
    'name',
    `"${cut(name)}" is no name: give 1 to 100 letters, digits, spaces and . _ - / that begin with a letter or a digit and ` +
      'end with no space',
  );
}

function kindOf({ filter, aggregate }: SavedContent): SavedQueryKind {
  return filter ? 'FILTER' : aggregate ? 'AGGREGATE' : 'BOARD';
}

function wordOf(content: SavedContent): string {
  return { FILTER: 'a filter', AGGREGATE: 'an aggregate', BOARD: 'a board' }[kindOf(content)];
}

function cut(name: string): string {
  return name.slice(0, 100);
}

/** Errors of arguments have the path that these have here. */
function within(path: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof EunomiaError) || error.code !== 'BAD_USER_INPUT') throw error;
    const argument = `${path}.${String(error.details['argument'])}`;
    throw new EunomiaError(error.code, `${path}.${error.message}`, { details: { ...error.details, argument } });
  }
}
