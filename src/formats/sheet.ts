import { dataFields } from '../event/data-field.js';
import {
  getNamedType,
  getNullableType,
  isListType,
  isObjectType,
  type GraphQLObjectType,
  type GraphQLSchema,
} from 'graphql';
import type { FieldValue, TraceEvent } from '../event/event.js';
import { fieldType, HISTOGRAM_BUCKET, type ColumnType } from '../event/scalar.js';
import { compileField } from '../catalog/catalog.js';
import { eventType, EventRecorder, type RecordedEvent } from './recorder.js';

export interface SheetColumn {
  readonly name: string;
  /** Whole numbers of 64 bits are decimal texts until they are written. */
  readonly type: ColumnType;
}

/** Things of one kind, and how they become lines: objects for NDJSON, rows of columns for the other formats. */
export interface Sheet<Item> {
  readonly columns: readonly SheetColumn[];
  record(item: Item): object;
  /** One value for each column. */
  row(item: Item): FieldValue[];
}

const LABELS = 'container.labels.';

/**
 * Events as a sheet. `paths`: these columns; when null all fields that the trackers have. A field that two trackers have with different
 * types is a text.
 */
export function eventSheet(
  schema: GraphQLSchema,
  trackers: readonly string[],
  paths: readonly string[] | null,
): Sheet<TraceEvent> {
  const types = trackers.map((tracker) => typesOf(eventType(schema, tracker)));
  const names = [...new Set(paths ?? types.flatMap((fields) => [...fields.keys()]))];
  const columns = names.map((name): SheetColumn => {
    const found = new Set(types.flatMap((fields) => fields.get(name) ?? []));
    const [type = 'text'] = found;
    return { name, type: found.size > 1 ? 'text' : type };
  });
  const readers = columns.map(({ name }) => compileField(name));
  const recorder = new EventRecorder(schema, trackers, paths);
  return {
    columns,
    record: (event): RecordedEvent => recorder.record(event),
    row: (event) => readers.map((read) => read(event)),
  };
}

/** An event, and the id of its session. */
export interface SessionEvent {
  readonly session: string;
  readonly event: TraceEvent;
}

/** The same of events of several sessions: the first column, and the first member of each object, is the session's id. */
export function sessionsSheet(...events: Parameters<typeof eventSheet>): Sheet<SessionEvent> {
  const { columns, record, row } = eventSheet(...events);
  return {
    columns: [{ name: 'session', type: 'text' }, ...columns],
    record: ({ session, event }) => ({ session, ...record(event) }),
    row: ({ session, event }) => [session, ...row(event)],
  };
}

function typesOf(type: GraphQLObjectType, prefix = ''): Map<string, ColumnType> {
  const fields = dataFields(type).flatMap((field): (readonly [string, ColumnType])[] => {
    if (field.args.length > 0) return [];
    const path = `${prefix}${field.name}`;
    const inner = getNullableType(field.type);
    const named = getNamedType(inner);
    if (isObjectType(named) && named.name !== HISTOGRAM_BUCKET)
      return isListType(inner) || prefix !== '' ? [] : [...typesOf(named, `${path}.`)];
    return [[path, fieldType(String(inner)).column]];
  });
  return new Map(fields);
}

/** The first part of each path: what a reader of these columns needs captured. */
export function rootsOf(columns: readonly SheetColumn[]): Set<string> {
  return new Set(columns.map(({ name }) => (name.startsWith(LABELS) ? 'container' : (name.split('.')[0] ?? name))));
}
