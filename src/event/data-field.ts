import type { GraphQLField, GraphQLObjectType } from 'graphql';

/** Fields of every event that say which one it is, and that read others by their names; the others say what happened. */
const IDENTITY: ReadonlySet<string> = new Set(['id', 'cursor', 'session', 'values']);

/**
 * The fields of a type of the schema that are data. Of an event, all but its identity, which follows from where the event lies: it is no
 * column, no field of a recording, and nothing that a filter, an aggregate or a plugin reads.
 */
export function dataFields(type: GraphQLObjectType): readonly GraphQLField<unknown, unknown>[] {
  const isEvent = type.getInterfaces().some(({ name }) => name === 'TraceEvent');
  return Object.values(type.getFields()).filter(({ name }) => !(isEvent && IDENTITY.has(name)));
}
