import { ProtobufLogsSerializer, ProtobufMetricsSerializer } from '@opentelemetry/otlp-transformer';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { metricsOf } from './metric.js';
import { poster, type PostResult } from './post.js';
import { hrTimeOf, RecordMaker } from './record.js';
import { imageOf, OtlpResources } from './resource.js';
import { OtlpSender } from './sender.js';
import { createContainer } from '../../inventory/container.js';
import type { TraceEvent } from '../../event/event.js';
import { collectorType, logsOf, pointsOf, startCollector, type TestCollector } from '../../../test/support/otlp.js';
import { until } from '../../../test/support/until.js';

const resources = new OtlpResources({ 'service.name': 'eunomia' });
const fields = {
  exec: [
    'time',
    'bootNs',
    'tracker',
    'cgroupId',
    'process.pid',
    'process.tid',
    'process.ppid',
    'process.uid',
    'process.comm',
    'container.name',
    'executable',
    'args',
    'argsTruncated',
    'errno',
    'count',
  ].map((path) => ({ path, wide: path === 'count' || path === 'bootNs' || path === 'cgroupId' })),
};
const maker = new RecordMaker(resources, '1.2.3', fields);
const session = { id: 'feed', name: 'audit', trackers: ['exec'] };
const container = { ...createContainer('c'.repeat(64), 'docker'), name: 'web', image: 'registry:5000/team/nginx:1.25' };
const process_ = {
  pid: 7,
  tid: 8,
  ppid: 1,
  uid: 1000,
  gid: 1000,
  comm: 'sh',
  startTime: '2026-01-31T08:15:30.000000001Z',
  mountNs: '1',
};

function event(own: Readonly<Record<string, unknown>>): TraceEvent {
  return {
    __typename: 'ExecEvent',
    tracker: 'exec',
    time: '2026-01-31T08:15:30.123456789Z',
    bootNs: '1',
    cgroupId: '4242',
    process: process_,
    container,
    ...own,
  } as TraceEvent;
}

const sent = (...records: Parameters<typeof ProtobufLogsSerializer.serializeRequest>[0]) =>
  logsOf(ProtobufLogsSerializer.serializeRequest(records) ?? new Uint8Array());

describe('an event as a log record', () => {
  it('has fields by their names in the schema, processes and containers by OpenTelemetry’s', () => {
    const [log] = sent(
      maker.event(
        event({
          executable: '/bin/sh',
          args: ['sh', '-c', 'true'],
          argsTruncated: false,
          errno: null,
          count: '9007199254740993',
        }),
        41,
        session,
      ),
    );
    expect(log).toEqual({
      time: '1769847330123456789',
      severity: 9,
      severityText: 'INFO',
      body: 'exec sh (7)',
      attributes: {
        'eunomia.session.id': 'feed',
        'eunomia.session.name': 'audit',
        'eunomia.seq': 41,
        tracker: 'exec',
        cgroupId: 4242,
        'process.pid': 7,
        'thread.id': 8,
        'process.parent_pid': 1,
        'process.real_user.id': 1000,
        'process.executable.name': 'sh',
        'process.executable.path': '/bin/sh',
        'process.command': 'sh',
        'process.command_args': ['sh', '-c', 'true'],
        executable: '/bin/sh',
        args: ['sh', '-c', 'true'],
        argsTruncated: false,
        count: '9007199254740993', // beyond what a double holds exactly
      },
      resource: {
        'service.name': 'eunomia',
        'container.id': 'c'.repeat(64),
        'container.name': 'web',
        'container.image.name': 'registry:5000/team/nginx',
        'container.image.tags': ['1.25'],
        'container.runtime.name': 'docker',
      },
    });
  });

  it('leaves out what was not captured, and names no container for the host', () => {
    const [log] = sent(
      maker.event(event({ container: null, args: null, executable: null }), 0, { ...session, name: null }),
    );
    expect(log?.resource).toEqual({ 'service.name': 'eunomia' });
    expect(Object.keys(log?.attributes ?? {})).not.toContain('args');
    expect(Object.keys(log?.attributes ?? {})).not.toContain('eunomia.session.name');
  });

  it('shares the resource of a container, and not that of another', () => {
    const records = [container, container, { ...container, id: 'd'.repeat(64), name: 'db' }, null].map((its) =>
      maker.event(event({ container: its }), 0, session),
    );
    expect(new Set(records.map(({ resource }) => resource)).size).toBe(3);
    expect(sent(...records).map(({ resource }) => resource['container.name'])).toEqual(['web', 'web', 'db', undefined]);
  });

  it('keeps any text and any time', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.integer({ min: 0, max: 4_102_444_799 }),
        fc.integer({ min: 0, max: 999_999_999 }),
        (text, seconds, nanoseconds) => {
          const time = `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanoseconds).padStart(9, '0')}Z`;
          expect(hrTimeOf(time)).toEqual([seconds, nanoseconds]);
          const [log] = sent(maker.event(event({ time, executable: text }), 0, session));
          expect(log?.attributes['executable']).toBe(Buffer.from(text).toString()); // a lone surrogate has no UTF-8
          expect(log?.time).toBe(String(BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)));
        },
      ),
    );
  });
});

