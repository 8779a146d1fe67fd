import { GraphQLError, validate, type DocumentNode, type GraphQLSchema } from 'graphql';

const INCREMENTAL = /^Unknown directive "@(?:defer|stream)"\.$/;
const INSTEAD =
  'a result is sent whole here: ask for slow fields in an operation of their own, for long lists in pages ' +
  '(`first` and `after`), and for what is still to come in a subscription';

/** What is wrong with a document; empty when it can be executed. */
export function problemsOf(schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] {
  return validate(schema, document, undefined, { maxErrors: 20 }).map((error) =>
    INCREMENTAL.test(error.message)
      ? new GraphQLError(`${error.message.slice(0, -1)}: ${INSTEAD}`, { nodes: error.nodes ?? null })
      : error,
  );
}
