import {
  GraphQLError,
  TypeInfo,
  getNamedType,
  isInterfaceType,
  isObjectType,
  separateOperations,
  visit,
  visitWithTypeInfo,
  type DocumentNode,
  type FieldNode,
  type GraphQLField,
  type GraphQLSchema,
} from 'graphql';
import { getArgumentValues } from 'graphql/execution/values.js';
import { EunomiaError } from '../../base/errors.js';

/** A place of a document where fields of events are named at run time. */
export interface ValuesNode {
  readonly node: FieldNode;
  readonly field: GraphQLField<unknown, unknown>;
}

/** Where each operation of a valid document selects `TraceEvent.values`, by the operation's name; "" where it has none. */
export function valuesNodes(schema: GraphQLSchema, document: DocumentNode): ReadonlyMap<string, readonly ValuesNode[]> {
  const operations = Object.entries(separateOperations(document));
  return new Map(operations.map(([name, own]) => [name, nodesOf(schema, own)]));
}

function nodesOf(schema: GraphQLSchema, document: DocumentNode): readonly ValuesNode[] {
  const info = new TypeInfo(schema);
  const found: ValuesNode[] = [];
  visit(
    document,
    visitWithTypeInfo(info, {
      Field(node) {
        const parent = getNamedType(info.getParentType());
        const field = info.getFieldDef();
        if (node.name.value === 'values' && field && isEvent(parent)) found.push({ node, field });
      },
    }),
  );
  return found;
}

/**
 * Has `check` look at what they name: once an operation, and not once an event. `nodes` are of the operation that is executed:
 * those of others have variables that it need not have. Throws a GraphQLError with the place in the document. Returns how many values
 * one event has at all of these places.
 */
export function checkValues(
  nodes: readonly ValuesNode[],
  variables: Readonly<Record<string, unknown>>,
  check: (fields: readonly string[]) => void,
): number {
  let count = 0;
  for (const { node, field } of nodes) {
    try {
      const fields = namedFields(field, node, variables);
      check(fields);
      count += fields.length;
    } catch (error) {
      if (!(error instanceof EunomiaError)) throw error;
      throw new GraphQLError(error.message, { nodes: node, originalError: error });
    }
  }
  return count;
}

/** The argument of `TraceEvent.values`. */
export function namedFields(
  field: GraphQLField<unknown, unknown>,
  node: FieldNode,
  variables: Readonly<Record<string, unknown>>,
): readonly string[] {
  const { fields } = getArgumentValues(field, node, variables);
  return Array.isArray(fields) ? fields.map(String) : [];
}

function isEvent(type: unknown): boolean {
  if (isInterfaceType(type)) return type.name === 'TraceEvent';
  return isObjectType(type) && type.getInterfaces().some(({ name }) => name === 'TraceEvent');
}
