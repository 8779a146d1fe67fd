import { openSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cert, createCertificate, key } from '../support/certificate.js';
import { closeAll } from '../support/closing.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { startCollector, type ReceivedLog, type TestCollector } from '../support/otlp.js';
import { startServer, startSession, statsOf, stopSession, type TestServer } from '../support/server.js';
import { run } from '../support/workload.js';
import { until } from '../support/until.js';

/** The real server, real events, and a receiver that decodes by OpenTelemetry's schema: Debian has no collector. */

const PLUGIN = `import { definePlugin } from 'eunomia/plugin';
export default definePlugin({
  name: 'root-shell', version: '1.0.0', summary: 'Tells of each busybox.',
  reads: { exec: ['time', 'process', 'container.id', 'container.name', 'filename'] },
  onBatch(events, { alert }) {
    for (const event of events)
      if (event.filename === '/bin/busybox') alert({ severity: 'HIGH', title: 'Busybox', message: 'it ran', event });
  },
});`;

let docker: TestDocker;
let collector: TestCollector;
let server: TestServer;
let folder: string;

beforeAll(async () => {
  docker = await startDocker();
  collector = await startCollector();
  folder = await mkdtemp(join(tmpdir(), 'eunomia-otlp-'));
  await chmod(folder, 0o755);
  await writeFile(join(folder, 'root-shell.ts'), PLUGIN, { mode: 0o644 });
  server = await startServer(
    [
      '--engine',
      docker.socket,
      '--plugins',
      folder,
      '--otlp-url',
      collector.url,
      '--otlp-token',
      'a-secret',
      '--otlp-events',
      'audit-*',
      '--otlp-metrics-seconds',
      '1',
    ],
    { keep: true },
  );
});

afterAll(() =>
  closeAll(
    () => server.end('SIGTERM'),
    () => collector.close(),
    () => docker.stop(),
    () => rm(folder, { recursive: true }),
  ),
);

const of = (session: string): ReceivedLog[] =>
  collector.logs.filter(({ attributes }) => attributes['eunomia.session.id'] === session);
const eventsOf = (session: string): ReceivedLog[] =>
  of(session).filter(({ attributes }) => 'eunomia.seq' in attributes);

/** Of /metrics, one series without labels, or the one with `signal="logs"`. */
async function metric(name: string): Promise<number> {
  const text = await (await fetch(new URL('/metrics', server.url))).text();
  return Number(new RegExp(`^${name}(?:\\{signal="logs"\\})? (\\S+)$`, 'm').exec(text)?.[1]);
}

/** Fails to open a path so many times: some 400 bytes an event. */
async function open(times: number): Promise<void> {
  const path = `/no/such/${'directory/'.repeat(30)}`;
  for (let i = 0; i < times; i++) {
    try {
      openSync(path, 'r');
    } catch {
      // as it should
    }
    if (i % 500 === 0) await sleep(2);
  }
}

