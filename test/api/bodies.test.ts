import { request, type ClientRequest } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { until } from '../support/until.js';
import { createFixture, createServer, post, type Fixture } from './support.js';

const MIB = 1 << 20;
const one = 'Bearer one-secret';
const another = 'Bearer another-secret';

let fixture: Fixture;
let server: ApiServer;
const slow: ClientRequest[] = [];
let refusals = 0;

beforeEach(async () => {
  refusals = 0;
  fixture = await createFixture({
    tokens: [
      { role: 'viewer', secret: 'one-secret' },
      { role: 'viewer', secret: 'another-secret' },
    ],
  });
  server = await createServer(fixture.services);
});

afterEach(async () => {
  for (const each of slow.splice(0)) each.destroy();
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
});

/** Sends the head of a request and a byte of its body. */
function begin(authorization: string, headers: Record<string, string | number>): void {
  const sent = request(server.url, {
    method: 'POST',
    agent: false,
    headers: { authorization, 'content-type': 'application/json', ...headers },
  });
  sent.on('error', () => undefined);
  sent.on('response', () => (refusals += 1));
  sent.write('{');
  slow.push(sent);
}

const answer = async (authorization: string): Promise<unknown> => {
  const { status, json } = await post(server.url, { query: '{ __typename }' }, { authorization });
  return [status, json];
};
const hasRoom = async (): Promise<boolean> =>
  (await post(server.url, { query: '{ __typename }' }, { authorization: one })).status === 200;
const refused = [
  503,
  { errors: [expect.objectContaining({ extensions: expect.objectContaining({ limit: 'bodies' }) as unknown })] },
];
const served = [200, { data: { __typename: 'Query' } }];

describe('bodies that arrive slowly', () => {
  it.each([
    ['of a known length', { 'content-length': MIB }],
    ['of an unknown length', { 'transfer-encoding': 'chunked' }],
  ])(
    '%s are bounded for one identity, leave room for another, and are forgotten with their clients',
    async (_what, head) => {
      // 48 fit exactly.
      for (let i = 0; i < 49; i++) begin(one, head);
      await until('one is refused', () => refusals === 1);
      expect(await answer(one)).toEqual(refused);
      expect(await answer(another)).toEqual(served);
      for (const each of slow.splice(0)) each.destroy();
      await until('there is room again', hasRoom);
      expect(await answer(one)).toEqual(served);
    },
  );
});
