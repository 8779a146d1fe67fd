import { Kind, type GraphQLResolveInfo, type ValueNode } from 'graphql';

/**
 * Whether the client wrote a value at this path of the field's arguments: a default looks the same to a resolver.
 * `variables` are those of the request, not coerced.
 */
export function isWritten(
  info: GraphQLResolveInfo,
  variables: Readonly<Record<string, unknown>>,
  [name = '', ...path]: readonly string[],
): boolean {
  const argument = info.fieldNodes[0]?.arguments?.find((node) => node.name.value === name);
  return argument !== undefined && has(argument.value, variables, path);
}

function has(node: ValueNode, variables: Readonly<Record<string, unknown>>, path: readonly string[]): boolean {
  if (node.kind === Kind.VARIABLE) {
    let value: unknown = variables[node.name.value];
    for (const key of path) value = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
    return value !== undefined && value !== null;
  }
  const [key, ...rest] = path;
  if (key === undefined) return node.kind !== Kind.NULL;
  if (node.kind !== Kind.OBJECT) return false;
  const field = node.fields.find((candidate) => candidate.name.value === key);
  return field !== undefined && has(field.value, variables, rest);
}
