import { expect, it } from 'vitest';
import { statusText, type Status } from './status.js';

const well: Status = {
  server: {
    version: '1.2.3',
    hostname: 'node1',
    startedAt: '2026-01-31T08:15:30.123456789Z',
    uptimeSeconds: 200,
    usage: { cpuSeconds: 5, residentBytes: '104857600' },
    healthy: true,
    problem: null,
    kernel: { release: '6.18.0' },
    engines: [],
  },
  trackers: [{ name: 'open', available: true, problem: null }],
  stores: null,
  alertStatus: null,
  rules: null,
  sessions: { nodes: [] },
};
const first = 'eunomia 1.2.3 on node1, Linux 6.18.0, since 2026-01-31T08:15:30Z: healthy\n';
const cost = 'uses 100.0 MiB of memory, and 5.0 s of CPU until now (2.5 % of one)\n';

it('is three lines where nothing runs and nothing is wrong', () => {
  expect(statusText(well, null)).toBe(`${first}${cost}no session runs\n`);
});

it('has what the server holds, and each session with its rate', () => {
  const stats = { received: '3000', lost: '2', dropped: '1', retainedBytes: '3145728', subscribers: [{}] };
  const point = (second: number, received: string) => ({ time: `2026-01-31T08:15:${second}.000000000Z`, received });
  const text = statusText(
    {
      ...well,
      stores: [
        {
          kind: 'EMBEDDED',
          state: 'READY',
          problem: null,
          bytes: '1048576',
          sessions: 1,
          oldest: '2026-01-30T00:00:00.0Z',
        },
      ],
      alertStatus: { problem: null, open: 3, acknowledged: 1, suppressed: '0' },
      rules: {
        problem: null,
        missed: '0',
        rules: [
          { name: 'a', enabled: true, problem: null },
          { name: 'b', enabled: false, problem: null },
        ],
      },
      sessions: {
        nodes: [
          {
            id: 's1',
            name: 'mine',
            trackers: ['open', 'exec'],
            stats,
            statsHistory: [point(10, '1000'), point(30, '3000')],
          },
          { id: 's2', name: null, trackers: ['tcp'], stats, statsHistory: [] },
        ],
      },
    },
    null,
  );
  expect(text.split('\n')).toEqual([
    first.trimEnd(),
    cost.trimEnd(),
    'store embedded: ready, 1.0 MiB, 1 session since 2026-01-30T00:00:00Z',
    'rules: 1 of 2 on, 0 events missed',
    'alerts: 3 open, 1 acknowledged, 0 suppressed',
    '',
    'session  name  trackers   events/s  received  lost  dropped  mib  readers',
    's1       mine  open,exec  100       3000      2     1        3.0  1',
    's2       -     tcp        -         3000      2     1        3.0  1',
    '',
  ]);
});

it('names all that is wrong', () => {
  const text = statusText(
    {
      ...well,
      server: {
        ...well.server,
        healthy: false,
        problem: 'no BTF',
        engines: [{ endpoint: 'unix:///run/docker.sock', connected: false, problem: 'refused' }],
      },
      trackers: [{ name: 'udp', available: false, problem: 'Linux 6.3 is needed' }],
      rules: { problem: null, missed: '5', rules: [{ name: 'a', enabled: true, problem: 'it has thrown' }] },
    },
    null,
  );
  expect(text).toContain(': not healthy\n');
  expect(text.split('\n').filter((line) => line.startsWith('problem'))).toEqual([
    'problem: server: no BTF',
    'problem: engine unix:///run/docker.sock: refused',
    'problem: tracker udp: Linux 6.3 is needed',
    'problem: rule a: it has thrown',
  ]);
});
