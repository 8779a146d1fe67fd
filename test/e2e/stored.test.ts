import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { join } from 'node:path';
import { root } from '../../src/base/paths.js';
import type { BehaviourReport } from '../../src/event/report.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startServer, startSession, stopSession, type TestServer } from '../support/server.js';
import { temporaryDirectory } from '../support/store.js';
import { untilHolds } from '../support/until.js';

const exec = promisify(execFile);
const main = join(root, 'dist/main.js');

/** What a session tells, while it is in memory and once it is in its store only. */
interface Told {
  readonly reports: readonly BehaviourReport[];
  readonly exports: Readonly<Record<string, string>>;
}

const EXPORTS = [
  'ndjson',
  'csv',
  'parquet',
  `ndjson?where=${encodeURIComponent('tracker == "open" && errno != null')}`,
  'csv?fields=time,process.comm,container.name,path',
  'csv?groupBy=tracker,container.name,process.comm&measures=count,max(process.pid),distinct(process.pid),top(path)',
  'ndjson?groupBy=tracker,container.name',
  'parquet?groupBy=process.comm&measures=p99(durationNs)',
  'csv?groupBy=name&measures=sum(count)',
];

let docker: TestDocker;
let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let id: string;
let before: Told;
/** Of a session with a filter and a target. */
let filtered: string;
let asked: object;

const SPEC =
  'id explain { where } spec { input trackers { name options } target { uids comms containers { name } } ' +
  'where for ttl persist { store mode } }';
const spec = async (): Promise<object> =>
  (await server.query<{ session: object }>(`{ session(id: "${filtered}") { ${SPEC} } }`)).session;

async function cli(...args: string[]): Promise<string> {
  return (await exec(process.execPath, [main, ...args, '--server', server.url], { maxBuffer: 64 << 20 })).stdout;
}

const report = async (...args: string[]): Promise<BehaviourReport> =>
  JSON.parse(await cli('report', ...args, '--json')) as BehaviourReport;

async function download(what: string): Promise<string> {
  const response = await fetch(server.url.replace('/graphql', `/export/${id}.${what}`), {
    headers: { 'x-eunomia': '1' },
  });
  const bytes = Buffer.from(await response.arrayBuffer()).toString('latin1');
  expect([response.status, response.status === 200 ? '' : bytes]).toEqual([200, '']);
  // When the export was made is all that may differ.
  return bytes.replace(/"exportedAt":"[^"]*"/, '"exportedAt":""');
}

async function told(): Promise<Told> {
  const reports = [
    await report('--session', id),
    await report('known', '--session', id),
    await report('--host', '--session', id),
  ];
  const exports: Record<string, string> = {};
  for (const what of EXPORTS) exports[what] = await download(what);
  return { reports, exports };
}

/** A difference of two texts that are too long to print. */
function firstDifference(a = '', b = ''): object | null {
  if (a === b) return null;
  const at = [...a].findIndex((character, i) => character !== b[i]);
  return {
    lengths: [a.length, b.length],
    at,
    texts: [a, b].map((text) => text.slice(Math.max(0, at - 100), at + 100)),
  };
}

async function gone(name: string): Promise<void> {
  const found = async () => {
    const { container } = await server.query<{
      container: { state: string; finishedAt: string | null; pid: number | null } | null;
    }>('query ($ref: String!) { container(ref: $ref) { state finishedAt pid } }', { ref: name });
    return container;
  };
  await untilHolds(
    `${name} has ended`,
    found,
    (container) => container?.state === 'EXITED' && container.finishedAt !== null && container.pid === null,
  );
}

beforeAll(async () => {
  folder = await temporaryDirectory();
  docker = await startDocker();
  server = await startServer(['--engine', docker.host, '--data-dir', folder.path], { keep: true });
  id = await startSession(
    server,
    '{ trackers: [{ exec: {} }, { exit: {} }, { open: { writesOnly: true } }, { tcp: {} }, { syscount: {} }], ' +
      'capture: ALL, persist: {}, bufferBytes: 268435456 }',
  );
  await docker.run(
    '--name',
    'known',
    TEST_IMAGE,
    'sh',
    '-c',
    'cat /etc/hostname > /tmp/copied; cat /no/such > /no/where; nc -l -p 8123 -e /bin/true & sleep 1; echo hello ' +
      '| nc 127.0.0.1 8123; sleep 1',
  );
  await gone('known');
  await stopSession(server, id);
  before = await told();
  filtered = await startSession(
    server,
    '{ trackers: [{ exec: { failed: false } }], target: { uids: [0] }, where: { process: { comm: { ne: "nothing" } } }, ' +
      'ttl: "1h", persist: {} }',
  );
  await exec('/bin/true');
  await stopSession(server, filtered);
  asked = await spec();
  await server.end('SIGTERM');
  server = await startServer(['--engine', docker.host, '--data-dir', folder.path], { keep: true });
});

