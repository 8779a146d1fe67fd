import {
  GraphQLError,
  TypeInfo,
  getNamedType,
  isInterfaceType,
  isObjectType,
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

/** Where a valid document selects `TraceEvent.values`. */
export function valuesNodes(schema: GraphQLSchema, document: DocumentNode): readonly ValuesNode[] {
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
 * Has `check` look at what they name: once an operation, and not once an event. Throws a GraphQLError with the place in the
 * document. A place whose variables the operation does not have is of another operation.
 */
export function checkValues(
  nodes: readonly ValuesNode[],
  variables: Readonly<Record<string, unknown>>,
  check: (fields: readonly string[]) => void,
): void {
  for (const { node, field } of nodes) {
    const given = node.arguments?.find(({ name }) => name.value === 'fields')?.value;
    if (given?.kind === 'Variable' && !(given.name.value in variables)) continue;
    try {
      check(namedFields(field, node, variables));
    } catch (error) {
      if (!(error instanceof EunomiaError)) throw error;
      throw new GraphQLError(error.message, { nodes: node, originalError: error });
    }
  }
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
