import {
  buildClientSchema,
  getIntrospectionQuery,
  Kind,
  parse,
  printType,
  type GraphQLSchema,
  type IntrospectionQuery,
} from 'graphql';
import { EunomiaError, messageOf, suggest } from '../../base/errors.js';
import type { Client } from '../../client/client.js';
import { MOST_CHARACTERS } from './answer.js';
import type { Tool } from './tool.js';

/** Runs some work with a client of the server. */
export type WithClient = <T>(work: (client: Client) => Promise<T>) => Promise<T>;

const text = (description: string): object => ({ type: 'string', description });

/** What no command has: the schema, and operations on it. */
export function schemaTools(withClient: WithClient, allowChanges: boolean): readonly Tool[] {
  let known: Promise<GraphQLSchema> | null = null;
  const schema = async (): Promise<GraphQLSchema> => {
    known ??= withClient((client) => client.query<IntrospectionQuery>(getIntrospectionQuery())).then((found) =>
      buildClientSchema(found),
    );
    try {
      return await known;
    } catch (error) {
      known = null; // the server may be back when it is asked again
      throw error;
    }
  };
  return [
    {
      name: 'schema',
      description: "print a type of the server's GraphQL schema with its descriptions, for the tool `graphql`.",
      inputSchema: {
        type: 'object',
        properties: { type: text('the name of the type: Query, Container, OpenEvent (default: Query)') },
        required: [],
        additionalProperties: false,
      },
      changes: false,
      async call({ type = 'Query' }) {
        const types = await schema();
        const found = types.getType(String(type));
        if (!found) {
          const near = suggest(String(type), Object.keys(types.getTypeMap()));
          throw new EunomiaError(
            'BAD_USER_INPUT',
            `there is no type "${String(type)}"${near || '; Query leads to all of them'}`,
          );
        }
        return { text: printType(found), isError: false };
      },
    },
    {
      name: 'graphql',
      description:
        `run a GraphQL query${allowChanges ? ' or mutation' : ''} on the server: what the other tools cannot do. ` +
        '`schema` has its types.',
      inputSchema: {
        type: 'object',
        properties: {
          query: text('the document, with one operation'),
          variables: { type: 'object', description: 'its variables' },
        },
        required: ['query'],
        additionalProperties: false,
      },
      changes: allowChanges,
      async call({ query, variables = {} }) {
        checkOperation(String(query), allowChanges);
        const data = await withClient((client) => client.query<object>(String(query), { ...Object(variables) }));
        const json = JSON.stringify(data);
        if (json.length > MOST_CHARACTERS)
          throw new EunomiaError(
            'LIMIT_EXCEEDED',
            `the result has ${json.length} characters; at most ${MOST_CHARACTERS} are returned: select fewer fields, or a smaller page`,
          );
        return { text: json, isError: false };
      },
    },
  ];
}

function checkOperation(query: string, allowChanges: boolean): void {
  let operations: readonly string[];
  try {
    operations = parse(query).definitions.flatMap((one) =>
      one.kind === Kind.OPERATION_DEFINITION ? [one.operation] : [],
    );
  } catch (error) {
    throw new EunomiaError('BAD_USER_INPUT', `query: ${messageOf(error)}`, { cause: error });
  }
  if (operations.includes('subscription'))
    throw new EunomiaError('BAD_USER_INPUT', 'query: a subscription has no end; `trace` and `count` watch for a time');
  if (operations.includes('mutation') && !allowChanges)
    throw new EunomiaError(
      'FORBIDDEN',
      'query: mutations change something, and `eunomia mcp` was started without --allow-changes',
    );
}