afterAll(async () => {
  await server?.end('SIGTERM');
  await docker?.stop();
  await folder?.remove();
});

describe('a session that is in its store only, after a restart', () => {
  it('has the same reports as while it was in memory', async () => {
    const { reports } = await told();
    expect(reports).toEqual(before.reports);
    const [all, known] = reports;
    expect(all).toMatchObject({ complete: true, restrictions: ['open.writesOnly'] });
    expect(known?.container).toMatchObject({ name: 'known', image: TEST_IMAGE });
    expect(known?.filesWritten?.entries.map(({ path }) => path)).toContain('/tmp/copied');
    expect(known?.peers?.entries).toContainEqual(
      expect.objectContaining({ direction: 'OUT', port: 8123, sentBytes: '6' }),
    );
    expect(Number(known?.syscalls?.entries.find(({ name }) => name === 'execve')?.count)).toBeGreaterThanOrEqual(4);
  });

  it('tells what was asked of it as while it was in memory, and a report of it names its filter and target', async () => {
    expect(asked).toMatchObject({
      spec: { target: { uids: [0] }, where: { process: { comm: { ne: 'nothing' } } }, ttl: '1h' },
      explain: { where: 'process.comm != "nothing"' },
    });
    expect(await spec()).toEqual(asked);
    expect(await report('--session', filtered)).toMatchObject({
      complete: false,
      restrictions: ['exec.failed', 'session.where', 'session.target'],
    });
    await server.query(`mutation { removeSession(id: "${filtered}") }`);
  });

  it('has the same exports, byte for byte', async () => {
    const { exports } = await told();
    for (const what of EXPORTS) {
      expect.soft(firstDifference(exports[what], before.exports[what]), what).toBeNull();
      expect(exports[what]?.length).toBeGreaterThan(20);
    }
    expect(await cli('export', id, '--format', 'csv')).toBe(
      Buffer.from(before.exports['csv'] ?? '', 'latin1').toString(),
    );
  });

  it('is in the report of its time, also by the command line', async () => {
    const [, known] = before.reports;
    const made = await report('known', '--since', '1h');
    expect(made).toMatchObject({
      session: null,
      complete: true,
      doubled: [],
      events: known?.events,
      sessions: [{ id, trackers: ['exec', 'exit', 'open', 'tcp', 'syscount'] }],
    });
    // Why nothing is known of a section is said of all sessions of that time.
    expect(made.missing.map(({ section }) => section)).toEqual(known?.missing.map(({ section }) => section));
    const { from, to, missing } = known ?? {};
    expect({ ...made, session: id, from, to, missing }).toEqual(known);
    expect(
      await cli('report', 'known', '--since', '1h', '--until', new Date(Date.now() + 60_000).toISOString()),
    ).toMatch(/^# Behaviour of container known\n/);
    const earlier = JSON.parse(await cli('report', '--since', '2h', '--until', '1h', '--json')) as BehaviourReport;
    expect(earlier).toMatchObject({ sessions: [], events: '0', programs: null });
  });

  it.each([
    [['known', '--since', 'yesterday'], /--since: "yesterday" is neither a time like/],
    [['known', '--until', '1h'], /--until: needs --since/],
    [['known', '--since', '1h', '--file', 'x'], /--since and --file exclude each other/],
    [['known', '--since', '1h', '--store', 'influx'], /this server has no INFLUX store/],
    [['known', '--since', '9999d'], /the range has more than 366 days/],
    [['nobody', '--since', '1h'], /is of a container "nobody"; there are .*known/],
  ])('is refused a range of time with what would be right: %j', async (args, message) => {
    const error = await cli('report', ...args).then(
      () => null,
      (failed: { stderr: string }) => failed,
    );
    expect(error?.stderr).toMatch(message);
  });
});
