import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { untilHolds } from '../support/until.js';
import { createFixture, createServer, post, startedId, type Fixture } from './support.js';

let fixture: Fixture;
let server: ApiServer;
const unread: Socket[] = [];

beforeEach(async () => {
  fixture = await createFixture({
    limits: { cost: 100_000_000 },
    tokens: [
      { role: 'operator', secret: 'one-secret' },
      { role: 'viewer', secret: 'another-secret' },
    ],
  });
  server = await createServer(fixture.services);
});

afterEach(async () => {
  for (const socket of unread.splice(0)) socket.destroy();
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
});

it('responses that nobody reads are bounded for one identity, leave room for another, and are forgotten with their clients', async () => {
  const one = { authorization: 'Bearer one-secret' };
  const started = await post(
    server.url,
    { query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }' },
    one,
  );
  fixture.kernel.emit(9_000);
  // Some 60 MB of text, far more than a socket's buffers hold.
  const pages = Array.from(
    { length: 20 },
    (_, i) =>
      `p${i}: events(last: 9000) { nodes { time bootNs process { comm startTime pid ppid uid } ... on ExecEvent { executable args } } }`,
  );
  const query = `{ session(id: "${startedId(started)}") { ${pages.join(' ')} } }`;
  const body = JSON.stringify({ query });
  const ask = (): void => {
    const { hostname, port } = new URL(server.url);
    const socket = connect({ host: hostname, port: Number(port) });
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(
      `POST /graphql HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAuthorization: Bearer one-secret\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    unread.push(socket);
  };
  const status = async (authorization: string) => {
    const { status: code, json } = await post(server.url, { query: '{ sessions { id } }' }, { authorization });
    return [code, (json as { errors?: { extensions: { limit?: string } }[] }).errors?.[0]?.extensions.limit];
  };
  expect(await status(one.authorization)).toEqual([200, undefined]);
  for (let i = 0; i < 6; i++) ask();
  await untilHolds(
    'one is refused',
    () => status(one.authorization),
    ([code, limit]) => code === 503 && limit === 'responses',
  );
  expect(await status('Bearer another-secret')).toEqual([200, undefined]);
  for (const socket of unread.splice(0)) socket.destroy();
  await untilHolds(
    'there is room again',
    () => status(one.authorization),
    ([code]) => code === 200,
  );
});
