import {
  getNamedType,
  getNullableType,
  isLeafType,
  isListType,
  isObjectType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import { EunomiaError } from '../base/errors.js';
import { dataFields } from '../event/data-field.js';
import type { TraceEvent } from '../event/event.js';
import { fieldType, HISTOGRAM_BUCKET } from '../event/scalar.js';
import { eventTypeName } from '../base/names.js';

/** An event as JSON has it: what a GraphQL client gets that selects all of its fields. */
export type RecordedEvent = Readonly<Record<string, unknown>>;

type Copy = (value: unknown) => unknown;
type Fields = readonly (readonly [name: string, copy: Copy])[];

/** There in each line, also when other fields were chosen: without them a line says nothing. */
const ALWAYS = ['tracker', 'time'];

/** Copies events out, by the types of the schema: a field that is added there is in the next export. */
export class EventRecorder {
  readonly #trackers: ReadonlyMap<string, Fields>;

  /** `paths`: only these fields ("process.comm", "args"), as the catalog checked them; all of them when null. */
  constructor(schema: GraphQLSchema, trackers: readonly string[], paths: readonly string[] | null) {
    this.#trackers = new Map(
      trackers.map((name) => [name, fieldsOf(eventType(schema, name), paths && [...ALWAYS, ...paths])]),
    );
  }

  record(event: TraceEvent): RecordedEvent {
    return copied(event, this.#trackers.get(event.tracker) ?? []);
  }
}

export function eventType(schema: GraphQLSchema, tracker: string): GraphQLObjectType {
  const type = schema.getType(eventTypeName(tracker));
  if (isObjectType(type)) return type;
  throw new EunomiaError('UNKNOWN_TRACKER', `there is no tracker "${tracker}" in this build`);
}

function copied(source: object, fields: Fields): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const [name, copyOf] of fields) {
    const value: unknown = Reflect.get(source, name);
    copy[name] = value === null || value === undefined ? null : copyOf(value);
  }
  return copy;
}

function fieldsOf(type: GraphQLObjectType, paths: readonly string[] | null): Fields {
  return dataFields(type).flatMap(({ name, args, type: of }) => {
    const below = paths
      ?.filter((path) => path === name || path.startsWith(`${name}.`))
      .map((path) => path.slice(name.length + 1)) ?? [''];
    // A field with arguments is another way to ask for what a field without any has.
    if (args.length > 0 || below.length === 0) return [];
    return [[name, copyOf(of, below.includes('') ? null : below)] as const];
  });
}

function copyOf(type: GraphQLOutputType, paths: readonly string[] | null): Copy {
  const inner = getNullableType(type);
  const named = getNamedType(inner);
  if (isLeafType(named)) return fieldType(String(inner)).wide ? String : (value) => value;
  if (!isObjectType(named))
    throw new EunomiaError(
      'BAD_SCHEMA',
      `schema.graphql: events have a value of the type ${named.name}, which no export knows`,
    );
  if (named.name === HISTOGRAM_BUCKET) return (value) => value;
  // Labels are kept by name, and are a list in the contract.
  if (isListType(inner)) return (value) => labelList(value as Readonly<Record<string, string>>, paths);
  const fields = fieldsOf(named, paths);
  return (value) => copied(value as object, fields);
}

function labelList(
  labels: Readonly<Record<string, string>>,
  names: readonly string[] | null,
): { name: string; value: string }[] {
  return Object.keys(labels)
    .filter((name) => names === null || names.includes(name))
    .sort()
    .map((name) => ({ name, value: labels[name] ?? '' }));
}
