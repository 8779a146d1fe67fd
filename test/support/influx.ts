import { askedOf } from './asked.js';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { contractSchema } from '../../src/api/graphql/schema.js';
import {
  Aggregator,
  compileAggregate,
  type AggregateInput,
  type AggregateRow,
} from '../../src/analysis/aggregate/index.js';
import { ConnectingClient, InfluxStore, Sender, Spool, type InfluxOptions } from '../../src/storage/influx/index.js';
import type { SenderStats } from '../../src/storage/influx/sender.js';
import type { InfluxClient } from '../../src/storage/influx/client.js';
import { nanosecondsOf } from '../../src/storage/influx/point.js';
import type { EventQuery, SessionRecord } from '../../src/storage/store.js';
import type { TraceEvent } from '../../src/event/event.js';
import { FilterFields } from '../../src/filter/index.js';
import { createLog } from '../../src/base/log.js';
import type { Slice } from '../../src/record/batch-buffer.js';
import { RowBatch } from '../../src/record/row.js';
import { Catalog } from '../../src/catalog/catalog.js';
import { loadTrackers } from '../../src/catalog/load.js';
import { freePort } from './port.js';
import { untilHolds } from './until.js';
import { scratch, start } from './workload.js';
import { eventWith } from './event.js';

/** Real databases, each with a data directory and a port of its own, and the store on top of them. */
export class Database {
  readonly url: string;
  readonly #start: () => ChildProcess;
  readonly #ready: string;
  #child: ChildProcess | null = null;

  constructor(url: string, ready: string, start: () => ChildProcess) {
    this.url = url;
    this.#ready = ready;
    this.#start = start;
  }

  async up(): Promise<this> {
    this.#child = this.#start();
    for (let i = 0; i < 600; i++) {
      if (this.#child.exitCode !== null)
        throw new Error(`${this.url}: the database ended with ${this.#child.exitCode}`);
      if (await answers(`${this.url}${this.#ready}`)) return this;
      await sleep(50);
    }
    throw new Error(`${this.url} does not respond`);
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }
}

/** Whatever its certificate: to wait for it is not to trust it. */
function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const done = ({ statusCode = 500 }: { statusCode?: number }): void => resolve(statusCode < 300);
    const request = url.startsWith('https')
      ? https.get(url, { rejectUnauthorized: false, agent: false }, done)
      : http.get(url, { agent: false }, done);
    request.on('error', () => resolve(false));
  });
}

/** InfluxDB 1.x of Debian. */
export async function influx1(
  name: string,
  { auth = false, tls = null }: { auth?: boolean; tls?: { cert: string; key: string } | null } = {},
): Promise<Database> {
  const folder = join(scratch, name);
  mkdirSync(folder, { recursive: true });
  const [port, rpc] = [await freePort(), await freePort()];
  const config = join(folder, 'influxdb.conf');
  writeFileSync(
    config,
    `reporting-disabled = true\nbind-address = "127.0.0.1:${rpc}"\n[meta]\ndir = "${folder}/meta"\n[data]\ndir = ` +
      `"${folder}/data"\nwal-dir = "${folder}/wal"\n` +
      (`[http]\nbind-address = "127.0.0.1:${port}"\nauth-enabled = ${auth}\nlog-enabled = false\n` +
        `${tls ? `https-enabled = true\nhttps-certificate = "${tls.cert}"\nhttps-private-key = "${tls.key}"\n` : ''}[monitor]\n` +
        'store-enabled = false\n'),
  );
  return new Database(`${tls ? 'https' : 'http'}://127.0.0.1:${port}`, '/ping', () =>
    start('influxd', ['-config', config], { stdio: 'ignore' }),
  );
}

/** VictoriaMetrics of Debian. Points of one series and millisecond are one, as its documentation advises where requests are repeated. */
export async function victoria(name: string): Promise<Database> {
  const port = await freePort();
  const args = [
    `-storageDataPath=${join(scratch, name)}`,
    `-httpListenAddr=127.0.0.1:${port}`,
    '-dedup.minScrapeInterval=1ms',
    '-retentionPeriod=12',
    '-loggerLevel=ERROR',
  ];
  return new Database(`http://127.0.0.1:${port}`, '/health', () =>
    start('victoria-metrics', args, { stdio: 'ignore' }),
  );
}

const schema = contractSchema();
export const catalog = new Catalog(schema, await loadTrackers(), () => false);
export const fields = new FilterFields(schema, catalog);

export interface TestStore {
  readonly store: InfluxStore;
  readonly sender: Sender;
}

export async function openStore(
  url: string,
  options: Partial<InfluxOptions & { spool: string; maxBytes: number; host: string; node: string }> = {},
): Promise<TestStore> {
  const given = {
    version: null,
    token: null,
    username: null,
    password: null,
    organisation: 'o',
    bucket: 'eunomia',
    retentionMs: 0,
    ca: null,
    ...options,
  };
  return storeOn(new ConnectingClient({ url, ...given }), { ...options, location: url });
}