describe('an alert as a log record', () => {
  it.each([
    ['INFO', 9],
    ['LOW', 13],
    ['MEDIUM', 14],
    ['HIGH', 17],
    ['CRITICAL', 21],
  ] as const)('has of %s the severity number %i', (severity, number) => {
    const alert = {
      id: 'a1',
      severity,
      title: 'A shell',
      message: 'talks to 10.0.0.1',
      source: 'plugin:reverse-shell',
      session: 'feed',
      time: '2026-01-31T08:15:30Z',
      raisedAt: '2026-01-31T08:15:31Z',
      tracker: 'tcp',
      process: { pid: 7, ppid: null, uid: 0, comm: 'sh' },
      container,
    };
    const [log] = sent(maker.alert(alert));
    expect(log).toMatchObject({
      severity: number,
      severityText: severity,
      body: 'talks to 10.0.0.1',
      time: '1769847330000000000',
      resource: { 'container.name': 'web' },
    });
    expect(log?.attributes).toEqual({
      'eunomia.session.id': 'feed',
      'alert.id': 'a1',
      'alert.title': 'A shell',
      'alert.source': 'plugin:reverse-shell',
      tracker: 'tcp',
      'process.pid': 7,
      'process.real_user.id': 0,
      'process.executable.name': 'sh',
    });
    const rule = { source: 'rule:shell', rule: 'shell', tags: ['shell'], attack: ['T1059.004'], session: null };
    const [ofRule] = sent(maker.alert({ ...alert, ...rule }));
    expect(ofRule?.attributes).toMatchObject({
      ...{ 'alert.rule': 'shell', 'alert.tags': ['shell'], 'alert.attack': ['T1059.004'] },
    });
    expect(ofRule?.attributes).not.toHaveProperty('eunomia.session.id');
  });
});

it.each([
  ['nginx', 'nginx', null],
  ['nginx:1.25', 'nginx', '1.25'],
  ['host:5000/nginx', 'host:5000/nginx', null],
  ['host:5000/a/nginx:2@sha256:abc', 'host:5000/a/nginx', '2'],
  ['sha256:0123abc', 'sha256:0123abc', null],
  ['', '', null],
])('takes the image %j apart', (image, reference, tag) => {
  expect(imageOf(image)).toEqual({ reference, tag });
});