describe('events', () => {
  it('arrive each once, with their container, of a session whose name was configured', async () => {
    const id = await startSession(
      server,
      '{ name: "audit-web", trackers: [{ exec: {} }], target: { containers: [{ name: "otlp-*" }], waitForContainers: true } }',
    );
    await docker.run(
      '--rm',
      '--network',
      'none',
      '--name',
      'otlp-loop',
      TEST_IMAGE,
      'sh',
      '-c',
      'i=0; while [ $i -lt 50 ]; do /bin/busybox true; i=$((i+1)); done',
    );
    await stopSession(server, id);
    const { delivered } = await statsOf(server, id);
    expect(delivered).toBeGreaterThanOrEqual(51);
    await until('the collector has them', () => eventsOf(id).length >= delivered);
    expect(eventsOf(id).map(({ attributes }) => attributes['eunomia.seq'])).toEqual(
      Array.from({ length: delivered }, (_, i) => i),
    );
    const last = eventsOf(id).at(-1);
    expect(last?.resource).toMatchObject({
      'service.name': 'eunomia',
      'container.name': 'otlp-loop',
      'container.image.name': TEST_IMAGE.split(':')[0],
      'container.image.tags': ['1'],
      'container.runtime.name': 'docker',
    });
    expect(last?.attributes).toMatchObject({
      tracker: 'exec',
      'process.command_args': ['/bin/busybox', 'true'],
      'process.command': '/bin/busybox',
      'process.real_user.id': 0,
      'eunomia.session.name': 'audit-web',
    });
    expect(Math.abs(Number(BigInt(last?.time ?? 0) / 1_000_000n) - Date.now())).toBeLessThan(60_000);
    expect(collector.headers[0]).toMatchObject({ authorization: 'Bearer a-secret' });
  });

  it('arrive of a session that asks by its label, and of no other', async () => {
    const target = `target: { pids: [${process.pid}] }`;
    const [asking, silent] = [
      await startSession(server, `{ trackers: [{ exec: {} }], labels: [{ name: "otlp", value: "true" }], ${target} }`),
      await startSession(server, `{ name: "other", trackers: [{ exec: {} }], ${target} }`),
    ];
    await run('/bin/true');
    await Promise.all([stopSession(server, asking), stopSession(server, silent)]);
    await until('the collector has it', () => eventsOf(asking).length === 1);
    expect(of(silent)).toEqual([]);
  });

  it('wait while the collector is away, and follow in order when it is back', async () => {
    const id = await startSession(
      server,
      `{ name: "audit-away", trackers: [{ open: {} }], target: { pids: [${process.pid}] } }`,
    );
    collector.away = true;
    await open(5000);
    await until('the export is told to fail', async () => (await metric('eunomia_otlp_up')) === 0);
    await stopSession(server, id);
    const { delivered, lost } = await statsOf(server, id);
    expect(lost).toBe(0);
    collector.away = false;
    await until('the collector has them', () => eventsOf(id).length >= delivered);
    expect(eventsOf(id).map(({ attributes }) => attributes['eunomia.seq'])).toEqual(
      Array.from({ length: delivered }, (_, i) => i),
    );
    await until('the export is told to work', async () => (await metric('eunomia_otlp_up')) === 1);
  });

  it('are dropped, counted and told as a gap when more wait than may; the session loses nothing', async () => {
    const before = await metric('eunomia_otlp_dropped_total');
    const id = await startSession(
      server,
      `{ name: "audit-flood", trackers: [{ open: {} }], target: { pids: [${process.pid}] }, bufferBytes: 1048576 }`,
    );
    collector.away = true;
    await until('events are dropped', async () => {
      await open(20_000);
      return (await metric('eunomia_otlp_dropped_total')) > before;
    });
    await stopSession(server, id);
    const { delivered, lost, produced, received } = await statsOf(server, id);
    expect({ lost, received }).toEqual({ lost: 0, received: produced });
    collector.away = false;
    const gaps = () =>
      of(id)
        .filter(({ severityText }) => severityText === 'WARN')
        .reduce((sum, { attributes }) => sum + Number(attributes['dropped']), 0);
    await until('all are there or told of', () => eventsOf(id).length + gaps() >= delivered);
    expect(eventsOf(id).length + gaps()).toBe(delivered);
    expect((await metric('eunomia_otlp_dropped_total')) - before).toBe(gaps());
    const places = eventsOf(id).map(({ attributes }) => Number(attributes['eunomia.seq']));
    expect(new Set(places).size).toBe(places.length);
    expect(places.every((place, i) => i === 0 || place > (places[i - 1] ?? 0))).toBe(true);
  });

  it('that the collector refuses are counted, and the next ones arrive', async () => {
    const before = await metric('eunomia_otlp_refused_total');
    // The metrics of each second may come first.
    collector.answers.push(
      { status: 400, body: Buffer.from('no such tenant') },
      { status: 400, body: Buffer.from('no such tenant') },
      { status: 400 },
    );
    const id = await startSession(
      server,
      `{ name: "audit-refused", trackers: [{ exec: {} }], target: { pids: [${process.pid}] } }`,
    );
    await until('some are refused', async () => {
      await run('/bin/true');
      return (await metric('eunomia_otlp_refused_total')) > before;
    });
    collector.answers.splice(0);
    await run('/bin/true');
    await stopSession(server, id);
    const { delivered } = await statsOf(server, id);
    const refused = (await metric('eunomia_otlp_refused_total')) - before;
    await until('the others are there', () => eventsOf(id).length === delivered - refused);
  });
});

