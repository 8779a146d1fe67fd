import {
  getNamedType,
  getNullableType,
  isEnumType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
  isScalarType,
  type GraphQLNamedType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import { isOfGraph } from '../../src/event/data-field.js';

const DECIMAL = /^(0|-?[1-9]\d*)$/;
/** Measured amounts that are given to a thousandth. */
const MEASURED = /^(lagMs|busyMs|uptimeSeconds|cpuSeconds|eventsPerSecond|retentionMs)$/;

const isWithin = (value: unknown, least: number, most: number): boolean =>
  Number.isInteger(value) && Number(value) >= least && Number(value) <= most;
const isText = (value: unknown, pattern: RegExp): value is string => typeof value === 'string' && pattern.test(value);
/** A date that the calendar has: 30 February becomes another one. */
const isDate = (value: string): boolean => {
  const date = new Date(value);
  return !Number.isNaN(date.getTime()) && date.toISOString().slice(0, 19) === value.slice(0, 19);
};

/** What each scalar of the schema claims. */
const claims: Readonly<Record<string, (value: unknown, field: string) => boolean>> = {
  Int: (value) => isWithin(value, -(2 ** 31), 2 ** 31 - 1),
  UInt32: (value) => isWithin(value, 0, 2 ** 32 - 1),
  UInt64: (value) => isText(value, DECIMAL) && BigInt.asUintN(64, BigInt(value)) === BigInt(value),
  Int64: (value) => isText(value, DECIMAL) && BigInt.asIntN(64, BigInt(value)) === BigInt(value),
  Float: (value, field) =>
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (!MEASURED.test(field) || /^\d+(\.\d{1,3})?$/.test(String(value))),
  Boolean: (value) => typeof value === 'boolean',
  String: (value) => typeof value === 'string',
  ID: (value) => isText(value, /./),
  DateTime: (value) => isText(value, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/) && isDate(value),
  Duration: (value) => isText(value, /^\d+(ns|us|ms|s|m|h)$/),
  Errno: (value) => isText(value, /^(E[A-Z0-9]+|\d+)$/),
  Cursor: (value) => isText(value, /^[\w+/=-]+$/),
  EventField: (value) => isText(value, /^[a-z]\w*(\.[\w./-]+)*$/i),
  JSON: (value) => value !== undefined,
};

/** An object that `Query.node` has to find again. */
export interface Identified {
  readonly type: string;
  readonly id: string;
}

/** Checks the values of results by the types that the schema gives their fields, and remembers what it has seen. */
export class Typed {
  readonly #schema: GraphQLSchema;
  /** "Type.field" of each field that had a value. */
  readonly seen = new Set<string>();
  /** The types of which there was an object. */
  readonly types = new Set<string>();
  /** Objects with an id, by it. */
  readonly identified = new Map<string, Identified>();
  /** Texts of the scalar Cursor. */
  readonly cursors = new Set<string>();

  constructor(schema: GraphQLSchema) {
    this.#schema = schema;
  }

  /** Throws, with its path, at the first value that is not what its type says. */
  check(value: unknown, type: GraphQLOutputType, path: string): void {
    const wrong = (expected: string): Error => new Error(`${path}: ${JSON.stringify(value)} is no ${expected}`);
    if (isNonNullType(type)) {
      if (value === null || value === undefined) throw wrong(String(type));
      return this.check(value, type.ofType, path);
    }
    if (value === undefined) throw wrong(String(type));
    if (value === null) return;
    if (isListType(type)) {
      if (!Array.isArray(value)) throw wrong('list');
      value.forEach((item, i) => this.check(item, type.ofType, `${path}[${i}]`));
    } else if (isScalarType(type)) {
      if (claims[type.name]?.(value, path.split('.').at(-1) ?? '') !== true) throw wrong(type.name);
      if (type.name === 'Cursor') this.cursors.add(String(value));
    } else if (isEnumType(type)) {
      if (!type.getValues().some(({ name }) => name === value)) throw wrong(type.name);
    } else this.#object(value, type, path);
  }

  #object(value: unknown, type: GraphQLNamedType, path: string): void {
    if (typeof value !== 'object' || value === null) throw new Error(`${path}: ${String(value)} is no ${type.name}`);
    const object = value as Readonly<Record<string, unknown>>;
    const actual = this.#schema.getType(String(object['__typename']));
    const fits =
      isObjectType(actual) && (actual === type || actual.getInterfaces().some(({ name }) => name === type.name));
    if (!fits) throw new Error(`${path}: ${String(object['__typename'])} is no ${type.name}`);
    this.types.add(actual.name);
    for (const [name, inner] of Object.entries(object)) {
      const field = actual.getFields()[name];
      if (!field) continue;
      if (inner !== null) this.seen.add(`${actual.name}.${name}`);
      this.check(inner, field.type, `${path}.${name}`);
    }
    const id = object['id'];
    if (typeof id === 'string' && actual.getInterfaces().some(({ name }) => name === 'Node'))
      this.identified.set(id, { type: actual.name, id });
  }
}

