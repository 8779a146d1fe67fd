import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createFixture, createServer, post, type Fixture } from './support.js';

let fixture: Fixture;
let server: ApiServer;
beforeEach(async () => {
  fixture = await createFixture();
  server = await createServer(fixture.services);
});
afterEach(async () => {
  await fixture.services.plugins.close();
  await server.close();
  await fixture.services.manager.close();
});

it.each([
  ['@defer', '{ server { version ... @defer { uptimeMs } } }'],
  ['@stream', '{ trackers @stream(initialCount: 1) { name } }'],
])('%s is refused, with what to do instead', async (directive, query) => {
  for (const accept of ['application/json', 'application/graphql-response+json', 'multipart/mixed, application/json']) {
    const { json } = await post(server.url, { query }, { accept });
    const { errors } = json as { errors: { message: string; extensions: object; locations: object[] }[] };
    const [error] = errors.filter(({ message }) => message.includes(directive));
    expect(error).toMatchObject({
      message:
        `Unknown directive "${directive}": a result is sent whole here: ask for slow fields in an operation of their own, ` +
        'for long lists in pages (`first` and `after`), and for what is still to come in a subscription',
      extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
      locations: [{ line: 1 }],
    });
  }
});