it('alerts of plugins arrive, of any session', async () => {
  const id = await startSession(
    server,
    '{ name: "plain", trackers: [{ exec: {} }], target: { containers: [{ name: "alert-*" }], waitForContainers: ' +
      'true }, plugins: [{ name: "root-shell" }] }',
  );
  await docker.run('--rm', '--network', 'none', '--name', 'alert-one', TEST_IMAGE, '/bin/busybox', 'true');
  await until('the collector has it', () => of(id).length > 0);
  expect(of(id)[0]).toMatchObject({
    severity: 17,
    severityText: 'HIGH',
    body: 'it ran',
    attributes: { 'alert.title': 'Busybox', 'alert.source': 'plugin:root-shell', tracker: 'exec' },
    resource: { 'container.name': 'alert-one' },
  });
  await stopSession(server, id);
});

it('metrics are those of /metrics', async () => {
  const id = await startSession(
    server,
    `{ name: "counted", trackers: [{ exec: {} }], target: { pids: [${process.pid}] } }`,
  );
  for (let i = 0; i < 20; i++) await run('/bin/true');
  const counted = () =>
    collector.points.find(
      ({ name, attributes }) => name === 'eunomia_events_total' && attributes['session'] === 'counted',
    );
  await until('the collector has the count', () => counted()?.value === 20);
  expect(counted()).toMatchObject({ kind: 'sum', attributes: { tracker: 'exec', container: 'host' } });
  const text = await (await fetch(new URL('/metrics', server.url))).text();
  const told = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name));
  const withSamples = [...told].filter((name) => new RegExp(`^${name}(_count)?[ {]`, 'm').test(text));
  expect(withSamples.filter((name) => !collector.points.some((point) => point.name === name))).toEqual([]);
  await stopSession(server, id);
});

it('sends what waits when the server ends', async () => {
  const own = await startServer(['--engine', 'none', '--otlp-url', collector.url, '--otlp-metrics-seconds', '0']);
  const id = await startSession(
    own,
    `{ trackers: [{ exec: {} }], labels: [{ name: "otlp", value: "true" }], target: { pids: [${process.pid}] } }`,
  );
  for (let i = 0; i < 5; i++) await run('/bin/true');
  expect(await own.end('SIGTERM')).toBe(0);
  expect(eventsOf(id)).toHaveLength(5);
});

it('speaks TLS with the authority that it was given, and with no other', async () => {
  const files = await createCertificate();
  const secure = await startCollector((handler) => createServer({ cert, key }, handler));
  try {
    const flags = [
      '--engine',
      'none',
      '--otlp-url',
      secure.url.replace('http:', 'https:'),
      '--otlp-metrics-seconds',
      '1',
    ];
    const stranger = await startServer(flags);
    await until('it is told to fail', async () =>
      /^eunomia_otlp_up\{signal="metrics"\} 0$/m.test(await (await fetch(new URL('/metrics', stranger.url))).text()),
    );
    expect(secure.points).toEqual([]);
    await stranger.end('SIGTERM');
    const friend = await startServer([...flags, '--otlp-ca', files.certFile]);
    await until('metrics arrive', () => secure.points.some(({ name }) => name === 'eunomia_build_info'));
    await friend.end('SIGTERM');
  } finally {
    await secure.close();
    await files.remove();
  }
});