export interface SelectionOptions {
  /** Of events, the type whose own fields are selected. */
  readonly event?: string;
  /** Whether a field is selected; all when absent. */
  readonly takes?: (type: string, field: string) => boolean;
}

/** Selects all fields without a required argument, down to objects that contain themselves. */
export function selectionOf(
  schema: GraphQLSchema,
  type: GraphQLNamedType,
  { event = 'ExecEvent', takes = () => true }: SelectionOptions = {},
): string {
  const select = (of: GraphQLNamedType, above: readonly string[]): string => {
    if (!isObjectType(of) && !isInterfaceType(of)) return '';
    const fields = Object.values(of.getFields()).flatMap((field) => {
      const inner = getNamedType(field.type);
      if (field.args.some(isRequiredArgument) || above.includes(inner.name) || above.length > 4) return [];
      if (!takes(of.name, field.name)) return [];
      const composite = isObjectType(inner) || isInterfaceType(inner);
      // Sessions, and pages of other things, are asked for by themselves.
      if (inner.name === 'Session') return [`${field.name} { __typename id }`];
      if (composite && above.length > 0 && inner.name.endsWith('Connection')) return [];
      const few = isListType(getNullableType(field.type)) && field.args.some(({ name }) => name === 'first');
      const name = few ? `${field.name}(first: 2)` : field.name;
      // Where it leads from one object to others is followed by one step.
      if (composite && isOfGraph(of.name, field.name) && leadsOn(inner))
        return above.some((one) => one === 'Process' || one === 'Container') ? [] : [`${name} ${leavesOf(inner)}`];
      const below = select(inner, [...above, of.name]);
      return composite ? (below ? [`${name} ${below}`] : []) : [name];
    });
    const only = schema.getType(event);
    const fragment =
      isInterfaceType(of) && only ? ` ... on ${event} ${select(only, [...above, of.name]) || '{ __typename }'}` : '';
    return fields.length ? `{ __typename ${fields.join(' ')}${fragment} }` : '';
  };
  return select(type, []);
}

/** Whether it leads to processes and containers again. */
function leadsOn(type: GraphQLNamedType): boolean {
  if (!isObjectType(type)) return false;
  const names = ['Process', 'Container'];
  return (
    names.includes(type.name) ||
    Object.values(type.getFields()).some((one) => names.includes(getNamedType(one.type).name))
  );
}

function leavesOf(type: GraphQLNamedType): string {
  if (!isObjectType(type)) throw new Error(`${type.name} is no object`);
  const leaves = Object.values(type.getFields()).filter(
    (field) => isLeafType(getNamedType(field.type)) && !field.args.some(isRequiredArgument),
  );
  return `{ __typename ${leaves.map(({ name }) => name).join(' ')} }`;
}
