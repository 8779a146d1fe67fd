import type { GraphQLField, GraphQLObjectType } from 'graphql';

/** Fields of every event that say which one it is, and that read others by their names; the others say what happened. */
const IDENTITY: ReadonlySet<string> = new Set(['id', 'cursor', 'session', 'values']);

/** Fields that lead from an object of an event to others, or that are known of it beside the event: no event has them. */
const GRAPH: Readonly<Record<string, ReadonlySet<string>>> = {
  Process: new Set([
    'identity',
    'executable',
    'executableState',
    'executableDeleted',
    'args',
    'argsTruncated',
    'cwd',
    'cwdState',
    'cwdDeleted',
    'exitTime',
    'exitCode',
    'exitSignal',
    'user',
    'container',
    'parent',
    'ancestors',
    'children',
    'events',
    'openFiles',
    'sockets',
  ]),
  Container: new Set(['listeningPorts', 'sessions', 'events', 'resources']),
};

/** Whether a field of a type of the schema is one of these. */
export function isOfGraph(type: string, field: string): boolean {
  return GRAPH[type]?.has(field) ?? false;
}

/**
 * The fields of a type of the schema that are data. Of an event, all but its identity, which follows from where the event lies, and what
 * leads on from it: they are no column, no field of a recording, and nothing that a filter, an aggregate or a plugin reads.
 */
export function dataFields(type: GraphQLObjectType): readonly GraphQLField<unknown, unknown>[] {
  const isEvent = type.getInterfaces().some(({ name }) => name === 'TraceEvent');
  return Object.values(type.getFields()).filter(
    ({ name }) => !(isEvent && IDENTITY.has(name)) && !isOfGraph(type.name, name),
  );
}
