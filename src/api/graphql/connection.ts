import type { GraphQLResolveInfo } from 'graphql';
import { turns } from '../../base/turn.js';
import type { Listing } from '../../service/listing.js';
import type { RequestContext } from './context.js';
import { isWritten } from './written.js';

interface PageArguments {
  readonly first?: number | null;
  readonly last?: number | null;
  readonly after?: string | null;
  readonly before?: string | null;
}

/** What of the arguments of a connection was asked for. `first` has a default, so that only the document tells whether it was. */
export function pageOf(
  { first, last, after, before }: PageArguments,
  info: GraphQLResolveInfo,
  variables: RequestContext['variables'],
): { [Name in keyof PageArguments]: NonNullable<PageArguments[Name]> | undefined } {
  const isDefault = (last != null || before != null) && !isWritten(info, variables, ['first']);
  return {
    first: isDefault ? undefined : (first ?? undefined),
    last: last ?? undefined,
    after: after ?? undefined,
    before: before ?? undefined,
  };
}

/** Entries of a list that are executed in one piece: with all fields a millisecond or so. */
export const WINDOW = 256;

/** Values that are named at run time, of which reading takes as long as an event whose fields are selected. */
const NAMED_VALUES = 8;

/** How many entries an event counts as that has so many of these values. */
export function weightOfEvent(named: number): number {
  return 1 + named / NAMED_VALUES;
}

export interface Edge {
  readonly node: unknown;
  readonly cursor: string | null;
}

export interface PageInfo {
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  readonly startCursor: string | null;
  readonly endCursor: string | null;
}

/** What a connection of the schema is made of. `edgeOf` makes the edge of the event at an index. */
export interface ConnectionOptions<Node> {
  readonly events: readonly Node[];
  readonly edgeOf: (index: number) => Edge;
  readonly pageInfo: () => PageInfo;
  readonly gaps: readonly object[];
  readonly totalCount?: string | null;
  /** How many entries the one at an index counts as: more than one where it has a long list of its own. */
  readonly weightOf?: (index: number) => number;
}

/**
 * A page as the schema's connection; what nobody selects is not made. Properties, not resolvers: they compile to plain reads.
 *
 * Executors run lists in one piece. So a long one is read in windows: a compiled operation gets the first and is
 * executed again for the others (`Windows`); graphql-js gets promises, which settle a window at a time, each in a turn
 * of its own.
 */
export class Connection<Node = unknown> {
  readonly #options: ConnectionOptions<Node>;
  readonly #lists = new Map<string, readonly unknown[]>();
  #window: { readonly from: number; readonly to: number } | null = null;

  constructor(options: ConnectionOptions<Node>) {
    this.#options = options;
  }

  get length(): number {
    return this.#options.events.length;
  }

  /** From now on its lists have the entries from one index up to, not including, another. */
  look(from: number, to: number): void {
    this.#window = { from, to: Math.min(to, this.length) };
    this.#lists.clear();
  }

  /** Behind the last entry of the window that begins with this one. */
  windowEnd(from: number): number {
    const { weightOf } = this.#options;
    if (!weightOf) return Math.min(from + WINDOW, this.length);
    let to = from;
    for (let weight = 0; to < this.length && weight < WINDOW; to++) weight += weightOf(to);
    return to;
  }

  get nodes(): readonly unknown[] {
    const { events } = this.#options;
    return this.#list('nodes', (index) => events[index]);
  }

  get edges(): readonly unknown[] {
    return this.#list('edges', this.#options.edgeOf);
  }

  get pageInfo(): PageInfo {
    return this.#options.pageInfo();
  }

  get totalCount(): string | null | undefined {
    return this.#options.totalCount;
  }

  get gaps(): readonly object[] {
    return this.#options.gaps;
  }

  #list(name: string, make: (index: number) => unknown): readonly unknown[] {
    const known = this.#lists.get(name);
    if (known) return known;
    const { from, to } = this.#window ?? { from: 0, to: this.length };
    const isWhole = this.#window !== null || this.windowEnd(0) === this.length;
    const list = isWhole ? entries(from, to, make) : promised(to, make, (at) => this.windowEnd(at));
    this.#lists.set(name, list);
    return list;
  }
}

/** A page of rows, as its connection is made of it. */
export function ofRows<Row>({ rows, cursorAfter, hasNext, hasPrevious, total }: Listing<Row>): ConnectionOptions<Row> {
  const last = rows.length - 1;
  return {
    events: rows,
    edgeOf: (index) => ({ node: rows[index], cursor: cursorAfter(index) }),
    pageInfo: () => ({
      hasNextPage: hasNext,
      hasPreviousPage: hasPrevious,
      startCursor: last < 0 ? null : cursorAfter(0),
      endCursor: last < 0 ? null : cursorAfter(last),
    }),
    gaps: [],
    totalCount: String(total),
  };
}

/** The connection of a page of rows, where a field resolves to it. */
export function connectionOfRows<Row>(
  page: Listing<Row>,
  { windows }: Pick<RequestContext, 'windows'>,
  info: GraphQLResolveInfo,
  weightOf?: (row: Row) => number,
): Connection<Row> {
  const weigh = weightOf && { weightOf: (index: number) => weightOf(page.rows[index] as Row) };
  const connection = new Connection({ ...ofRows(page), ...weigh });
  windows?.add(connection, info);
  return connection;
}

/**
 * A list for graphql-js, which runs it in one piece: a long one as promises that settle a window at a time, each window
 * in a turn of its own.
 */
export function inWindows<Item>(list: readonly Item[]): readonly (Item | Promise<Item>)[] {
  return list.length <= WINDOW
    ? list
    : promised(
        list.length,
        (index) => list[index] as Item,
        (from) => from + WINDOW,
      );
}

function entries(from: number, to: number, make: (index: number) => unknown): unknown[] {
  const list: unknown[] = [];
  for (let i = from; i < to; i++) list.push(make(i));
  return list;
}

function promised<Item>(
  length: number,
  make: (index: number) => Item,
  windowEnd: (from: number) => number,
): Promise<Item>[] {
  const list: Promise<Item>[] = [];
  let turn = Promise.resolve();
  let end = windowEnd(0);
  for (let i = 0; i < length; i++) {
    if (i === end) {
      turn = turn.then(() => turns.next('REQUEST'));
      end = windowEnd(i);
    }
    list.push(turn.then(() => make(i)));
  }
  return list;
}