/** A store on a database of any kind. */
export async function storeOn(
  client: InfluxClient,
  options: Partial<Pick<InfluxOptions, 'retentionMs'>> & {
    readonly spool?: string;
    readonly maxBytes?: number;
    readonly host?: string;
    readonly node?: string;
    readonly location?: string;
    readonly maxRetryMs?: number;
  },
): Promise<TestStore> {
  const spool = await Spool.open(options.spool ?? join(scratch, `spool-${Math.random()}`), {
    maxBytes: options.maxBytes ?? 1 << 30,
    drop: 'OLDEST',
  });
  const sender = new Sender({
    writer: client,
    spool,
    log: createLog('silent'),
    lingerMs: 50,
    firstRetryMs: Math.min(250, options.maxRetryMs ?? 250),
    maxRetryMs: options.maxRetryMs ?? 1000,
    timeoutMs: 5000,
  });
  const store = new InfluxStore({
    client,
    sender,
    host: options.host ?? 'test-host',
    node: { id: options.node ?? '00000000-0000-0000-0000-000000000001', name: 'test-node' },
    location: options.location ?? 'a test',
    retentionMs: options.retentionMs ?? 0,
    catalog,
    fields,
    makeGroups: (input, tracker, graceMs) =>
      new Aggregator(compileAggregate(input, catalog, [tracker]), {
        live: true,
        graceMs,
        accept: (event) => event.tracker === tracker,
      }),
  });
  // Of what a busy database has not taken within half a second, `finish` leaves the rest to the spool. A test reads all of it next.
  const record = store.record.bind(store);
  store.record = async (session) => {
    const sink = await record(session);
    const finish = sink.finish.bind(sink);
    sink.finish = async (end) => {
      await finish(end);
      const isOver = ({ state, queued }: SenderStats): boolean =>
        queued === 0 || state === 'AWAY' || state === 'REFUSED';
      await untilHolds('the database has all', () => sender.stats, isOver);
    };
    return sink;
  };
  return { store, sender };
}

/** As the API asks: what the store cannot do is done with the events that it gives. */
export async function aggregate(
  { store }: Pick<TestStore, 'store'>,
  query: EventQuery,
  input: AggregateInput,
): Promise<readonly AggregateRow[]> {
  const spec = compileAggregate(input, catalog, query.trackers);
  const rows = await store.aggregate(query, spec);
  if (rows) return rows;
  const aggregator = new Aggregator(spec);
  for await (const events of store.scan(query)) aggregator.add(events);
  return aggregator.rows();
}

/** The times of tests' events begin here: an hour ago. */
export const BASE = Date.now() - 3_600_000;

let sessions = 0;

export function sessionOf(
  mode: SessionRecord['mode'],
  trackers: readonly string[] = ['exec'],
  id = `session-${process.pid}-${sessions++}`,
): SessionRecord {
  // Not before its test: what is more than a minute before its beginning is not asked for, and a file may take that long.
  const now = timeAt(BASE);
  return {
    id,
    name: 'a test',
    labels: [{ name: 'tier', value: "o'brien\\" }],
    trackers,
    options: { exec: { failed: false } },
    capture: 'DEFAULT',
    mode,
    createdAt: now,
    startedAt: now,
    asked: askedOf(trackers),
    boot: null,
  };
}

/** "2026-01-31T08:15:30.000000000Z" and so many nanoseconds. */
export function timeAt(ms: number, ns = 0): string {
  return `${new Date(ms).toISOString().slice(0, 20)}${String((ms % 1000) * 1_000_000 + ns).padStart(9, '0')}Z`;
}

/** An event of the tracker exec; `own` has what is not as usual. */
export function execEvent(time: string, own: Readonly<Record<string, unknown>> = {}): TraceEvent {
  return eventWith('exec', {
    time,
    bootNs: time === '' ? '0' : nanosecondsOf(time), // by the clock of `sliceOf`
    process: { startTime: time },
    errno: null,
    filename: '/bin/sh',
    executable: '/usr/bin/dash',
    args: ['sh', '-c', 'true'],
    argsTruncated: false,
    cwd: '/',
    parentComm: 'init',
    pidNs: '4026531836',
    netNs: '4026531840',
    ...own,
  });
}

/** An event of the tracker exit. */
export function exitEvent(time: string, own: Readonly<Record<string, unknown>> = {}): TraceEvent {
  return eventWith('exit', {
    time,
    bootNs: nanosecondsOf(time),
    process: { startTime: time },
    exitCode: 0,
    signal: null,
    coreDumped: false,
    lifetimeNs: '0',
    ...own,
  });
}

export function sliceOf(events: readonly TraceEvent[], seq: number): Slice {
  const batch = new RowBatch(events, { clock: { seconds: 0, nanoseconds: 0 }, seq, lost: 0, lostFrom: 0, lostTo: 0 });
  return { batch, from: 0, to: events.length };
}

export const ended = {
  startedAt: null,
  state: 'STOPPED',
  stopReason: 'REQUESTED',
  error: null,
  lost: 0,
  received: 1,
  discarded: 0,
  receivedBytes: 1,
  stoppedAt: timeAt(Date.now() + 60_000),
} as const;
