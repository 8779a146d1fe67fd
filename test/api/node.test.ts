import { getNamedType, isObjectType, type GraphQLObjectType } from 'graphql';
import { expect, it } from 'vitest';
import { contractSchema } from '../../src/api/graphql/schema.js';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/executor.js';
import { callerOf, createFixture } from './support.js';

it('a session tells the node of its server, by id and given name', async () => {
  const { service, services } = await createFixture({ nodeName: 'web-1' });
  const run = async (query: string): Promise<unknown> => {
    const answer = await executeLocally(service, { query }, callerOf('operator'));
    if (isStream(answer)) throw new Error('a stream');
    expect(answer.errors).toBeUndefined();
    return answer.data;
  };
  const node = { id: expect.stringMatching(/^[0-9a-f-]{36}$/), name: 'web-1' };
  expect(await run('{ server { node { id name } } }')).toEqual({ server: { node } });
  const own = services.server.node;
  expect(await run('mutation { startSession(input: { trackers: [{ exec: {} }] }) { node { id name } } }')).toEqual({
    startSession: { node: own },
  });
  await services.manager.close();
});

/** Events have no node of their own (docs/decisions/058-nodes.md): whoever gives them gives their session, which has one. */
it('wherever the schema gives events, it gives their session', () => {
  const types = Object.values(contractSchema().getTypeMap())
    .filter((type) => isObjectType(type))
    .filter(({ name }) => !name.startsWith('__'));
  const fieldsOf = (type: GraphQLObjectType) => Object.values(type.getFields());
  const returning = (name: string) =>
    types.flatMap((type) =>
      fieldsOf(type)
        .filter((field) => getNamedType(field.type).name === name)
        .map((field) => ({ type, field })),
    );
  const namesSession = (type: GraphQLObjectType): boolean =>
    type.name === 'Session' || fieldsOf(type).some(({ name }) => name === 'session');
  const isTold = ({ type, field }: ReturnType<typeof returning>[number]): boolean =>
    namesSession(type) ||
    field.args.some(({ name }) => name === 'session') ||
    // A page: its edges name what its nodes alone do not.
    fieldsOf(type).some((other) => {
      const edge = getNamedType(other.type);
      return other.name === 'edges' && isObjectType(edge) && namesSession(edge);
    }) ||
    (returning(type.name).length > 0 && returning(type.name).every(isTold));
  const places = returning('TraceEvent');
  expect(places.length).toBeGreaterThan(0);
  expect(places.filter((place) => !isTold(place)).map(({ type, field }) => `${type.name}.${field.name}`)).toEqual([]);
});
