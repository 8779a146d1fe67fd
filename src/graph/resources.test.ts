import { expect, it } from 'vitest';
import { ownCgroup, parsePressure, resourcesOf } from './resources.js';

/** Files as the kernel writes them. */
const reading = (files: Readonly<Record<string, string>>) => async (directory: string, file: string) =>
  files[`${directory}/${file}`] ?? null;

it('reads the files of the v2 hierarchy', async () => {
  const files = {
    '/u/cpu.stat':
      'usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 7\nnr_throttled 3\nthrottled_usec 250\nnr_bursts 0\n',
    '/u/cpu.max': '150000 100000\n',
    '/u/memory.current': '4096\n',
    '/u/memory.peak': '8192\n',
    '/u/memory.max': 'max\n',
    '/u/memory.stat': 'anon 1024\nfile 2048\nkernel 99\n',
    '/u/memory.events': 'low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n',
    '/u/io.stat': '8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:1 rbytes=5 wbytes=0 rios=1 wios=0\n',
    '/u/pids.current': '3\n',
    '/u/pids.max': '100\n',
    '/u/pids.peak': '4\n',
    '/u/cpu.pressure': 'some avg10=1.50 avg60=0.25 avg300=0.00 total=12\n',
  };
  expect(await resourcesOf({ unified: '/u', legacy: new Map() }, reading(files))).toEqual({
    cpu: {
      usageNs: '1500000',
      userNs: '1000000',
      systemNs: '500000',
      limitCpus: 1.5,
      periods: '7',
      throttledPeriods: '3',
      throttledNs: '250000',
    },
    memory: {
      currentBytes: '4096',
      peakBytes: '8192',
      limitBytes: null,
      anonymousBytes: '1024',
      fileBytes: '2048',
      oomKills: '1',
    },
    io: { readBytes: '15', writtenBytes: '20', reads: '2', writes: '2' },
    tasks: { current: '3', peak: '4', limit: '100' },
    pressure: {
      cpu: { some: { avg10: 1.5, avg60: 0.25, avg300: 0, totalNs: '12000' }, full: null },
      memory: null,
      io: null,
    },
  });
});

it('reads the files of v1 hierarchies, and pressure beside them', async () => {
  const files = {
    '/ca/cpuacct.usage': '18446744073709551615\n',
    '/ca/cpuacct.stat': 'user 2\nsystem 1\n',
    '/c/cpu.stat': 'nr_periods 1\nnr_throttled 1\nthrottled_time 5\n',
    '/c/cpu.cfs_quota_us': '-1\n',
    '/c/cpu.cfs_period_us': '100000\n',
    '/m/memory.usage_in_bytes': '100\n',
    '/m/memory.max_usage_in_bytes': '200\n',
    '/m/memory.limit_in_bytes': '9223372036854771712\n',
    '/m/memory.stat': 'cache 1\nrss 2\ntotal_cache 10\ntotal_rss 20\n',
    '/m/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 4\n',
    '/b/blkio.throttle.io_service_bytes_recursive': '8:0 Read 1\n8:0 Write 2\n8:0 Total 3\n8:16 Read 4\nTotal 7\n',
    '/b/blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 1\nTotal 2\n',
    '/p/pids.current': '1\n',
    '/p/pids.max': 'max\n',
    '/u/memory.pressure':
      'some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=2\n',
  };
  const legacy = new Map(Object.entries({ cpuacct: '/ca', cpu: '/c', memory: '/m', blkio: '/b', pids: '/p' }));
  expect(await resourcesOf({ unified: '/u', legacy }, reading(files))).toEqual({
    cpu: {
      usageNs: '18446744073709551615',
      userNs: '20000000',
      systemNs: '10000000',
      limitCpus: null,
      periods: '1',
      throttledPeriods: '1',
      throttledNs: '5',
    },
    memory: {
      currentBytes: '100',
      peakBytes: '200',
      limitBytes: null,
      anonymousBytes: '20',
      fileBytes: '10',
      oomKills: '4',
    },
    io: { readBytes: '5', writtenBytes: '2', reads: '1', writes: '1' },
    tasks: { current: '1', peak: null, limit: null },
    pressure: {
      cpu: null,
      memory: {
        some: { avg10: 0, avg60: 0, avg300: 0, totalNs: '1000' },
        full: { avg10: 0.1, avg60: 0, avg300: 0, totalNs: '2000' },
      },
      io: null,
    },
  });
});

it('is null where the kernel tells nothing', async () => {
  const nothing = { cpu: null, memory: null, io: null, tasks: null, pressure: null };
  expect(await resourcesOf({ unified: '/u', legacy: new Map() }, reading({}))).toEqual(nothing);
  expect(await resourcesOf({ unified: null, legacy: new Map([['memory', '/m']]) }, reading({}))).toEqual(nothing);
  expect(parsePressure('')).toBeNull();
  expect(parsePressure(null)).toBeNull();
});

it('takes the cgroup that is named after the container, not one inside it', () => {
  const id = 'ab'.repeat(32);
  expect(ownCgroup(`/system.slice/docker-${id}.scope/init.scope`, id)).toBe(`/system.slice/docker-${id}.scope`);
  expect(ownCgroup(`/docker/${id}`, id)).toBe(`/docker/${id}`);
  expect(ownCgroup('/lxc.payload.web/init.scope', 'lxc:web')).toBe('/lxc.payload.web');
  expect(ownCgroup('/machine.slice/machine-web.scope/payload/init.scope', 'nspawn:web')).toBe(
    '/machine.slice/machine-web.scope',
  );
});

it('takes no cgroup of the host for that of a container', () => {
  expect(ownCgroup('/', 'lxc:web')).toBeNull();
  expect(ownCgroup('/user.slice/session-1.scope', 'pidns:7-abcdef01')).toBeNull();
});
