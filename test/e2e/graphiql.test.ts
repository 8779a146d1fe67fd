import { spawn } from 'node:child_process';
import { expect, it } from 'vitest';
import { firstOperations } from '../../src/api/http/graphiql.js';
import { installClients, runClient } from '../support/clients.js';
import { startServer, startSession } from '../support/server.js';

const TOKEN = 'secret-of-an-operator';
/** On the wire, so that it is there in a second over 12 Mbit/s. */
const MAX_BYTES = 1_500_000;

interface Seen {
  readonly first: string;
  readonly query: object;
  readonly live: object;
  readonly welcome: Readonly<Record<string, object>>;
  readonly refused: string;
  readonly problems: readonly string[];
  readonly asked: readonly string[];
  readonly headers: string | null;
}

it('GraphiQL works in Chromium: signed in by a link, live, with its documentation, and asks nobody else', async () => {
  const folder = await installClients();
  const server = await startServer(['--engine', 'none', '--token', `operator:${TOKEN}`], { token: TOKEN });
  const session = await startSession(server, '{ trackers: [{ exec: {} }], target: { comms: ["true"] } }');
  const executing = setInterval(() => spawn('true'), 100);
  const seen = await runClient<Seen>(folder, 'graphiql.mjs', [server.url, TOKEN, session]).finally(() =>
    clearInterval(executing),
  );
  expect(seen).toMatchObject({
    first: firstOperations,
    query: { data: { server: { version: expect.stringMatching(/^\d/) as string } } },
    live: { data: { events: { events: expect.arrayContaining([{ tracker: 'exec' }]) as object[] } } },
    welcome: {
      Trackers: { data: { trackers: expect.arrayContaining([expect.objectContaining({ name: 'exec' })]) as object } },
      Containers: { data: { containers: { totalCount: expect.any(String) as string } } },
      Trace: { data: { trace: { stats: { lost: expect.any(String) as string } } } },
      Start: { data: { startSession: { id: expect.any(String) as string } } },
      Live: { data: { events: { events: expect.arrayContaining([]) as object[] } } },
    },
    refused: expect.stringMatching(/token/) as string,
    problems: [],
    headers: expect.stringContaining('Bearer TOKEN') as string,
  });
  expect(seen.asked.filter((origin) => !origin.startsWith('data:'))).toEqual([
    new URL(server.url).protocol + new URL(server.url).host,
  ]);
  const page = await fetch(server.url, { headers: { accept: 'text/html', 'accept-encoding': 'gzip' } });
  expect(Number(page.headers.get('content-length'))).toBeLessThan(MAX_BYTES);
  expect(Number(page.headers.get('content-length'))).toBeGreaterThan(100_000);
});
