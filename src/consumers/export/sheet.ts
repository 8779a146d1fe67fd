import {
  getNamedType,
  isEnumType,
  isListType,
  isNonNullType,
  isObjectType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import type { FieldValue, TraceEvent } from '../../event.js';
import { compileField } from '../../trackers/catalog.js';
import { eventType, Recorder, type Recorded } from './recorder.js';

/** TEXTS is a list of texts; UINT64 and INT64 are decimal texts until they are written. */
export type ColumnType = 'TEXT' | 'TEXTS' | 'BOOLEAN' | 'INT32' | 'UINT32' | 'INT64' | 'UINT64' | 'DOUBLE' | 'TIME';

export interface Column {
  readonly name: string;
  readonly type: ColumnType;
}

/** Things of one kind, and how they become lines: objects for NDJSON, rows of columns for the other formats. */
export interface Sheet<Item> {
  readonly columns: readonly Column[];
  record(item: Item): object;
  /** One value for each column. */
  row(item: Item): FieldValue[];
}

const LABELS = 'container.labels.';
const TYPES: Readonly<Record<string, ColumnType>> = {
  Boolean: 'BOOLEAN',
  Int: 'INT32',
  UInt32: 'UINT32',
  Int64: 'INT64',
  UInt64: 'UINT64',
  Float: 'DOUBLE',
  DateTime: 'TIME',
};

/**
 * Events as a sheet. `paths`: these columns; when null all fields that the trackers have. A field that two trackers have with different
 * types is TEXT.
 */
export function eventSheet(
  schema: GraphQLSchema,
  trackers: readonly string[],
  paths: readonly string[] | null,
): Sheet<TraceEvent> {
  const types = trackers.map((tracker) => typesOf(eventType(schema, tracker)));
  const names = [...new Set(paths ?? types.flatMap((fields) => [...fields.keys()]))];
  const columns = names.map((name): Column => {
    const found = new Set(types.flatMap((fields) => fields.get(name) ?? []));
    const [type = 'TEXT'] = found;
    return { name, type: found.size > 1 ? 'TEXT' : type };
  });
  const readers = columns.map(({ name }) => compileField(name));
  const recorder = new Recorder(schema, trackers, paths);
  return {
    columns,
    record: (event): Recorded => recorder.record(event),
    row: (event) => readers.map((read) => read(event)),
  };
}

function typesOf(type: GraphQLObjectType, prefix = ''): Map<string, ColumnType> {
  const fields = Object.values(type.getFields()).flatMap((field): (readonly [string, ColumnType])[] => {
    if (field.args.length > 0) return [];
    const path = `${prefix}${field.name}`;
    const inner = nullable(field.type);
    const named = getNamedType(inner);
    if (isObjectType(named)) return isListType(inner) || prefix !== '' ? [] : [...typesOf(named, `${path}.`)];
    return [[path, isListType(inner) ? 'TEXTS' : isEnumType(named) ? 'TEXT' : (TYPES[named.name] ?? 'TEXT')]];
  });
  return new Map(fields);
}

function nullable(type: GraphQLOutputType): GraphQLOutputType {
  return isNonNullType(type) ? type.ofType : type;
}

/** The first part of each path: what a reader of these columns needs captured. */
export function rootsOf(columns: readonly Column[]): Set<string> {
  return new Set(columns.map(({ name }) => (name.startsWith(LABELS) ? 'container' : (name.split('.')[0] ?? name))));
}