it('tells metrics under their own names: counters as sums, histograms with their buckets', () => {
  const families = [
    {
      name: 'a_total',
      type: 'counter',
      help: 'A.',
      samples: [
        { labels: { x: '1' }, value: 3 },
        { labels: { x: '2' }, value: 0.5 },
      ],
    },
    { name: 'b_seconds', type: 'gauge', help: 'B.', samples: [{ labels: {}, value: -1 }] },
    {
      name: 'c_bytes',
      type: 'histogram',
      help: 'C.',
      bounds: [1, 10],
      samples: [{ labels: {}, counts: [1, 0, 4], sum: 99 }],
    },
    { name: 'empty', type: 'gauge', help: 'None.', samples: [] },
  ] as const;
  const points = pointsOf(
    ProtobufMetricsSerializer.serializeRequest(metricsOf(families, resources.server, '1', 1000, 61_500)) ??
      new Uint8Array(),
  );
  expect(points).toEqual([
    { name: 'a_total', unit: '', kind: 'sum', attributes: { x: '1' }, value: 3, bounds: [], counts: [] },
    { name: 'a_total', unit: '', kind: 'sum', attributes: { x: '2' }, value: 0.5, bounds: [], counts: [] },
    { name: 'b_seconds', unit: 's', kind: 'gauge', attributes: {}, value: -1, bounds: [], counts: [] },
    { name: 'c_bytes', unit: 'By', kind: 'histogram', attributes: {}, value: 5, bounds: [1, 10], counts: [1, 0, 4] },
  ]);
});

