import { expect, it } from 'vitest';
import type { Caller } from '../access/caller.js';
import { Facts } from './facts.js';
import type { EngineFacts, Parts } from './parts.js';

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
  const parts = { server: { engines: () => [engine], engine: () => engine } } as unknown as Parts;
  const server = new Facts(parts).server({} as Caller);
  expect(server.engines).toMatchObject([{ connected: false, error: problem }]);
  expect(await server.engine()).toMatchObject({ connected: false, error: problem });
});
