import fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hostileJson, mutated } from '../support/hostile-json.js';
import { startServer } from '../support/server.js';
import { until, untilHolds } from '../support/until.js';

const ID = 'd'.repeat(64);
const happened = {
  Type: 'container',
  Action: 'start',
  Actor: { ID, Attributes: { name: 'web' } },
  timeNano: 1795463882687352,
};

it('an engine that sends times that cannot be, and any other JSON, neither ends the server nor stays disconnected', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-hostile-'));
  const socket = join(directory, 'engine.sock');
  const streams: ServerResponse[] = [];
  let name = 'web';
  const json = (response: ServerResponse, value: unknown): void =>
    void response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
  const engine = createServer(({ url = '/' }, response) => {
    if (url.includes('/events')) {
      streams.push(response);
      response.flushHeaders();
    } else if (url.includes('/containers/json'))
      json(response, [
        null,
        5,
        { Id: ID, Names: [`/${name}`], Created: Number.MAX_SAFE_INTEGER, Labels: 'x', State: 5 },
      ]);
    else if (url.includes('/json'))
      json(response, { Id: ID, Name: `/${name}`, Created: '2026-13-45T99:99:99+02:00', State: 5, Config: null });
    else response.setHeader('api-version', '1.43').end('OK');
  });
  await new Promise<void>((resolve) => engine.listen(socket, resolve));
  try {
    const server = await startServer(['--engine', socket]);
    const state = () =>
      server.query<{ server: { engine: { connected: boolean } }; containers: { nodes: readonly { name: string }[] } }>(
        '{ server { engine { connected } } containers { nodes { name } } }',
      );
    const named = (expected: string) =>
      untilHolds(`the container ${expected}`, state, ({ containers }) =>
        containers.nodes.some(({ name }) => name === expected),
      );
    await named('web');
    await until('events are asked for', () => streams.length > 0); // containers may be listed before
    const stream = streams.at(-1);
    stream?.write(`{"Type":"container","Action":"start","Actor":{"ID":"${ID}"},"timeNano":99999999999999999999}\n`);
    for (const value of fc.sample(fc.oneof(hostileJson, mutated(happened)), { numRuns: 2000, seed: 7 }))
      stream?.write(`${JSON.stringify(value)}\n`);
    name = 'renamed'; // as whoever looks it up again is told
    stream?.write(
      `${JSON.stringify({ ...happened, Action: 'rename', Actor: { ID, Attributes: { name: 'renamed' } } })}\n`,
    );
    await named('renamed');
    expect((await state()).server.engine.connected).toBe(true);
    expect(await server.end('SIGTERM')).toBe(0);
  } finally {
    engine.closeAllConnections();
    await new Promise((resolve) => engine.close(resolve));
    await rm(directory, { recursive: true });
  }
});
