import { afterAll, expect, it } from 'vitest';
import { createFixture } from '../../test/api/support.js';
import { ServerView } from './facts.js';
import type { EngineFacts } from './parts.js';

const { services: parts, service } = await createFixture();
afterAll(async () => {
  await service.end();
  await parts.manager.close();
});

const away = 'connect ENOENT /run/docker.sock';
const base: EngineFacts = {
  endpoint: 'unix:///run/docker.sock',
  kind: null,
  connected: false,
  version: null,
  error: away,
};

it.each<[string, EngineFacts, string | null]>([
  ['that nobody has named and that is not there', { ...base, presumed: true }, null],
  ['that somebody has named', { ...base, presumed: false }, away],
  ['that is there and refuses', { ...base, presumed: true, error: 'connect EACCES' }, 'connect EACCES'],
])('an engine %s', async (_which, engine, problem) => {
  const told = { ...parts.server, engines: () => [engine], engine: () => engine };
  const server = new ServerView({ ...parts, server: told });
  expect(server.engines).toMatchObject([{ connected: false, error: problem }]);
  expect(await server.engine()).toMatchObject({ connected: false, error: problem });
});
