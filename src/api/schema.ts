import { readFileSync } from 'node:fs';
import { makeExecutableSchema } from '@graphql-tools/schema';
import type { GraphQLSchema } from 'graphql';
import { aggregateResolvers } from './resolvers/aggregate.js';
import { historyResolvers } from './resolvers/history.js';
import { mutationResolvers } from './resolvers/mutation.js';
import { reportResolvers } from './resolvers/report.js';
import { pluginResolvers } from './resolvers/plugin.js';
import { serverResolvers } from './resolvers/server.js';
import { sessionResolvers } from './resolvers/session.js';
import { scalars } from './scalars.js';

/**
 * The contract of schema.graphql with its resolvers. They take what they work on from the operation's context, so that
 * one schema serves all. Types of events have none: a property of an event is a plain read, also when compiled.
 */
export function createSchema(): GraphQLSchema {
  // Two folders up from src/api and from dist/api alike.
  const typeDefs = readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8');
  return makeExecutableSchema({
    typeDefs,
    resolvers: [
      scalars,
      serverResolvers,
      sessionResolvers,
      aggregateResolvers,
      historyResolvers,
      mutationResolvers,
      pluginResolvers,
      reportResolvers,
    ],
  });
}
