import { expect, it } from 'vitest';
import { recommend } from '../../analysis/advice/recommend.js';
import { emptyObservation } from '../../analysis/advice/observation.js';
import type { Observation } from '../../event/advice.js';
import { readObservation } from './given.js';

const seen = { comms: ['x'], first: '2026-01-01T00:00:00Z', last: '2026-01-01T00:00:01Z', count: 1 };
const own = { ...seen, runtime: false };
const options = { current: null, runtimeCalls: null, action: 'SCMP_ACT_ERRNO' } as const;
const read = (more: object): Observation =>
  readObservation('advice[0]', JSON.parse(JSON.stringify({ observation: { ...emptyObservation(), ...more } })));

it.each([
  [{ spans: [{ from: '2026-13-45T25:61:61Z', to: '2026-13-45T25:61:62Z' }] }, /spans\.0\.from: is no time/],
  [{ spans: [{ from: '2026-01-01T00:00:01Z', to: '2026-01-01T00:00:00Z' }] }, /spans\.0: ends before it begins/],
  [
    { capabilities: [{ ...own, capability: 'CAP_CHOWN; id', call: null, granted: true, level: 0 }] },
    /capabilities\.0\.capability: is no capability/,
  ],
  [{ users: [{ ...seen, comms: Array(9).fill('x'), uid: 0, gid: 0 }] }, /users\.0\.comms/],
  [{ paths: [{ ...own, path: 'x', access: 'READ' }] }, /paths\.0\.path: is no absolute path/],
  [
    {
      devices: [
        { ...own, type: 'BLOCK', major: 8, minor: 0, name: 'fuse:/dev/sda:rwm', access: 'READ', denied: false },
      ],
    },
    /devices\.0\.name: is no name of a device/,
  ],
  [{ calls: [{ ...own, name: 'read', abi: null, errors: 1e300 }] }, /calls\.0\.errors/],
  [JSON.parse('{ "__proto__": { "lost": 1 } }') as object, /observation/],
])('refuses what no observer has made: %j', (more, message) => {
  expect(() => read(more)).toThrow(message);
});

it('reads tens of thousands of entries, and recommends by them', () => {
  const many = Array.from({ length: 20_000 }, (_, i) => i);
  const observation = read({
    calls: many.map((i) => ({ ...own, name: 'read', abi: String(i), errors: 0 })),
    paths: many.map((i) => ({ ...own, path: `/var/lib/${i}/${i}`, access: i % 2 ? 'READ' : 'WRITE' })),
    peers: many.map((i) => ({ ...seen, address: `a${i}`, port: 80 })),
    names: many.map((i) => ({ ...seen, name: 'one', address: `a${i}` })),
    spans: many.map((i) => ({
      from: `2026-01-01T00:00:00.${String(i * 2).padStart(6, '0')}Z`,
      to: `2026-01-01T00:00:00.${String(i * 2 + 1).padStart(6, '0')}Z`,
    })),
    capabilities: many.map((i) => ({ ...own, capability: 'CAP_CHOWN', call: `c${i}`, granted: true, level: 0 })),
  });
  const { rights } = recommend(observation, options);
  expect(rights.capabilities).toEqual(['CAP_CHOWN']);
  expect(rights.readOnlyRoot).toBe(false);
  expect(rights.volumes).toEqual([]);
}, 60_000);
