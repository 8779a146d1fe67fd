import {
  getNamedType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLLeafType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import { collectFields, collectSubfields } from 'graphql/execution/collectFields.js';
import { HISTOGRAM_BUCKET } from '../../event/scalar.js';
import { asciiJson } from '../../record/json/bytes.js';
import { objectJson, Unwritable, type JsonEntry, type JsonShape } from '../../record/json/shape.js';
import type { Execution } from '../graphql/compile.js';
import { eventTypes } from '../graphql/demand.js';

/** What a subscription to events returns, in the order of its selection. */
export interface TextPlan {
  /** The response key of the subscription's field. */
  readonly key: string;
  readonly entries: readonly BatchEntry[];
}

export type BatchEntry =
  | Extract<JsonEntry, { kind: 'constant' | 'leaf' }>
  | { readonly kind: 'events'; readonly key: string; readonly shape: JsonShape }
  | { readonly kind: 'gap'; readonly key: string; readonly nullable: boolean; readonly entries: readonly JsonEntry[] };

type WrittenOperation = Pick<Execution, 'schema' | 'document' | 'operation' | 'variables'>;

/**
 * The plan of a subscription whose batches can be written as text straight from their records; null when an executor of
 * GraphQL has to make them: it is no subscription to `events`, or it selects what a resolver makes or what takes arguments
 * (`container { labels }`, `label`, `pod`). Fragments, aliases, @skip and @include are evaluated by graphql-js itself, per operation.
 */
export function planText({ schema, document, operation, variables }: WrittenOperation): TextPlan | null {
  const root = schema.getSubscriptionType();
  if (operation.operation !== 'subscription' || !root) return null;
  const fragments = Object.fromEntries(
    document.definitions.flatMap((node) =>
      node.kind === 'FragmentDefinition' ? [[node.name.value, node] as const] : [],
    ),
  );
  const fields = collectFields(schema, fragments, variables, root, operation.selectionSet);
  const [[key, nodes] = []] = fields;
  const batch = getNamedType(root.getFields()['events']?.type);
  if (key === undefined || nodes?.[0]?.name.value !== 'events' || fields.size !== 1 || !isObjectType(batch))
    return null;
  const entries = new Planner(schema, fragments, variables).batch(batch, nodes);
  return entries && { key, entries };
}

type Nodes = readonly FieldNode[];

class Planner {
  readonly #schema: GraphQLSchema;
  readonly #fragments: Readonly<Record<string, FragmentDefinitionNode>>;
  readonly #variables: Readonly<Record<string, unknown>>;

  constructor(
    schema: GraphQLSchema,
    fragments: Readonly<Record<string, FragmentDefinitionNode>>,
    variables: Readonly<Record<string, unknown>>,
  ) {
    this.#schema = schema;
    this.#fragments = fragments;
    this.#variables = variables;
  }

  batch(type: GraphQLObjectType, nodes: Nodes): BatchEntry[] | null {
    return this.#entries<BatchEntry>(type, nodes, (key, name, output, inner) => {
      const named = getNamedType(output);
      if (name === 'events' && isInterfaceType(named)) {
        const shape = this.#shape(inner);
        return shape && { kind: 'events', key, shape };
      }
      const entries = name === 'gap' && isObjectType(named) ? this.#plain(named, inner) : null;
      return entries && { kind: 'gap', key, nullable: !isNonNullType(output), entries };
    });
  }

  #shape(nodes: Nodes): JsonShape | null {
    const shape = new Map<string, readonly JsonEntry[]>();
    for (const [tracker, type] of eventTypes(this.#schema)) {
      const entries = this.#entries<JsonEntry>(type, nodes, (key, name, output, inner) => {
        const named = getNamedType(output);
        if (isObjectType(named) && named.name === HISTOGRAM_BUCKET) return this.#histogram(key, name, output, inner);
        const kind = name === 'process' || (name === 'container' && !isNonNullType(output)) ? name : null;
        const below = kind && isObjectType(named) && !isListType(output) ? this.#plain(named, inner) : null;
        return kind && below && { kind, key, entries: below };
      });
      if (!entries) return null;
      shape.set(tracker, entries);
    }
    return shape;
  }

  /** A leaf, whose value is made from the event: few events have one, and few buckets. */
  #histogram(key: string, field: string, output: GraphQLOutputType, inner: Nodes): JsonEntry | null {
    const type = getNamedType(output);
    const entries = isObjectType(type) ? this.#plain(type, inner) : null;
    if (!entries) return null;
    return {
      kind: 'leaf',
      key,
      field,
      scalar: null,
      nullable: !isNonNullType(output),
      json: listJson(output, (value) => objectJson(value as object, entries)),
    };
  }

  /** Of an object with leaves alone. */
  #plain(type: GraphQLObjectType, nodes: Nodes): JsonEntry[] | null {
    return this.#entries<JsonEntry>(type, nodes, () => null);
  }

  #entries<Entry>(
    type: GraphQLObjectType,
    nodes: Nodes,
    object: (key: string, name: string, output: GraphQLOutputType, inner: Nodes) => Entry | null,
  ): (Entry | Extract<JsonEntry, { kind: 'constant' | 'leaf' }>)[] | null {
    const entries: (Entry | Extract<JsonEntry, { kind: 'constant' | 'leaf' }>)[] = [];
    for (const [key, inner] of collectSubfields(this.#schema, this.#fragments, this.#variables, type, nodes)) {
      const name = inner[0]?.name.value ?? '';
      const field = type.getFields()[name];
      if (name === '__typename') entries.push({ kind: 'constant', key, json: asciiJson(type.name) });
      else if (name === 'tracker' && isEvent(type))
        entries.push({ kind: 'constant', key, json: asciiJson(trackerOf(this.#schema, type)) });
      else if (!field || field.resolve || field.args.length) return null;
      else if (isLeafType(getNamedType(field.type))) {
        const named = isNonNullType(field.type) ? field.type.ofType : field.type;
        entries.push({
          kind: 'leaf',
          key,
          field: name,
          scalar: isScalarType(named) ? named.name : null,
          nullable: !isNonNullType(field.type),
          json: jsonOf(field.type),
        });
      } else {
        const entry = object(key, name, field.type, inner);
        if (!entry) return null;
        entries.push(entry);
      }
    }
    return entries;
  }
}

function isEvent(type: GraphQLObjectType): boolean {
  return type.getInterfaces().some(({ name }) => name === 'TraceEvent');
}

function trackerOf(schema: GraphQLSchema, type: GraphQLObjectType): string {
  for (const [tracker, event] of eventTypes(schema)) if (event === type) return tracker;
  throw new Unwritable(`${type.name} is of no tracker`);
}

/** How graphql-js completes a value of the type; where it would tell of an error, the function throws. */
function jsonOf(type: GraphQLOutputType): (value: unknown) => string {
  if (isNonNullType(type)) {
    const json = jsonOf(type.ofType);
    return (value) => {
      if (value === null || value === undefined) throw new Unwritable('null where the schema allows none');
      return json(value);
    };
  }
  if (isListType(type)) return listJson(type, jsonOf(type.ofType));
  const leaf = type as GraphQLLeafType;
  return (value) => {
    if (value === null || value === undefined) return 'null';
    const serialized: unknown = leaf.serialize(value);
    if (serialized === null || serialized === undefined) throw new Unwritable(`${leaf.name} made nothing of a value`);
    return asciiJson(serialized);
  };
}

function listJson(type: GraphQLOutputType, json: (value: unknown) => string): (value: unknown) => string {
  return (value) => {
    if (value === null || value === undefined) {
      if (isNonNullType(type)) throw new Unwritable('null where the schema allows none');
      return 'null';
    }
    if (!Array.isArray(value)) throw new Unwritable('no list where the schema has one');
    return `[${value.map(json).join(',')}]`;
  };
}
