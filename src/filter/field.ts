import {
  getNamedType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  type GraphQLInputObjectType,
  type GraphQLInterfaceType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import { EunomiaError, suggest } from '../base/errors.js';
import { eventTypeName } from '../base/names.js';
import { rowOf } from '../event/scalar.js';
import type { Catalog } from '../catalog/catalog.js';
import { lineagePath, type Lineage } from '../event/lineage.js';
import type { NameSet } from '../tracker/define.js';
import { listed } from '../base/listed.js';
import { ANCESTORS, isOfElement, LABELS, type OperandType } from './ast.js';

/** An event field that filters support. */
export interface FilterField {
  readonly path: string;
  readonly type: OperandType;
  /** The type of its filter in the schema, for messages. */
  readonly filterType: string;
  /** The operators of that type, by name. */
  readonly operators: readonly string[];
  /** The values of an enum; null for other types. */
  readonly values: readonly string[] | null;
  readonly nullable: boolean;
  /** The names that its text, or the texts of its list, can be; null if any text is possible. */
  readonly names: NameSet | null;
}

/** Fields of `EventFilter` that are not fields of events. */
const STRUCTURE: ReadonlySet<string> = new Set(['and', 'or', 'not', 'expr', 'saved']);

type Fields = ReadonlyMap<string, FilterField>;
type Owner = GraphQLObjectType | GraphQLInterfaceType;

/** What a filter's input type is for, and what it calls one of them in messages. */
export interface Filtered {
  readonly filter: string;
  readonly type: string;
  readonly noun: string;
}

const EVENTS: Filtered = { filter: 'EventFilter', type: 'TraceEvent', noun: 'event' };
/** What fields are derived from besides the schema. */
type Known = Pick<Catalog, 'trackers' | 'get' | 'lineage'>;

/**
 * The fields that can be filtered, derived from the schema's input type `EventFilter`. A tracker needs nothing but its
 * section there. No I/O.
 */
export class FilterFields {
  /** All trackers of the schema. */
  readonly trackers: readonly string[];
  /** Fields of all events, by their path. */
  readonly shared: Fields;
  /** What a saved filter of a name is, as JSON; throws BAD_USER_INPUT, with this path, for a name of none. Null where there are none. */
  saved: ((name: string, path: string) => unknown) | null = null;
  readonly #own: ReadonlyMap<string, Fields>;
  readonly #label: FilterField | null;
  /** Fields of an ancestor, by the path that they have in an `any`. */
  readonly #ancestor: Fields;
  readonly #known: Pick<Known, 'get' | 'lineage'>;
  readonly #noun: string;

  /** `filtered`: by default events. Of something else, which no tracker makes, there are no sections. */
  constructor(
    schema: GraphQLSchema,
    catalog: Known = { trackers: [], get: () => undefined, lineage: null },
    filtered: Filtered = EVENTS,
  ) {
    const filter = schema.getType(filtered.filter);
    const event = schema.getType(filtered.type);
    if (!isInputObjectType(filter) || !(isInterfaceType(event) || isObjectType(event)))
      throw new EunomiaError(
        'BAD_SCHEMA',
        `schema.graphql has no input ${filtered.filter}, or no type ${filtered.type} with fields`,
      );
    const isShared = (name: string): boolean => event.getFields()[name] !== undefined;
    this.#noun = filtered.noun;
    this.#known = catalog;
    this.trackers = catalog.trackers.map(({ name }) => name);
    const shared = new Map<string, FilterField>();
    const own = new Map<string, Fields>();
    let label: FilterField | null = null;
    for (const [name, { type }] of Object.entries(filter.getFields())) {
      const input = getNamedType(type);
      if (STRUCTURE.has(name) || !isInputObjectType(input)) continue;
      const found = isShared(name)
        ? fieldsOf({ name, input, owner: event, nullable: false })
        : ownFields(schema, name, input).map((field) => ({
            ...field,
            names: catalog.get(name)?.names[field.path] ?? null,
          }));
      if (!isShared(name)) own.set(name, toMap(found));
      else for (const field of found) shared.set(field.path, field);
      const labels = input.getFields()['labels']?.type;
      if (isListType(labels)) label = labelOf(getNamedType(labels));
    }
    const tracker = shared.get('tracker');
    const names = new Set(this.trackers);
    if (tracker && names.size)
      shared.set('tracker', {
        ...tracker,
        names: { of: 'tracker', has: (name) => names.has(name), all: this.trackers },
      });
    this.shared = shared;
    this.#own = own;
    this.#label = label;
    this.#ancestor = toMap(ancestorFields(schema));
  }

  /** Whether it is captured only on demand; such a field is usually large. */
  isOnDemand(tracker: string, path: string): boolean {
    if (!this.#own.get(tracker)?.has(path)) return false;
    return this.#known.get(tracker)?.fields.find((field) => field.path === path)?.onDemand ?? false;
  }

  /** Where fields come from that only the table of processes has; null where there is nothing. */
  get lineage(): Lineage | null {
    return this.#known.lineage;
  }

  /** Why a field cannot be filtered here; null if it can. */
  refusalOf({ path }: FilterField): string | null {
    const problem = lineagePath(path) === null ? null : (this.lineage?.problem ?? null);
    return problem === null ? null : `"${path}" comes from the table of processes, and there is none: ${problem}`;
  }

  /** The fields of an element of a list: "pid" of an ancestor as ".pid". Empty if its elements are texts. */
  elementFields({ type }: Pick<FilterField, 'type'>): Fields {
    return type === 'processes' ? this.#ancestor : new Map<string, FilterField>();
  }

  /** A tracker's own fields; undefined if `EventFilter` has no section for it. */
  own(tracker: string): Fields | undefined {
    return this.#own.get(tracker);
  }

  /** Returns the field of a tracker's events; undefined if they have none. */
  get(tracker: string, path: string): FilterField | undefined {
    if (isOfElement(path)) return this.#ancestor.get(path);
    return (
      this.shared.get(path) ??
      this.#own.get(tracker)?.get(path) ??
      (path.startsWith(LABELS) ? this.label(path.slice(LABELS.length)) : undefined)
    );
  }

  /** Returns the field of a container label. Every container has every label; labels that are not set are null. */
  label(name: string): FilterField | undefined {
    return this.#label && name !== '' ? { ...this.#label, path: `${LABELS}${name}` } : undefined;
  }

  /** Returns the field that events of these trackers have. If its type differs between trackers, it is `mixed`. */
  among(
    trackers: readonly string[],
    path: string,
  ): { readonly field: FilterField; readonly of: readonly string[]; readonly mixed: boolean } | undefined {
    const found = trackers.flatMap((tracker) => {
      const field = this.get(tracker, path);
      return field ? [{ tracker, field }] : [];
    });
    const [first] = found;
    if (!first) return undefined;
    return {
      field: {
        ...first.field,
        names: found.every(({ field }) => field.names === first.field.names) ? first.field.names : null,
      },
      of: found.map(({ tracker }) => tracker),
      mixed: found.some(({ field }) => field.filterType !== first.field.filterType),
    };
  }

  /** Returns why events of these trackers have no such field, with a suggestion. */
  missing(trackers: readonly string[], path: string): string {
    const known = new Set(
      trackers.flatMap((tracker) => [...this.shared.keys(), ...(this.#own.get(tracker)?.keys() ?? [])]),
    );
    const inside = [...known].find((candidate) => candidate.startsWith(`${path}.`));
    if (inside) return `"${path}" is not a single value; name one inside it, for example "${inside}"`;
    const [, list = '', field = ''] = /^(.+)\.(\w+)$/.exec(path) ?? [];
    if (this.shared.get(list)?.type === 'processes' && this.#ancestor.has(`.${field}`))
      return `"${list}" is a list of processes; write ${list}.exists(p, p.${field} == …)`;
    const elsewhere = this.trackers.filter((tracker) => this.#own.get(tracker)?.has(path));
    const hint = elsewhere.length > 0 ? `; ${listed(elsewhere)} would` : suggest(path, known);
    const of = this.trackers.length > 0 ? ` of ${trackers.join(', ')}` : '';
    return `no ${this.#noun}${of} has the field "${path}"${hint}`;
  }
}

/** An element of a list of texts; never null. */
export function element(list: Pick<FilterField, 'names'> | null): FilterField {
  return {
    path: '',
    type: 'string',
    filterType: 'StringFilter',
    operators: ['eq', 'ne', 'in', 'glob', 'regex', 'prefix', 'suffix', 'contains'],
    values: null,
    names: list?.names ?? null,
    nullable: false,
  };
}

/** The length of a list; null if the list is null. */
export function lengthOf(list: FilterField): FilterField {
  return {
    ...list,
    type: 'length',
    filterType: 'the length of a list',
    operators: ['eq', 'ne', 'in', 'lt', 'lte', 'gt', 'gte'],
  };
}

/** The texts of a list with a space between them; null if the list is null. */
export function joinedOf(list: FilterField): FilterField {
  return { ...list, ...element(null), path: list.path, type: 'joined', filterType: 'the joined texts of a list' };
}

/** How old the process was at the event. */
export function ageOf(start: FilterField): FilterField {
  return { ...start, type: 'age', filterType: 'the age of a process', operators: ['lt', 'lte', 'gt', 'gte'] };
}

function toMap(fields: readonly FilterField[]): Fields {
  return new Map(fields.map((field) => [field.path, field]));
}

function ownFields(schema: GraphQLSchema, tracker: string, input: GraphQLInputObjectType): FilterField[] {
  const owner = schema.getType(eventTypeName(tracker));
  if (!isObjectType(owner)) throw unfit(`EventFilter.${tracker}`, `has no type ${eventTypeName(tracker)} beside it`);
  return Object.keys(input.getFields()).flatMap((name) => {
    const field = input.getFields()[name];
    const type = field && getNamedType(field.type);
    return isInputObjectType(type) ? fieldsOf({ name, input: type, owner, nullable: false }) : [];
  });
}

interface Place {
  readonly name: string;
  readonly input: GraphQLInputObjectType;
  /** The path of the field. */
  readonly owner: Owner;
  /** Whether the containing object can be null. */
  readonly nullable: boolean;
  readonly prefix?: string;
}

/** Returns the field, or the fields inside it. */
function fieldsOf({ name, input, owner, nullable, prefix = '' }: Place): FilterField[] {
  const output: GraphQLOutputType | undefined = owner.getFields()[name]?.type;
  const path = `${prefix}${name}`;
  if (!output) throw unfit(path, `${owner.name} has no such field`);
  const canBeNull = nullable || !isNonNullType(output);
  const leaf = path === ANCESTORS ? ancestors(input) : leafOf(path, input, canBeNull);
  if (leaf) return [leaf];
  const inner = getNamedType(output);
  if (!isObjectType(inner))
    throw unfit(path, `${input.name} is neither a filter for a value nor one for the fields of ${inner.name}`);
  const fields = Object.values(input.getFields()).flatMap((below) => {
    const type = getNamedType(below.type);
    // Labels are a list of filters and have their own paths.
    return isInputObjectType(type) && !isListType(below.type)
      ? fieldsOf({ name: below.name, input: type, owner: inner, nullable: canBeNull, prefix: `${path}.` })
      : [];
  });
  const self = input.getFields()['isNull'] ? [made(path, 'object', input, canBeNull, ['isNull'], null)] : [];
  return [...self, ...fields];
}

function ancestors(input: GraphQLInputObjectType): FilterField {
  return made(ANCESTORS, 'processes', input, true, Object.keys(input.getFields()), null);
}

/** Of the ancestors' own filter in the schema, the fields. */
function ancestorFields(schema: GraphQLSchema): FilterField[] {
  const [input, owner] = [schema.getType('AncestorFilter'), schema.getType('Process')];
  if (!isInputObjectType(input) || !isObjectType(owner)) return [];
  return Object.values(input.getFields()).flatMap(({ name, type }) => {
    const below = getNamedType(type);
    return isInputObjectType(below) ? fieldsOf({ name, input: below, owner, nullable: false, prefix: '.' }) : [];
  });
}

function leafOf(path: string, input: GraphQLInputObjectType, nullable: boolean): FilterField | null {
  const operators = Object.keys(input.getFields());
  if (operators.includes('has')) return made(path, 'strings', input, nullable, operators, null);
  const eq = input.getFields()['eq']?.type;
  if (!eq) return null;
  const named = getNamedType(eq);
  if (isEnumType(named))
    return made(
      path,
      'enum',
      input,
      nullable,
      operators,
      named.getValues().map(({ name }) => name),
    );
  const type = operators.includes('cidr') ? 'address' : rowOf(named.name).compared;
  if (!type) throw unfit(path, `nothing compares the type ${named.name} of ${input.name}.eq`);
  return made(path, type, input, nullable, operators, null);
}

function labelOf(input: unknown): FilterField | null {
  const value = isInputObjectType(input) ? getNamedType(input.getFields()['value']?.type) : undefined;
  return isInputObjectType(value) ? leafOf(LABELS, value, true) : null;
}

function made(
  path: string,
  type: OperandType,
  input: GraphQLInputObjectType,
  nullable: boolean,
  operators: readonly string[],
  values: readonly string[] | null,
): FilterField {
  return { path, type, filterType: input.name, operators, values, names: null, nullable };
}

function unfit(path: string, why: string): EunomiaError {
  return new EunomiaError('BAD_SCHEMA', `schema.graphql, the filter for ${path}: ${why}`);
}
