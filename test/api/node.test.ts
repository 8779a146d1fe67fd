import { expect, it } from 'vitest';
import { executeLocally } from '../../src/api/graphql/local.js';
import { isStream } from '../../src/api/graphql/engine.js';
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
