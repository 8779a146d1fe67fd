import { requests } from '../../base/turn.js';
import { makeExecutableSchema } from '@graphql-tools/schema';
import { assertInterfaceType, isObjectType, type GraphQLSchema } from 'graphql';
import { readContract } from './contract.js';
import type { RequestContext } from './context.js';
import { adviceResolvers } from './resolvers/advice.js';
import { aggregateResolvers } from './resolvers/aggregate.js';
import { historyResolvers } from './resolvers/history.js';
import { mutationResolvers } from './resolvers/mutation.js';
import { reportResolvers } from './resolvers/report.js';
import { eventResolvers, nodeResolvers } from './resolvers/node.js';
import { alertResolvers } from './resolvers/alert.js';
import { pluginResolvers } from './resolvers/plugin.js';
import { processResolvers } from './resolvers/process.js';
import { ruleResolvers } from './resolvers/rule.js';
import { verificationResolvers } from './resolvers/verification.js';
import { savedQueryResolvers } from './resolvers/saved-query.js';
import { serverResolvers } from './resolvers/server.js';
import { sessionResolvers } from './resolvers/session.js';
import { snapshotResolvers } from './resolvers/snapshot.js';
import { scalars } from './scalars.js';
import type { Complete } from './complete.js';

export const resolverMaps = [
  serverResolvers,
  sessionResolvers,
  aggregateResolvers,
  historyResolvers,
  mutationResolvers,
  alertResolvers,
  pluginResolvers,
  reportResolvers,
  nodeResolvers,
  snapshotResolvers,
  processResolvers,
  savedQueryResolvers,
  ruleResolvers,
  adviceResolvers,
  verificationResolvers,
] as const;

/** Does not compile while a field of the schema is resolved by nothing; the error names it. */
const complete: Complete<typeof resolverMaps> = resolverMaps;

/**
 * The contract of schema.graphql with its resolvers. They take what they work on from the operation's context, so that
 * one schema serves all. Types of events have none: a property of an event is a plain read, also when compiled.
 */
export function contractSchema(): GraphQLSchema {
  return (made ??= makeSchema());
}

let made: GraphQLSchema | null = null;

function makeSchema(): GraphQLSchema {
  const schema = makeExecutableSchema({
    typeDefs: readContract(),
    resolvers: [scalars, ...complete],
    // A test validates it: at each start it would take most of the time that the schema takes.
    assumeValidSDL: true,
    assumeValid: true,
    updateResolversInPlace: true,
  });
  for (const type of schema.getPossibleTypes(assertInterfaceType(schema.getType('TraceEvent'))))
    for (const [name, resolve] of Object.entries(eventResolvers)) {
      const field = type.getFields()[name];
      if (field) field.resolve = resolve;
    }
  // Thirty aliases of a list are thirty pieces, not one: each begins in a turn.
  for (const field of Object.values(schema.getQueryType()?.getFields() ?? {})) {
    const { resolve } = field;
    if (!resolve) continue;
    field.resolve = (...args) => (requests.isOpen ? resolve(...args) : requests.next().then(() => resolve(...args)));
  }
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      const { resolve } = field;
      if (!resolve) continue;
      field.resolve = (parent, args, context: RequestContext | undefined, info) => {
        const value: unknown = resolve(parent, args, context, info);
        return context?.run ? context.run.watched(value) : value;
      };
    }
  }
  return schema;
}