describe('the sender', () => {
  const quiet = { rejected: () => ({ count: 0, problem: '' }), maxBytes: 10, newestOnly: false, firstWaitMs: 1 };
  const parcel = (text: string, count = 1) => ({ body: Buffer.from(text), count });

  it('keeps what waits, in its order, while the collector is away', async () => {
    const got: string[] = [];
    let failures = 3;
    const post = async (body: Uint8Array): Promise<PostResult> => {
      if (failures-- > 0) return { kind: 'AWAY', problem: 'gone', afterMs: null };
      got.push(Buffer.from(body).toString());
      return { kind: 'TAKEN', body };
    };
    const sender = new OtlpSender({ ...quiet, post });
    for (const text of ['a', 'b', 'c']) sender.push(parcel(text, 2));
    expect(sender.counts).toMatchObject({ queued: 6, queuedBytes: 3 });
    await sender.empty();
    expect(got).toEqual(['a', 'b', 'c']);
    expect(sender.counts).toEqual({ sent: 6, refused: 0, failures: 3, queued: 0, queuedBytes: 0, problem: null });
  });

  it('lets go of what is refused, and counts it', async () => {
    const sender = new OtlpSender({
      ...quiet,
      post: async (body) => (body[0] === 98 ? { kind: 'REFUSED', problem: 'no such tenant' } : { kind: 'TAKEN', body }),
      rejected: (body) => ({ count: body[0] === 99 ? 2 : 0, problem: 'too old' }),
    });
    for (const text of ['a', 'b', 'c']) sender.push(parcel(text, 5));
    await sender.empty();
    expect(sender.counts).toMatchObject({ sent: 8, refused: 7, queued: 0, problem: 'too old (2 of 5 in one request)' });
  });

  it('goes on when the collector answers something that cannot be read, or rejects more than there was', async () => {
    const sender = new OtlpSender({
      ...quiet,
      post: async (body) => ({ kind: 'TAKEN', body }),
      rejected: (body) => {
        if (body[0] === 97) ProtobufLogsSerializer.deserializeResponse(Buffer.from('OK, thanks'));
        return { count: body[0] === 98 ? 1e15 : -7, problem: 'x'.repeat(10_000) };
      },
    });
    for (const [text, sent, refused] of [
      ['a', 5, 0],
      ['b', 5, 5],
      ['c', 10, 5],
    ] as const) {
      sender.push(parcel(text, 5));
      await sender.empty();
      expect(sender.counts).toMatchObject({ sent, refused, queued: 0 });
      expect(sender.counts.problem?.length ?? 0).toBeLessThan(300);
    }
  });

  it('makes its callers wait for room', async () => {
    let taken = (_: PostResult): void => {};
    const sender = new OtlpSender({ ...quiet, post: () => new Promise((resolve) => (taken = resolve)) });
    sender.push(parcel('x'.repeat(11)));
    let room = false;
    const waiting = sender.room().then(() => (room = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(room).toBe(false);
    taken({ kind: 'TAKEN', body: new Uint8Array() });
    await waiting;
  });

  it('keeps only the newest of metrics, besides those on their way', async () => {
    const got: string[] = [];
    const sender = new OtlpSender({
      ...quiet,
      newestOnly: true,
      post: async (body) => (got.push(Buffer.from(body).toString()), { kind: 'TAKEN', body }),
    });
    for (const text of ['a', 'b', 'c', 'd']) sender.push(parcel(text));
    await sender.empty();
    expect(got).toEqual(['a', 'd']);
    expect(sender.counts).toMatchObject({ sent: 2, queued: 0, queuedBytes: 0 });
  });
});

describe('a request to a collector', () => {
  let collector: TestCollector;
  beforeEach(async () => void (collector = await startCollector()));
  afterEach(() => collector.close());
  const body = () => ProtobufLogsSerializer.serializeRequest([maker.event(event({}), 0, session)]) ?? new Uint8Array();

  it('is compressed protobuf with the headers that were configured', async () => {
    expect(await poster(`${collector.url}/v1/logs`, { authorization: 'Bearer hunter2' }, null)(body())).toMatchObject({
      kind: 'TAKEN',
    });
    expect(collector.logs).toHaveLength(1);
    expect(collector.headers[0]).toMatchObject({
      authorization: 'Bearer hunter2',
      'content-type': 'application/x-protobuf',
      'content-encoding': 'gzip',
    });
  });

  it.each([
    [429, 'AWAY'],
    [503, 'AWAY'],
    [0, 'AWAY'],
    [400, 'REFUSED'],
    [401, 'REFUSED'],
    [500, 'REFUSED'],
  ])('that gets status %i is %s', async (status, kind) => {
    collector.answers.push({ status, body: Buffer.from('\u0001why it failed'), retryAfter: '7' });
    const answer = await poster(`${collector.url}/v1/logs`, {}, null)(body());
    expect(answer.kind).toBe(kind);
    if (status)
      expect(answer).toMatchObject({
        problem: `the collector responded with status ${status}: why it failed`,
        ...(kind === 'AWAY' ? { afterMs: 7000 } : {}),
      });
  });

  it('that finds nobody is made again later', async () => {
    expect(await poster('http://127.0.0.1:9/v1/logs', {}, null)(body())).toMatchObject({
      kind: 'AWAY',
      problem: expect.stringContaining('ECONNREFUSED') as unknown,
    });
  });

  it('is not made again once the collector has taken it, also when its response breaks off', async () => {
    collector.answers.push({ status: 200, breaks: true });
    expect(await poster(`${collector.url}/v1/logs`, {}, null)(body())).toMatchObject({ kind: 'TAKEN' });
  });

  it('tells how many records the collector rejected', async () => {
    const type = collectorType('logs.v1.ExportLogsServiceResponse');
    collector.answers.push({
      status: 200,
      body: type.encode({ partialSuccess: { rejectedLogRecords: 3, errorMessage: 'too old' } }).finish(),
    });
    const answer = await poster(`${collector.url}/v1/logs`, {}, null)(body());
    expect(
      answer.kind === 'TAKEN' && ProtobufLogsSerializer.deserializeResponse(answer.body).partialSuccess,
    ).toMatchObject({ errorMessage: 'too old' });
    expect(
      answer.kind === 'TAKEN' &&
        Number(ProtobufLogsSerializer.deserializeResponse(answer.body).partialSuccess?.rejectedLogRecords),
    ).toBe(3);
    await until('the collector has them', () => collector.logs.length === 1);
  });
});
