import { API_VERSION } from '../../src/base/api-version.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../src/api/http/server.js';
import {
  createServer,
  createFixture,
  keepEmitting,
  dataOf,
  post,
  startedId,
  type Fixture,
  type FixtureOptions,
} from './support.js';
import { until } from '../support/until.js';

let fixture: Fixture;
let server: ApiServer;

async function serve(options: FixtureOptions = {}): Promise<void> {
  fixture = await createFixture(options);
  server = await createServer(fixture.services);
}

afterEach(async () => {
  await fixture.services.manager.close();
  await server.close();
});

const START =
  'mutation ($input: StartSessionInput!) { startSession(input: $input) { id state trackers capture name labels { name value } } }';

describe('over HTTP', () => {
  beforeEach(() => serve());

  it('asks the kernel of no tracker but for what only the kernel knows', async () => {
    const { json } = await post(server.url, {
      query: '{ trackers { name summary minimumKernel eventType columns fields { path } options { name } } }',
    });
    expect(json.errors).toBeUndefined();
    expect(fixture.kernel.tried).toEqual([]);
    await post(server.url, { query: '{ trackers(name: "open") { available } }' });
    expect(fixture.kernel.tried).toEqual(['open']);
  });

  it('tells of the server, its kernel, trackers and containers', async () => {
    const { json, status } = await post(server.url, {
      query: `{ server { version apiVersion hostname healthy problem runningSessions
        kernel { release features { name available } } engine { connected problem } }
        __type(name: "DateTime") { specifiedByURL }
        trackers { name available problem hooks blindSpots fields { path onDemand } options { name default } }
        containers { totalCount nodes { name labels { name value } label(name: "tier") cgroupId } }
        container(ref: "nothing") { id } }`,
    });
    expect(status).toBe(200);
    expect(json.errors).toBeUndefined();
    expect(json.data).toMatchObject({
      __type: { specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3339' },
      server: {
        version: '0.1.0',
        apiVersion: API_VERSION,
        healthy: true,
        runningSessions: 0,
        engine: { connected: false },
      },
      containers: {
        totalCount: '1',
        nodes: [
          {
            name: 'web-1',
            label: 'front',
            cgroupId: '4242',
            labels: [{ name: 'com.docker.compose.project' }, { name: 'tier' }],
          },
        ],
      },
      container: null,
    });
    expect(json.data?.['trackers']).toContainEqual(
      expect.objectContaining({ name: 'tcp', available: false, problem: 'no tp_btf/inet_sock_set_state' }),
    );
    expect(json.data?.['trackers']).toContainEqual(
      expect.objectContaining({
        name: 'open',
        blindSpots: expect.arrayContaining([
          'what this kernel has no tracepoint for',
          expect.stringContaining('SCM_RIGHTS'),
        ]),
      }),
    );
    expect(json.data?.['trackers']).toContainEqual(
      expect.objectContaining({
        name: 'exec',
        fields: expect.arrayContaining([
          { path: 'args', onDemand: true },
          { path: 'process.comm', onDemand: false },
        ]),
      }),
    );
  });

  it('starts a session, pages and aggregates its events, stops and removes it', async () => {
    const started = await post(server.url, {
      query: START,
      variables: { input: { trackers: [{ exec: {} }], name: 'mine', labels: [{ name: 'a', value: 'b' }] } },
    });
    expect(started.json.errors).toBeUndefined();
    const id = startedId(started);
    expect(started.json.data?.['startSession']).toEqual({
      id,
      state: 'RUNNING',
      trackers: ['exec'],
      capture: 'DEFAULT',
      name: 'mine',
      labels: [{ name: 'a', value: 'b' }],
    });
    fixture.kernel.emit(10, { cgroupId: 4242, lost: 3 });

    interface Held {
      readonly session: {
        readonly events: { readonly nodes: object[]; readonly pageInfo: { readonly endCursor: string } };
      };
    }
    const page = await post<Held>(server.url, {
      query: `query ($id: ID!) { session(id: $id) {
        stats { produced lost received delivered retained subscribers { id } } captured
        events(first: 4) { nodes { time ... on ExecEvent { args } process { pid comm mountNs } container { name } }
          pageInfo { hasNextPage hasPreviousPage endCursor } totalCount gaps { lost where } }
        last: events(last: 2) { edges { cursor node { bootNs } } pageInfo { hasNextPage hasPreviousPage } }
        aggregate(groupBy: ["process.comm", "container.labels.tier"], limit: 2) { key { field value } count other } } }`,
      variables: { id },
    });
    const { session } = dataOf(page.json);
    expect(session).toMatchObject({
      stats: { produced: '13', lost: '3', received: '10', delivered: '10', retained: '10', subscribers: [] },
      captured: ['args', 'argsTruncated', 'cwd'],
      events: {
        totalCount: '10',
        gaps: [{ lost: '3', where: 'KERNEL' }],
        pageInfo: { hasNextPage: true, hasPreviousPage: false },
      },
      last: {
        edges: [{ node: { bootNs: '8' } }, { node: { bootNs: '9' } }],
        pageInfo: { hasNextPage: false, hasPreviousPage: true },
      },
      aggregate: [
        {
          key: [
            { field: 'process.comm', value: 'worker-0' },
            { field: 'container.labels.tier', value: 'front' },
          ],
          count: '3',
          other: false,
        },
        { count: '3', other: false },
        { count: '4', other: true },
      ],
    });
    expect(session.events.nodes[1]).toEqual({
      time: '2026-01-31T08:15:30.000000001Z',
      args: ['run', '1'],
      process: { pid: 1, comm: 'worker-1', mountNs: null },
      container: { name: 'web-1' },
    });

    const after = session.events.pageInfo.endCursor;
    const next = await post(server.url, {
      query: 'query ($id: ID!, $after: Cursor) { session(id: $id) { events(after: $after) { nodes { bootNs } } } }',
      variables: { id, after },
    });
    expect(next.json.data?.['session']?.['events']?.['nodes']).toHaveLength(6);

    const stopped = await post(server.url, {
      query: 'mutation ($id: ID!) { stopSession(id: $id) { state stopReason } }',
      variables: { id },
    });
    expect(stopped.json.data?.['stopSession']).toEqual({ state: 'STOPPED', stopReason: 'REQUESTED' });
    const removed = await post(server.url, {
      query: 'mutation ($id: ID!) { removeSession(id: $id) }',
      variables: { id },
    });
    expect(removed.json.data?.['removeSession']).toBe(id);
    const gone = await post(server.url, {
      query: 'mutation ($id: ID!) { stopSession(id: $id) { state } }',
      variables: { id },
    });
    expect(gone.json.errors?.[0]).toMatchObject({
      message: expect.stringContaining('it never was, or it was removed'),
      extensions: { code: 'UNKNOWN_SESSION' },
      path: ['stopSession'],
    });
  });

  it('runs a whole trace in one request, capturing just what it selects', async () => {
    const stop = keepEmitting(fixture.kernel, 3, 10);
    const { json } = await post(server.url, {
      query: `mutation { trace(input: { trackers: [{ exec: {} }] }, for: "5m", limit: 5) { state stopReason capture captured
        events { nodes { ... on ExecEvent { args cwd: errno } } } aggregate(groupBy: ["cwd"]) { count key { value } } } }`,
    });
    stop();
    expect(json.errors).toBeUndefined();
    expect(json.data?.['trace']).toMatchObject({
      state: 'STOPPED',
      stopReason: 'LIMIT',
      capture: 'DEMANDED',
      captured: ['args', 'argsTruncated', 'cwd'],
    });
    expect(json.data?.['trace']?.['events']?.['nodes']).toHaveLength(5);
    expect(json.data?.['trace']?.['events']?.['nodes'][0]).toMatchObject({ args: ['run', expect.any(String)] });
    expect(json.data?.['trace']?.['aggregate']).toEqual([{ count: '5', key: [{ value: '/tmp' }] }]);
  });

  it('captures nothing on demand for a trace that selects nothing of the kind, and what the client wrote otherwise', async () => {
    const query = (capture: string) =>
      `mutation { trace(input: { trackers: [{ exec: {} }] ${capture} }, for: "10ms") { stopReason capture captured } }`;
    const plain = await post(server.url, { query: query('') });
    expect(plain.json.data?.['trace']).toEqual({ stopReason: 'DURATION', capture: 'DEMANDED', captured: [] });
    const written = await post(server.url, { query: query('capture: DEFAULT') });
    expect(written.json.data?.['trace']).toMatchObject({
      capture: 'DEFAULT',
      captured: ['args', 'argsTruncated', 'cwd'],
    });
  });

  it('stops a trace whose client goes away', async () => {
    const controller = new AbortController();
    const body = JSON.stringify({
      query: 'mutation { trace(input: { trackers: [{ open: {} }] }, for: "60s") { id } }',
    });
    const gone = fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      signal: controller.signal,
    }).catch(() => 'aborted');
    await until('the trace runs', () => fixture.services.manager.list()[0]?.state === 'RUNNING');
    controller.abort();
    expect(await gone).toBe('aborted');
    await until('the trace stops', () => fixture.services.manager.list()[0]?.state === 'STOPPED');
    expect(fixture.services.manager.list()[0]?.stopReason).toBe('ABANDONED');
  });

  it.each([
    [{ trackers: [] }, 'input.trackers: is empty'],
    [{ trackers: [{ exec: {} }, { exec: {} }] }, 'input.trackers[1]: "exec" is there already, in input.trackers[0]'],
    [{ trackers: [{ exec: {}, open: {} }] }, 'Exactly one key must be specified'],
    [{ trackers: [{ exec: null }] }, 'must be non-null'],
    [{ trackers: [{ exec: {} }], for: '5ms' }, 'input.for: "5ms" is out of range; give "10ms" to "720h"'],
    [{ trackers: [{ exec: {} }], for: '10' }, 'write a whole number and one of the units'],
    [{ trackers: [{ exec: {} }], for: 10 }, 'did you mean "10s"?'],
    [{ trackers: [{ exec: {} }], ttl: '10ms' }, 'input.ttl: "10ms" is out of range; give "1s" to "720h"'],
    [
      { trackers: [{ exec: {} }], bufferBytes: 1 },
      'input.bufferBytes: 1 is out of range; give 65,536 to 1,073,741,824 bytes',
    ],
    [
      { trackers: [{ exec: {} }], ringBytes: 100_000 },
      'input.ringBytes: 100000 is not a power of two; the next ones are 65536 and 131072',
    ],
    [{ trackers: [{ exec: {} }], name: 'x'.repeat(101) }, 'input.name: has 101 characters; at most 100 are allowed'],
    [{ trackers: [{ exec: {} }], labels: [{ name: '', value: '' }] }, 'input.labels[0].name: is empty'],
    [
      {
        trackers: [{ exec: {} }],
        labels: [
          { name: 'a', value: '1' },
          { name: 'b', value: '' },
          { name: 'a', value: '2' },
        ],
      },
      'input.labels[2].name: is "a", as input.labels[0].name is; give each label once',
    ],
    [
      { trackers: [{ exec: {} }], target: { pids: [0] } },
      'input.target.pids[0]: 0 is out of range; give 1 to 4,194,304',
    ],
    [
      { trackers: [{ exec: {} }], target: { pids: [] } },
      'input.target.pids: is empty; leave it out, or give at least one, for example [4242]',
    ],
    [
      { trackers: [{ exec: {} }], target: { comms: ['a-very-long-comm-name'] } },
      'input.target.comms[0]: "a-very-long-comm-name" has 21 bytes; the kernel keeps 15 of a thread\'s name: "a-very-long-com"',
    ],
    [{ trackers: [{ exec: {} }], target: { cgroups: ['x'] } }, 'write a decimal number'],
    [
      { trackers: [{ exec: {} }], target: { containers: [{}] } },
      'input.target.containers[0]: is empty; give at least one of name, id, image and labels',
    ],
    [{ trackers: [{ exec: {} }], target: { containers: [{ name: 'nope' }] } }, 'no container has the name "nope"'],
    [{ trackers: [{ exec: { faild: true } }] }, 'Did you mean "failed"?'],
    [{ trackers: [{ exce: {} }] }, 'Did you mean "exec"'],
  ])('refuses %j with what would be right', async (input, message) => {
    const { json } = await post(server.url, { query: START, variables: { input } });
    expect(json.data?.['startSession'] ?? null).toBeNull();
    expect(json.errors?.map((error) => error.message).join('\n')).toContain(message);
    expect(['BAD_USER_INPUT', 'UNKNOWN_CONTAINER']).toContain(json.errors?.[0]?.extensions?.['code']);
    expect(fixture.services.manager.list()).toEqual([]);
  });

  it.each([
    ['events(first: 0) { totalCount }', 'first: 0 is out of range; give 1 to 100,000'],
    ['events(last: 100001) { totalCount }', 'last: 100001 is out of range'],
    ['events(first: 1, last: 1) { totalCount }', 'last: cannot be joined with `first`'],
    ['aggregate(groupBy: []) { count }', 'groupBy: is empty'],
    [
      'aggregate(groupBy: ["process.com"]) { count }',
      'groupBy[0]: no event of exec has the field "process.com"; did you mean "process.comm"',
    ],
    ['aggregate(groupBy: ["fd"]) { count }', 'no event of exec has the field "fd"; ipc and open would'],
    ['events(after: "nonsense") { totalCount }', 'cursor'],
  ])('refuses %s', async (selection, message) => {
    const { services } = fixture;
    const started = await post(server.url, {
      query: 'mutation { startSession(input: { trackers: [{ exec: {} }] }) { id } }',
    });
    const id = startedId(started);
    const { json } = await post(server.url, { query: `{ session(id: "${id}") { ${selection} } }` });
    expect(json.errors?.[0]?.message).toContain(message);
    expect(['BAD_USER_INPUT', 'BAD_CURSOR']).toContain(json.errors?.[0]?.extensions?.['code']);
    expect(services.manager.list()).toHaveLength(1);
  });

  it('leaves the other fields their values where some fail, and says of which field each error is', async () => {
    const { json } = await post(server.url, {
      query:
        'mutation { a: startSession(input: { trackers: [{ exec: {} }] }) { id events(first: 0) { totalCount } stats { ' +
        'lost } } b: stopSession(id: "nobody") { id } }',
    });
    expect(json.data).toEqual({ a: { id: expect.any(String) as string, events: null, stats: { lost: '0' } }, b: null });
    expect(json.errors?.map(({ path, extensions }) => `${path?.join('.')}: ${extensions?.['code']}`).sort()).toEqual([
      'a.events: BAD_USER_INPUT',
      'b: UNKNOWN_SESSION',
    ]);
    const { json: read } = await post(server.url, {
      query:
        '{ server { version } sessions { nodes { state } } alerts(first: 0) { totalCount } ' +
        'history(trackers: []) { events { nodes { time } } } }',
    });
    expect(read.data).toEqual({
      server: { version: '0.1.0' },
      sessions: { nodes: [{ state: 'RUNNING' }] },
      alerts: null,
      history: null,
    });
    expect(read.errors?.map(({ path }) => path?.[0]).sort()).toEqual(['alerts', 'history']);
  });

  it('says of each code of an error what it means and what to do', async () => {
    interface Data {
      readonly server: { readonly errorCodes: readonly { readonly code: string }[] };
      readonly __type: { readonly enumValues: readonly { readonly name: string }[] };
    }
    const { json } = await post<Data>(server.url, {
      query:
        '{ server { errorCodes { code meaning remedy httpStatus } } __type(name: "ErrorCode") { enumValues { name } } }',
    });
    expect(json.errors).toBeUndefined();
    const { server: about, __type } = dataOf(json);
    expect(about.errorCodes.map(({ code }) => code).sort()).toEqual(__type.enumValues.map(({ name }) => name).sort());
    expect(about.errorCodes).toContainEqual({
      code: 'BAD_CURSOR',
      meaning: expect.stringContaining('another session') as string,
      remedy: expect.stringContaining('same session') as string,
      httpStatus: 400,
    });
  });

  it('masks what is not the client’s business, and says what is', async () => {
    fixture.kernel.refuse = new Error('secret: /root/.ssh');
    const masked = await post(server.url, { query: START, variables: { input: { trackers: [{ exec: {} }] } } });
    expect(masked.json.errors?.[0]).toMatchObject({
      message: 'Unexpected error: the server has logged it.',
      extensions: { code: 'INTERNAL_SERVER_ERROR' },
    });
    expect(JSON.stringify(masked.json)).not.toContain('secret');
    const syntax = await post(server.url, { query: '{ server {' });
    expect(syntax.json.errors?.[0]).toMatchObject({
      message: expect.stringContaining('Syntax Error'),
      extensions: { code: 'GRAPHQL_PARSE_FAILED' },
    });
    const misplaced = await post(server.url, {
      query: 'query ($n: Int) { session(id: $n) { id } }',
      variables: { n: 1 },
    });
    expect(misplaced.json.errors?.[0]).toMatchObject({ extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } });
    const missing = await post(server.url, { query: 'query ($id: ID!) { session(id: $id) { id } }' });
    expect(missing.json.errors?.[0]).toMatchObject({ extensions: { code: 'BAD_USER_INPUT' } });
    const unknown = await post(server.url, { query: '{ servr { version } }' });
    expect(unknown.json.errors?.[0]).toMatchObject({
      message: expect.stringContaining('Did you mean "server"'),
      extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
    });
    expect(
      (await post(server.url, { query: '{ servr { version } }' }, { accept: 'application/graphql-response+json' }))
        .status,
    ).toBe(400);
  });

  it('serves GraphiQL to a browser', async () => {
    const page = await fetch(server.url, { headers: { accept: 'text/html' } });
    expect(page.status).toBe(200);
    expect(page.headers.get('x-frame-options')).toBe('DENY');
    expect(page.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; script-src 'sha256-[^;]*; style-src/,
    );
    expect(await page.text()).toContain('Eunomia');
  });

  it('sends GraphiQL once to a browser that keeps it', async () => {
    const asked = (headers: Record<string, string>) =>
      fetch(server.url, { headers: { accept: 'text/html', 'accept-encoding': 'gzip', ...headers } });
    const page = await asked({});
    const tag = page.headers.get('etag') ?? '';
    expect([page.headers.get('cache-control'), tag]).toEqual(['no-cache', expect.stringMatching(/^"[\w-]{43}"$/)]);
    const again = await asked({ 'if-none-match': `"other", ${tag}` });
    expect([again.status, again.headers.get('etag'), await again.text()]).toEqual([304, tag, '']);
    for (const condition of [`W/${tag}`, `"other",${tag}`, '*'])
      expect([condition, (await asked({ 'if-none-match': condition })).status]).toEqual([condition, 304]);
    expect((await asked({ 'if-none-match': '"other"' })).status).toBe(200);
    // Each coding is a body of its own.
    expect((await asked({ 'if-none-match': tag, 'accept-encoding': 'identity' })).status).toBe(200);
  });

  it('ends its subscriptions and frees its port when it is closed', async () => {
    await server.close();
    await expect(fetch(server.url)).rejects.toThrow('fetch failed');
    await server.close();
  });

  it('says that its port is in use', async () => {
    const port = Number(new URL(server.url).port);
    const second = await createFixture({ port });
    await expect(createServer(second.services)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringMatching(/ is in use by .+ \(process \d+\); give another --port/) as string,
    });
  });
});
