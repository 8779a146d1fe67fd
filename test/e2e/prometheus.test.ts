import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { root } from '../../src/base/paths.js';
import { startDocker, TEST_IMAGE, type TestDocker } from '../support/docker.js';
import { metricsOf, prometheusFolder, promtool, startPrometheus, type TestPrometheus } from '../support/prometheus.js';
import { freePort } from '../support/port.js';
import { startServer, type TestServer } from '../support/server.js';
import { run } from '../support/workload.js';
import { until } from '../support/until.js';

let docker: TestDocker;
let data: string;
let server: TestServer;
let prometheus: TestPrometheus;

beforeAll(async () => {
  docker = await startDocker();
  data = await mkdtemp(join(tmpdir(), 'eunomia-prometheus-'));
  server = await startServer(
    [
      '--engine',
      docker.socket,
      '--metrics-config',
      join(root, 'docker/eunomia/metrics.yaml'),
      '--otlp-url',
      'http://127.0.0.1:9',
      '--otlp-metrics-seconds',
      '0',
      '--data-dir',
      data,
    ],
    { keep: true },
  );
  prometheus = await startPrometheus(
    new URL(server.url),
    await freePort(),
    (await readFile(join(data, 'access-token'), 'utf8')).trim(),
  );
});

afterAll(async () => {
  await prometheus.stop();
  await server.end('SIGTERM');
  await docker.stop();
  await rm(data, { recursive: true });
});

async function start(name: string, trackers: string, more = ''): Promise<string> {
  return (
    await server.query<{ startSession: { id: string } }>(
      `mutation { startSession(input: { name: "${name}", trackers: [${trackers}] ${more} }) { id } }`,
    )
  ).startSession.id;
}

/** The value that Prometheus has scraped, once it is this one. */
async function scraped(expression: string, value: number): Promise<void> {
  let last = '';
  await until(`${expression} = ${value}`, async () => {
    last = (await prometheus.query(expression))[0]?.value[1] ?? 'none';
    return Number(last) === value;
  }).catch((error: unknown) => {
    throw new Error(`Prometheus has ${last}`, { cause: error });
  });
}

