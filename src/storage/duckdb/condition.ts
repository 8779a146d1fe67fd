import type { Container } from '../../inventory/container.js';
import { compileSelector } from '../../inventory/selector.js';
import { EunomiaError } from '../../base/errors.js';
import { compileContainerFilter, optimise, type Filter, type FilterFields } from '../../filter/index.js';
import type { EventQuery } from '../store.js';
import { nanosOf } from '../../record/nanos.js';
import type { Bound } from './protocol.js';
import { quote, type ColumnKind, type EventTable } from './table.js';

type Leaf = Extract<Filter, { readonly kind: 'comparison' }>;

/** A container as the store knows it. */
export interface KnownContainer {
  readonly id: number;
  readonly facts: Container;
}

/** Where an event's row is `e` and its process's `p`. */
export interface SqlCondition {
  readonly sql: string;
  readonly values: readonly Bound[];
  /** False: the filter itself has to be evaluated for rows that meet it. */
  readonly exact: boolean;
  /** Whether it asks for something of the process. */
  readonly joins: boolean;
}

const processKinds: Readonly<Record<string, ColumnKind>> = {
  pid: 'int32',
  tid: 'int32',
  ppid: 'int32',
  uid: 'uint32',
  gid: 'uint32',
  comm: 'text',
  startTime: 'time',
  mountNs: 'uint64',
};
const eventKinds: Readonly<Record<string, ColumnKind>> = { time: 'time', bootNs: 'uint64', cgroupId: 'uint64' };

/** Bounds of what a column can hold; what lies beyond is left to the filter itself. */
const bounds: Partial<Record<ColumnKind, readonly [min: bigint, max: bigint, type: string]>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n, 'INTEGER'],
  uint32: [0n, 2n ** 32n - 1n, 'UINTEGER'],
  int64: [-(2n ** 63n), 2n ** 63n - 1n, 'BIGINT'],
  uint64: [0n, 2n ** 64n - 1n, 'UBIGINT'],
};

const ORDER: Readonly<Record<string, string>> = { lt: '<', lte: '<=', gt: '>', gte: '>=' };
const TEXT: Readonly<Record<string, string>> = { prefix: 'starts_with', suffix: 'suffix', contains: 'contains' };

/** The column of a field, or null when it has none of its own. */
export function columnOf(
  path: string,
  table: EventTable,
): { readonly sql: string; readonly kind: ColumnKind; readonly process: boolean } | null {
  if (Object.hasOwn(eventKinds, path))
    return { sql: `e.${quote(path)}`, kind: eventKinds[path] ?? 'text', process: false };
  if (path.startsWith('process.')) {
    const name = path.slice('process.'.length);
    return Object.hasOwn(processKinds, name)
      ? { sql: `p.${quote(name)}`, kind: processKinds[name] ?? 'text', process: true }
      : null;
  }
  const own = table.own.find(({ name }) => name === path);
  return own ? { sql: `e.${quote(own.name)}`, kind: own.kind, process: false } : null;
}

/** What of a query SQL can evaluate exactly as the filter does, for the events of one tracker. Null: none of them is in the result. */
export function conditionOf(
  query: EventQuery,
  table: EventTable,
  fields: FilterFields,
  containers: readonly KnownContainer[],
): SqlCondition | null {
  const filter = query.filter && optimise(query.filter.filter, fields, [table.tracker]);
  if (filter?.kind === 'always' && !filter.value) return null;
  const translator = new Translator(table, fields, containers);
  const parts: string[] = [];
  if (query.from !== null) parts.push(`e.time >= ${translator.bind(String(query.from), 'BIGINT')}`);
  if (query.to !== null) parts.push(`e.time < ${translator.bind(String(query.to), 'BIGINT')}`);
  if (query.containers !== null) {
    const matches = compileSelector(query.containers);
    parts.push(
      inContainers(
        containers.filter(({ facts }) => matches(facts)),
        false,
      ),
    );
  }
  let exact = true;
  for (const part of filter ? (filter.kind === 'and' ? filter.filters : [filter]) : []) {
    const sql = translator.translate(part);
    if (sql === null) exact = false;
    else parts.push(sql);
  }
  return {
    sql: parts.length ? parts.join(' AND ') : 'true',
    values: translator.values,
    exact,
    joins: translator.joins,
  };
}

function inContainers(containers: readonly KnownContainer[], orNone: boolean): string {
  const some = containers.length
    ? `coalesce(e.container IN (${containers.map(({ id }) => id).join(', ')}), false)`
    : 'false';
  return orNone ? `(${some} OR e.container IS NULL)` : some;
}

