import {
  getNamedType,
  isObjectType,
  type FieldNode,
  type GraphQLObjectType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
} from 'graphql';
import { collectSubfields } from 'graphql/execution/collectFields.js';
import { getArgumentValues } from 'graphql/execution/values.js';
import { dataFields } from '../../event/data-field.js';
import type { Demand } from '../../event/event.js';
import { eventTypeName } from '../../base/names.js';
import { namedFields } from './values.js';

/** The part of GraphQLResolveInfo that tells what an operation selects. */
export type Selection = Pick<
  GraphQLResolveInfo,
  'schema' | 'fragments' | 'variableValues' | 'fieldNodes' | 'returnType'
>;

/**
 * Which fields of events a `Subscription.events` reads: its selection, with fragments, aliases, @skip and @include
 * evaluated as the executor does.
 */
export function demandOfBatches(selection: Selection): Demand {
  const reader = new Reader(selection);
  reader.below(selection, 'events', (nodes) => reader.readEvents(nodes));
  return reader.demand;
}

/**
 * Which fields of events an operation reads through the `Session` that it returns: pages of events, groups of aggregates,
 * reports. `readBy` tells what an argument `where` reads, null when it is none; `byReports` what a report reads.
 */
export function demandOfSession(
  selection: Selection,
  readBy: (where: unknown) => Demand | null,
  byReports: Demand,
  savedAs: (name: string) => { readonly input: Groups; readonly where: unknown },
): Demand {
  const reader = new Reader(selection);
  reader.below(selection, 'events', (nodes, page, parent) => {
    reader.readWhere(nodes, parent, 'events', readBy);
    const connection = { ...selection, fieldNodes: nodes, returnType: page };
    reader.below(connection, 'nodes', (inner) => reader.readEvents(inner));
    reader.below(connection, 'edges', (edges, edge) => {
      reader.below({ ...selection, fieldNodes: edges, returnType: edge }, 'node', (inner) => reader.readEvents(inner));
    });
  });
  reader.below(selection, 'aggregate', (nodes, _row, parent) => {
    reader.readWhere(nodes, parent, 'aggregate', readBy);
    reader.readGroups(nodes, parent);
  });
  reader.below(selection, 'savedAggregate', (nodes, _row, parent) => {
    const { name, where } = reader.argumentsOf(nodes, parent, 'savedAggregate');
    const saved = savedAs(String(name));
    reader.read(readBy(saved.where));
    reader.read(readBy(where));
    reader.readFields(saved.input);
  });
  reader.below(selection, 'report', () => {
    for (const [tracker, fields] of byReports) for (const field of fields) reader.demand.get(tracker)?.add(field);
  });
  return reader.demand;
}

/** What an aggregate reads by its groups and measures. */
type Groups = {
  readonly groupBy: readonly string[];
  readonly measures?: readonly { readonly field?: string | null | undefined }[] | null | undefined;
};

class Reader {
  readonly #selection: Selection;
  readonly #types: ReadonlyMap<string, GraphQLObjectType>;
  /** Every tracker has an entry: an event of which nothing is selected is still delivered, as an empty object. */
  readonly demand: ReadonlyMap<string, Set<string>>;

  constructor(selection: Selection) {
    this.#selection = selection;
    this.#types = eventTypes(selection.schema);
    this.demand = new Map([...this.#types.keys()].map((tracker) => [tracker, new Set<string>()]));
  }

  /** Calls back for each response key under which the field is selected: an alias is a selection of its own. */
  below(
    { fieldNodes, returnType }: Pick<Selection, 'fieldNodes' | 'returnType'>,
    name: string,
    found: (nodes: readonly FieldNode[], type: GraphQLObjectType, parent: GraphQLObjectType) => void,
  ): void {
    const parent = getNamedType(returnType);
    if (!isObjectType(parent)) return;
    for (const nodes of this.#collect(parent, fieldNodes)) {
      if (nodes[0]?.name.value !== name) continue;
      const field = parent.getFields()[name];
      const type = field && getNamedType(field.type);
      // The list of events is of an interface type: no object type is needed to go on there.
      if (field) found(nodes, isObjectType(type) ? type : parent, parent);
    }
  }

  readEvents(nodes: readonly FieldNode[]): void {
    for (const [tracker, type] of this.#types) {
      for (const [node] of this.#collect(type, nodes)) {
        if (!node) continue;
        const { value: name } = node.name;
        if (this.#isData(type, name)) this.demand.get(tracker)?.add(name);
        else if (name === 'values') this.#readValues(type, tracker, node);
      }
    }
  }

  #readValues(type: GraphQLObjectType, tracker: string, node: FieldNode): void {
    const field = type.getFields()['values'];
    if (!field) return;
    for (const path of namedFields(field, node, this.#selection.variableValues)) {
      const [first = ''] = path.split('.');
      if (this.#isData(type, first)) this.demand.get(tracker)?.add(first);
    }
  }

  readWhere(
    [node]: readonly FieldNode[],
    parent: GraphQLObjectType,
    name: string,
    readBy: (where: unknown) => Demand | null,
  ): void {
    this.read(readBy(node ? this.argumentsOf([node], parent, name)['where'] : null));
  }

  argumentsOf(
    [node]: readonly FieldNode[],
    parent: GraphQLObjectType,
    name: string,
  ): Readonly<Record<string, unknown>> {
    const field = parent.getFields()[name];
    return node && field ? getArgumentValues(field, node, this.#selection.variableValues) : {};
  }

  read(demand: Demand | null): void {
    for (const [tracker, paths] of demand ?? []) for (const path of paths) this.demand.get(tracker)?.add(path);
  }

  readGroups(nodes: readonly FieldNode[], session: GraphQLObjectType): void {
    // As the schema has coerced them.
    this.readFields(this.argumentsOf(nodes, session, 'aggregate') as Partial<Groups>);
  }

  readFields({ groupBy = [], measures }: Partial<Groups>): void {
    const paths = [...groupBy, ...(measures ?? []).flatMap(({ field: path }) => path ?? [])];
    for (const path of paths) {
      const [first = ''] = path.split('.');
      for (const [tracker, type] of this.#types) if (this.#isData(type, first)) this.demand.get(tracker)?.add(first);
    }
  }

  #isData(type: GraphQLObjectType, field: string): boolean {
    return dataFields(type).some(({ name }) => name === field);
  }

  #collect(type: GraphQLObjectType, nodes: readonly FieldNode[]): Iterable<readonly FieldNode[]> {
    const { schema, fragments, variableValues } = this.#selection;
    return collectSubfields(schema, fragments, variableValues, type, nodes).values();
  }
}

const known = new WeakMap<GraphQLSchema, ReadonlyMap<string, GraphQLObjectType>>();

/** Tracker → the type of its events, as `TrackerInput` lists them. */
export function eventTypes(schema: GraphQLSchema): ReadonlyMap<string, GraphQLObjectType> {
  const cached = known.get(schema);
  if (cached) return cached;
  const input = schema.getType('TrackerInput');
  const trackers = input && 'getFields' in input ? Object.keys(input.getFields()) : [];
  const types = new Map<string, GraphQLObjectType>();
  for (const tracker of trackers) {
    const type = schema.getType(eventTypeName(tracker));
    if (isObjectType(type)) types.set(tracker, type);
  }
  known.set(schema, types);
  return types;
}