describe('a real Prometheus', () => {
  it('has the counts that the kernel did', async () => {
    await start('exact', '{ exec: {} }, { exit: {} }', `, target: { pids: [${process.pid}] }`);
    for (let i = 0; i < 120; i++) await run('/bin/true');
    for (let i = 0; i < 30; i++) await run('/bin/sh', ['-c', 'exit 3']);
    await scraped('eunomia_events_total{session="exact", tracker="exec", container="host"}', 150);
    await scraped('eunomia_events_total{session="exact", tracker="exit", container="host"}', 150);
    await scraped('eunomia_event_duration_seconds_count{session="exact", tracker="exit", field="lifetimeNs"}', 150);
    await scraped(
      'sum(eunomia_events_total{session="exact"}) == on () sum(eunomia_session_delivered_total{session="exact"})',
      300,
    );
    await scraped('eunomia_session_lost_total{session="exact"}', 0);
  });

  it('has them by container, as the session itself counts them', async () => {
    const id = await start(
      'containers',
      '{ exec: {} }, { open: { failedOnly: true } }',
      ', target: { containers: [{ name: "metrics-*" }], waitForContainers: true }',
    );
    const loop = 'i=0; while [ $i -lt 75 ]; do /bin/busybox true; cat /no/such 2>/dev/null; i=$((i+1)); done';
    await docker.run('--rm', '--network', 'none', '--name', 'metrics-loop', TEST_IMAGE, 'sh', '-c', loop);
    const { session } = await server.query<{ session: { aggregate: { key: { value: string }[]; count: string }[] } }>(
      `{ session(id: "${id}") { aggregate(groupBy: ["tracker", "container.name"]) { key { value } count } } }`,
    );
    const counted = new Map(session.aggregate.map(({ key, count }) => [key[0]?.value, Number(count)]));
    expect(counted.get('exec')).toBeGreaterThanOrEqual(151);
    await scraped(
      'eunomia_events_total{session="containers", container="metrics-loop", tracker="exec"}',
      counted.get('exec') ?? 0,
    );
    await scraped(
      'eunomia_event_errors_total{session="containers", container="metrics-loop", tracker="open", errno="ENOENT"}',
      counted.get('open') ?? 0,
    );
  });

  it('has the aggregates of the metrics configuration', async () => {
    const before = Number((await prometheus.query('sum(container_execs_total{image!="other"})'))[0]?.value[1] ?? 0);
    const script = 'i=0; while [ $i -lt 40 ]; do /bin/busybox true; i=$((i+1)); done';
    await docker.run(
      '--rm',
      '--network',
      'none',
      '--user',
      '4711',
      '--name',
      'configured',
      TEST_IMAGE,
      'sh',
      '-c',
      script,
    );
    await scraped(`container_execs_total{image="${TEST_IMAGE}", uid="4711"}`, 41);
    expect(before).toBeGreaterThan(0); // the container of the test before this one
    await scraped('sum(eunomia_configured_metric_missed_total)', 0);
    await scraped('eunomia_configured_session_up{session="host"}', 1);
  });

  it('has the bytes and operations of connections', async () => {
    const uid = 54321; // of the client alone: Prometheus and this test connect too
    await start('network', '{ tcp: {} }', `, target: { uids: [${uid}] }`);
    const peer = createServer((socket) => socket.end('y'.repeat(1000))).listen(0, '127.0.0.1');
    await new Promise((resolve) => peer.once('listening', resolve));
    const address = peer.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    await run(
      process.execPath,
      ['-e', `const s = require('net').connect(${port}, '127.0.0.1'); s.resume(); s.on('end', () => s.end())`],
      { uid },
    );
    await new Promise((resolve) => peer.close(resolve));
    await scraped('eunomia_event_kinds_total{session="network", field="tcpOperation", value="CONNECT"}', 1);
    await scraped('eunomia_event_kinds_total{session="network", field="tcpOperation", value="CLOSE"}', 1);
    await scraped('eunomia_event_bytes_total{session="network", field="receivedBytes"}', 1000);
    await scraped('eunomia_event_bytes_total{session="network", field="sentBytes"}', 0);
  });

  it('keeps exemplars that lead to an event', async () => {
    const exemplars = await until('exemplars', async () => {
      const found = await prometheus.api<{ exemplars: { labels: { session_id: string; cursor: string } }[] }[]>(
        `query_exemplars?query=${encodeURIComponent('eunomia_event_duration_seconds_bucket{session="exact"}')}` +
          `&start=${Date.now() / 1000 - 600}&end=${Date.now() / 1000 + 5}`,
      );
      return found[0]?.exemplars[0];
    });
    const { session_id: id, cursor } = exemplars.labels;
    const { session } = await server.query<{ session: { name: string; events: { nodes: { tracker: string }[] } } }>(
      `{ session(id: "${id}") { name events(first: 1, after: "${cursor}") { nodes { tracker } } } }`,
    );
    expect(session).toEqual({ name: 'exact', events: { nodes: [{ tracker: 'exit' }] } });
  });

  it('takes the rules that are shipped, and evaluates them', async () => {
    for (const file of await readdir(join(prometheusFolder, 'rules')))
      await promtool('check', 'rules', join(prometheusFolder, 'rules', file));
    const rules = await until('all rules evaluated', async () => {
      const { groups } = await prometheus.api<{
        groups: { rules: { name: string; health: string; lastError?: string }[] }[];
      }>('rules');
      const all = groups.flatMap((group) => group.rules);
      return all.length > 0 && all.every(({ health }) => health !== 'unknown') && all;
    });
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
    expect((await prometheus.query('eunomia:session_ring_peak:ratio{session="exact"}')).length).toBe(1);
    expect(await prometheus.query('ALERTS{alertname=~"Eunomia.*", alertstate="firing"}')).toEqual([]);
  });

  it('has what the store has written, and that it is not behind', async () => {
    const id = await start('kept', '{ exec: {} }', `, target: { pids: [${process.pid}] }, persist: {}`);
    for (let i = 0; i < 40; i++) await run('/bin/true');
    await scraped('eunomia_store_written_events_total{store="EMBEDDED"}', 40);
    await scraped(
      'eunomia_store_lag_seconds{store="EMBEDDED"} + eunomia_store_pending_events + eunomia_store_dropped_events_total',
      0,
    );
    await scraped('eunomia_store_up{store="EMBEDDED"} * on () eunomia_store_recordings{state="WRITING"}', 1);
    await scraped('eunomia_store_bytes > bool 0', 1);
    await server.query('mutation ($id: ID!) { removeSession(id: $id) }', { id });
    await scraped('eunomia_store_recordings{state="WRITING"}', 0);
    await scraped('eunomia_store_written_events_total', 40);
  });

  it('knows every metric that a dashboard or a rule names', async () => {
    const expressions: { where: string; expression: string }[] = [];
    const dashboards = join(root, 'docker/grafana/dashboards');
    for (const file of await readdir(dashboards)) {
      const { panels, templating } = JSON.parse(await readFile(join(dashboards, file), 'utf8')) as {
        panels: { title: string; targets: { expr: string }[] }[];
        templating: { list: { definition?: string }[] };
      };
      expect(panels.length).toBeGreaterThan(4);
      for (const { title, targets } of panels)
        for (const { expr } of targets) expressions.push({ where: `${file}, ${title}`, expression: expr });
      for (const { definition } of templating.list) {
        const metric = /^label_values\((.+), \w+\)$/.exec(definition ?? '')?.[1];
        if (metric !== undefined) expressions.push({ where: `${file}, a variable`, expression: metric });
      }
    }
    const recorded = new Set<string>();
    for (const file of await readdir(join(prometheusFolder, 'rules'))) {
      const { groups } = parse(await readFile(join(prometheusFolder, 'rules', file), 'utf8')) as {
        groups: { rules: { record?: string; alert?: string; expr: string }[] }[];
      };
      for (const { record, alert, expr } of groups.flatMap(({ rules }) => rules)) {
        if (record !== undefined) recorded.add(record);
        expressions.push({ where: record ?? alert ?? file, expression: expr });
      }
    }
    const text = await (await fetch(new URL('/metrics', server.url))).text();
    const exposed = new Set(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) =>
        type === 'histogram' ? ['bucket', 'sum', 'count'].map((part) => `${name}_${part}`) : [name],
      ),
    );
    const unknown = expressions.flatMap(({ where, expression }) =>
      metricsOf(expression)
        .filter((name) => !exposed.has(name) && !recorded.has(name) && name !== 'up' && name !== 'ALERTS')
        .map((name) => `${where}: ${name}`),
    );
    expect(unknown).toEqual([]);
    const failing: string[] = [];
    for (const { where, expression } of expressions) {
      await prometheus
        .query(expression.replaceAll('$session', 'exact').replaceAll('$container', '.*'))
        .catch((error: unknown) => failing.push(`${where}: ${String(error)}`));
    }
    expect(failing).toEqual([]);
  });
});