class Translator {
  readonly values: Bound[] = [];
  joins = false;
  readonly #table: EventTable;
  readonly #fields: FilterFields;
  readonly #containers: readonly KnownContainer[];

  constructor(table: EventTable, fields: FilterFields, containers: readonly KnownContainer[]) {
    this.#table = table;
    this.#fields = fields;
    this.#containers = containers;
  }

  bind(value: string, type: string): string {
    this.values.push(value);
    return type === 'VARCHAR' ? '?' : `?::${type}`;
  }

  /** Null when SQL would not match exactly what the filter matches; nothing is bound then. NULL is false, as everywhere in a WHERE. */
  translate(filter: Filter): string | null {
    const bound = this.values.length;
    const sql = this.#translate(filter);
    if (sql === null) this.values.length = bound;
    return sql;
  }

  #translate(filter: Filter): string | null {
    switch (filter.kind) {
      case 'always':
        return String(filter.value);
      case 'not': {
        // The filter knows no third value: what compares with null is false, and its negation true.
        const inner = this.translate(filter.filter);
        return inner === null ? null : `NOT coalesce(${inner}, false)`;
      }
      case 'and':
      case 'or': {
        const parts = filter.filters.map((part) => this.translate(part));
        return parts.every((part) => part !== null)
          ? `(${parts.join(filter.kind === 'and' ? ' AND ' : ' OR ')})`
          : null;
      }
      case 'any':
      case 'pair':
        return null;
      case 'comparison':
        return filter.path === 'container' || filter.path.startsWith('container.')
          ? this.#container(filter)
          : this.#comparison(filter);
    }
  }

  /** Containers are few: the filter itself is evaluated for what is known of each. */
  #container(leaf: Leaf): string {
    const { tracker } = this.#table;
    const matches = compileContainerFilter(leaf, this.#fields, tracker);
    return inContainers(
      this.#containers.filter(({ facts }) => matches({ tracker, container: facts })),
      matches({ tracker, container: null }),
    );
  }

  #comparison({ path, type, op, value }: Leaf): string | null {
    if (type === 'length' || type === 'joined' || type === 'age' || type === 'strings' || type === 'object')
      return null;
    const column = columnOf(path, this.#table);
    if (!column || column.kind === 'list' || column.kind === 'histogram' || column.kind === 'double') return null;
    if (column.process) this.joins = true;
    const { sql, kind } = column;
    if (op === 'isNull') return `${sql} IS ${value === true ? '' : 'NOT '}NULL`;
    const one = (item: unknown): string | null => this.#value(item, kind, type);
    if (op === 'in') {
      const list = (Array.isArray(value) ? (value as readonly unknown[]) : [value]).map(one);
      return list.every((item) => item !== null) ? `${sql} IN (${list.join(', ')})` : null;
    }
    const bound = one(value);
    if (bound === null) return null;
    if (op === 'eq') return `${sql} = ${bound}`;
    if (op === 'ne') return `${sql} <> ${bound}`;
    if (Object.hasOwn(ORDER, op)) return kind === 'text' ? null : `${sql} ${ORDER[op]} ${bound}`;
    return kind === 'text' && Object.hasOwn(TEXT, op) ? `${TEXT[op]}(${sql}, ${bound})` : null;
  }

  #value(value: unknown, kind: ColumnKind, type: string): string | null {
    if (kind === 'bool') return typeof value === 'boolean' ? String(value) : null;
    if (kind === 'time' || type === 'time')
      return kind === 'time' && typeof value === 'string' ? this.bind(String(nanosOf(value)), 'BIGINT') : null;
    // Half of a surrogate pair is no text to DuckDB, and equal to nothing that the kernel says.
    if (kind === 'text')
      return typeof value === 'string' && !/\p{Surrogate}/u.test(value) ? this.bind(value, 'VARCHAR') : null;
    const range = bounds[kind];
    if (!range || !/^-?\d+$/.test(String(value))) return null;
    const number = BigInt(String(value));
    return number >= range[0] && number <= range[1] ? this.bind(String(number), range[2]) : null;
  }
}

/** A query of stored events is for a store that is there. */
export function needTables(trackers: readonly string[], tables: readonly EventTable[]): EventTable[] {
  return trackers.map((name) => {
    const table = tables.find(({ tracker }) => tracker === name);
    if (!table) throw new EunomiaError('UNKNOWN_TRACKER', `there is no tracker "${name}"`);
    return table;
  });
}
