import { afterEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import { createServer, createFixture, post, startedId, type Fixture, type FixtureOptions } from './support.js';

const servers: ApiServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(options: FixtureOptions = {}): Promise<Fixture & { url: string; metrics: string }> {
  const fixture = await createFixture(options);
  const server = await createServer(fixture.services);
  servers.push(server);
  return { ...fixture, url: server.url, metrics: new URL('/metrics', server.url).href };
}

async function scrape(url: string, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(url, { headers });
  expect(response.status).toBe(200);
  return response.text();
}

/** The value of the series with exactly this text before it. */
function valueOf(text: string, series: string): number {
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.slice(series.length + 1),
  );
}

/** Events of all sessions, which are counted when it resolves: a session takes them in turns with other work. */
async function emit(
  { kernel, services }: Pick<Fixture, 'kernel' | 'services'>,
  ...made: Parameters<Fixture['kernel']['emit']>
): Promise<void> {
  kernel.emit(...made);
  await Promise.all(services.manager.list().map((session) => session.refresh()));
}

async function start(url: string, input: string, headers: Record<string, string> = {}): Promise<string> {
  return startedId(await post(url, { query: `mutation { startSession(input: ${input}) { id } }` }, headers));
}

describe('/metrics', () => {
  it('returns in the format of Prometheus, and in that of OpenMetrics where it is asked for', async () => {
    const { metrics } = await serve();
    const plain = await fetch(metrics);
    expect(plain.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await plain.text()).toContain('# TYPE eunomia_events_total counter');
    const open = await fetch(metrics, {
      headers: { accept: 'application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5' },
    });
    expect(open.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    const text = await open.text();
    expect(text).toContain('# TYPE eunomia_events counter');
    expect(text.endsWith('# EOF\n')).toBe(true);
    expect(await (await fetch(metrics)).text()).toContain('# TYPE eunomia_events_total counter');
  });

  it('counts the events of a session exactly, and keeps the counts when it is removed', async () => {
    const { url, metrics, kernel, services } = await serve();
    const id = await start(url, '{ name: "web", trackers: [{ exec: {} }, { open: {} }] }');
    await emit({ kernel, services }, 1001, { lost: 7, cgroupId: 4242 });
    await emit({ kernel, services }, 10, { cgroupId: 1 });
    const text = await scrape(metrics);
    expect(valueOf(text, 'eunomia_events_total{tracker="exec",container="web-1",session="web"}')).toBe(501);
    expect(valueOf(text, 'eunomia_events_total{tracker="open",container="web-1",session="web"}')).toBe(500);
    expect(valueOf(text, 'eunomia_events_total{tracker="exec",container="host",session="web"}')).toBe(5);
    expect(valueOf(text, 'eunomia_session_delivered_total{session="web"}')).toBe(1011);
    expect(valueOf(text, 'eunomia_session_lost_total{session="web"}')).toBe(7);
    expect(valueOf(text, 'eunomia_session_produced_total{session="web"}')).toBe(1018);
    expect(valueOf(text, 'eunomia_sessions{state="RUNNING"}')).toBe(1);
    expect(valueOf(text, 'eunomia_session_running{session="web"}')).toBe(1);

    await emit({ kernel, services }, 4, { cgroupId: 4242 });
    await post(url, { query: `mutation { removeSession(id: "${id}") }` });
    const after = await scrape(metrics);
    expect(valueOf(after, 'eunomia_session_delivered_total{session="web"}')).toBe(1015);
    expect(valueOf(after, 'eunomia_events_total{tracker="exec",container="web-1",session="web"}')).toBe(503);
    expect(valueOf(after, 'eunomia_sessions{state="RUNNING"}')).toBe(0);

    await start(url, '{ name: "web", trackers: [{ exec: {} }] }');
    await emit({ kernel, services }, 3, { cgroupId: 4242 });
    const again = await scrape(metrics);
    expect(valueOf(again, 'eunomia_session_delivered_total{session="web"}')).toBe(1018);
    expect(valueOf(again, 'eunomia_events_total{tracker="exec",container="web-1",session="web"}')).toBe(506);
  });

  it('counts sessions without a name together, and one that is called as such by its id', async () => {
    const { url, metrics, kernel, services } = await serve();
    await start(url, '{ trackers: [{ exec: {} }] }');
    await start(url, '{ trackers: [{ exec: {} }], ringBytes: 65536 }');
    const id = await start(url, '{ name: "unnamed", trackers: [{ exec: {} }], ringBytes: 131072 }');
    await emit({ kernel, services }, 2);
    const text = await scrape(metrics);
    expect(valueOf(text, 'eunomia_events_total{tracker="exec",container="host",session="unnamed"}')).toBe(4);
    expect(valueOf(text, `eunomia_events_total{tracker="exec",container="host",session="${id}"}`)).toBe(2);
  });

  it('escapes what a client wrote into a label', async () => {
    const { url, metrics, kernel, services } = await serve();
    await post(url, {
      query: 'mutation ($name: String) { startSession(input: { name: $name, trackers: [{ exec: {} }] }) { id } }',
      variables: { name: 'a"}\n{\\' },
    });
    await emit({ kernel, services }, 1);
    expect(await scrape(metrics)).toContain('session="a\\"}\\n{\\\\"} 1\n');
  });

  it('asks for a token where the server has tokens, and lets a viewer read', async () => {
    const { metrics } = await serve({ tokens: [{ secret: 'see', role: 'viewer' }] });
    const refused = await fetch(metrics);
    expect(refused.status).toBe(401);
    expect(refused.headers.get('www-authenticate')).toBe('Bearer');
    expect(await refused.text()).not.toContain('eunomia_');
    expect((await fetch(metrics, { headers: { authorization: 'Bearer wrong' } })).status).toBe(401);
    expect(await scrape(metrics, { authorization: 'Bearer see' })).toContain('eunomia_events_total');
  });

  it('refuses a page from elsewhere, and other methods than GET', async () => {
    const { metrics } = await serve();
    expect((await fetch(metrics, { headers: { origin: 'http://evil.example' } })).status).toBe(403);
    const posted = await fetch(metrics, { method: 'POST' });
    expect(posted.status).toBe(405);
    expect(posted.headers.get('allow')).toBe('GET, HEAD');
  });

  it('leaves out a part that fails or has bad names, and returns the rest', async () => {
    const { services, metrics } = await serve();
    services.metrics.add({
      metrics: () => {
        throw new Error('broken');
      },
    });
    services.metrics.add({
      metrics: () => [
        { name: 'plugin_good_total', type: 'counter', help: 'Good.', samples: [{ labels: { key: 'a' }, value: 1 }] },
        { name: 'bad name', type: 'gauge', help: '', samples: [] },
        { name: 'eunomia_events_total', type: 'counter', help: 'Doubled.', samples: [{ labels: {}, value: 99 }] },
        { name: 'bad_label', type: 'gauge', help: '', samples: [{ labels: { 'a-b': '' }, value: 1 }] },
      ],
    });
    const text = await scrape(metrics);
    expect(valueOf(text, 'plugin_good_total{key="a"}')).toBe(1);
    expect(valueOf(text, 'eunomia_metrics_sources_failed')).toBe(1);
    expect(text).not.toMatch(/bad|Doubled/);
  });
});
