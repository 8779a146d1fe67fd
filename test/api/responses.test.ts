import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BYTES_PER_VALUE, Responses } from '../../src/api/http/responses.js';
import type { ApiServer } from '../../src/api/http/server.js';
import { untilHolds } from '../support/until.js';
import { createFixture, createServer, post, startedId, type Fixture } from './support.js';

let fixture: Fixture;
let server: ApiServer;
let session: string;
const unread: Socket[] = [];
const one = { authorization: 'Bearer one-secret' };

beforeEach(async () => {
  fixture = await createFixture({
    // On a busy machine the first ones would be disconnected before the last one is refused.
    limits: { cost: 100_000_000, stalledMs: 600_000 },
    tokens: [
      { role: 'operator', secret: 'one-secret' },
      { role: 'viewer', secret: 'another-secret' },
    ],
  });
  server = await createServer(fixture.services);
  const query = 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }';
  session = startedId(await post(server.url, { query }, one));
});

afterEach(async () => {
  for (const socket of unread.splice(0)) socket.destroy();
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
});

/** A request for some 60 MB of text: far more than a socket's buffers hold, and as much as is reserved for one result. */
function request(): string {
  const pages = Array.from(
    { length: 20 },
    (_, i) =>
      `p${i}: events(last: 9000) { nodes { time bootNs process { comm startTime pid ppid uid } ... on ExecEvent { executable args } } }`,
  );
  const body = JSON.stringify({ query: `{ session(id: "${session}") { ${pages.join(' ')} } }` });
  return (
    `POST /graphql HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\nAuthorization: ${one.authorization}\r\n` +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  );
}

/** Sends it all on a connection of which only the beginning of a response is read, which is returned. */
function beginningOf(text: string): Promise<string> {
  const { hostname, port } = new URL(server.url);
  const socket = connect({ host: hostname, port: Number(port) });
  unread.push(socket);
  return new Promise((resolve, reject) => {
    socket.once('error', reject).once('data', (chunk) => {
      socket.pause().on('error', () => undefined);
      resolve(String(chunk));
    });
    socket.write(text);
  });
}

/** Emits so many events; resolves when the session holds them. A page of fewer would fit into the buffers. */
async function hold(events: number): Promise<void> {
  fixture.kernel.emit(events);
  const query = `{ session(id: "${session}") { stats { retained } } }`;
  await untilHolds(
    'all are held',
    async () => {
      const { json } = await post<{ session: { stats: { retained: string } } }>(server.url, { query }, one);
      return Number(json.data?.session.stats.retained);
    },
    (retained) => retained >= events,
  );
}

const leave = (): void => {
  for (const socket of unread.splice(0)) socket.destroy();
};

async function status(authorization: string): Promise<number> {
  return (await post(server.url, { query: '{ sessions { nodes { id } } }' }, { authorization })).status;
}

it('responses that nobody reads are bounded for one identity, leave room for another, and are forgotten with their clients', async () => {
  await hold(9_000);
  let beginning = '';
  // Each leaves less room for the next: sent at once, how many were made would depend on which were still only reserved for.
  for (let i = 0; i < 8 && !beginning.startsWith('HTTP/1.1 503 '); i++) beginning = await beginningOf(request());
  expect(beginning).toMatch(/^HTTP\/1\.1 503 [^]*"limit":"responses"/);
  expect(await status('Bearer another-secret')).toBe(200);
  leave();
  await untilHolds(
    'there is room again',
    () => beginningOf(request()),
    (response) => response.startsWith('HTTP/1.1 200 '),
  );
});

it.each(['time', 'time bootNs process { pid ppid uid comm startTime }', '... on ExecEvent { executable args }'])(
  'what is reserved for events with "%s" is the size of a stored event, more than its text, but not many times that',
  async (fields) => {
    await hold(1_000);
    const take = vi.spyOn(Responses.prototype, 'take');
    const query = `{ session(id: "${session}") { events(last: 1000) { nodes { ${fields} } } } }`;
    const { json } = await post(server.url, { query }, one);
    const reserved = (take.mock.lastCall?.[2].values ?? 0) * BYTES_PER_VALUE;
    take.mockRestore();
    expect(reserved / 1_000).toBeGreaterThan(500);
    expect(reserved / 1_000).toBeLessThan(1_500);
    expect(reserved).toBeGreaterThan(JSON.stringify(json).length);
  },
);
