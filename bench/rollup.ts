import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import { residentOf } from './resident.js';
import { ServerProcess, startSession } from './served.js';
import { Workload } from './workload.js';

const MB = 1e6;
const RATE = 5_000;
/** V8's heap and the session's buffer grow to what they need before. */
const WARM_MS = 120_000;
const CALM_MS = 10 * 60_000;
/** Sizes are taken so often. */
const PARTS = 10;
/** Full within the first minutes of other work on the machine, whose processes are not what is measured. */
const PROCESS_TABLE = '1MiB';
/** As much as one measurement differs from the next. */
const GROWTH_GOAL_MB = 5;
const STORED_MS = 60_000;

const STATS = `query ($id: ID!) { session(id: $id) {
  stats { lost delivered } persistence { state written pending dropped } } }`;
const STOP = 'mutation ($id: ID!) { stopSession(id: $id) { id } }';

interface Facts {
  readonly stats: { readonly lost: string; readonly delivered: string };
  readonly persistence: {
    readonly state: string;
    readonly written: string;
    readonly pending: string;
    readonly dropped: string;
  };
}

/** A database of time series, in a process of its own. */
interface Series {
  readonly name: string;
  readonly url: string;
  /** Events that its points stand for. */
  count(): Promise<number>;
  close(): Promise<void>;
}

/** A steady stream of events, rolled up into a real InfluxDB 1.x and a real VictoriaMetrics at once, by a server each. */
export async function rollup(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const workload = await Workload.start();
  const databases = [await influxd(folder), await victoriaMetrics(folder)];
  const servers: ServerProcess[] = [];
  try {
    for (const { name, url } of databases)
      servers.push(
        await ServerProcess.start(
          [],
          ['--influx-url', url, '--influx-spool', join(folder, `${name}-spool`), '--process-table', PROCESS_TABLE],
        ),
      );
    const persist = { store: 'INFLUX', mode: 'ROLLUP' };
    const ids = await Promise.all(
      servers.map((server) => startSession(server, workload.pid, { capture: 'DEFAULT', persist })),
    );
    const run = (ms: number) => workload.paced('opened', RATE, ms);
    const warm = await run(quick ? 5_000 : WARM_MS);
    const resident = () => Promise.all(servers.map(({ pid }) => residentOf(pid)));
    const sizes = [await resident()];
    let calls = 0;
    for (let part = 0; part < PARTS; part++) {
      calls += (await run((quick ? 10_000 : CALM_MS) / PARTS)).calls;
      sizes.push(await resident());
    }
    for (const [i, server] of servers.entries()) {
      const { name, count } = databases[i] as Series;
      const { stats, persistence } = await stored(server, ids[i] ?? '');
      const lost = Number(stats.lost);
      const delivered = Number(stats.delivered);
      const written = Number(persistence.written);
      const made = warm.calls + calls;
      report.add(
        `${name}, events that nobody told of`,
        made - lost - delivered,
        'events',
        zero,
        `of ${made}, ${lost} lost`,
      );
      report.add(
        `${name}, delivered − written − dropped`,
        delivered - written - Number(persistence.dropped),
        'events',
        zero,
        `${written} written`,
      );
      report.add(`${name}, written − read back`, written - (await readBack(count, written)), 'events', zero);
      const own = sizes.map((each) => (each[i] ?? 0) / MB);
      report.add(
        `${name}, growth of the server in ${(quick ? 10_000 : CALM_MS) / 1000} s`,
        (own.at(-1) ?? 0) - (own[0] ?? 0),
        'MB',
        quick ? null : { goal: GROWTH_GOAL_MB, better: 'lower' }, // its heap grows yet
        `each ${(quick ? 10_000 : CALM_MS) / PARTS / 1000} s: ${own.map(Math.round).join(', ')} MB`,
      );
    }
  } finally {
    for (const one of [...servers, workload, ...databases]) await one.close();
    await rm(folder, { recursive: true, force: true });
  }
}

const zero = { goal: 0, better: 'lower' as const };

/** Once the session is stopped and its store has all of it. */
async function stored(server: ServerProcess, id: string): Promise<Facts> {
  await server.ask(STOP, { id });
  for (const since = performance.now(); ; await sleep(100)) {
    const { session } = await server.ask<{ session: Facts }>(STATS, { id });
    if (session.persistence.pending === '0') return session;
    if (performance.now() - since > STORED_MS) throw new Error(`the store did not end: ${JSON.stringify(session)}`);
  }
}

/** What was accepted may be found a moment later. */
async function readBack(count: () => Promise<number>, expected: number): Promise<number> {
  let found = await count();
  for (let tries = 0; found < expected && tries < 60; tries++) {
    await sleep(500);
    found = await count();
  }
  return found;
}

async function influxd(folder: string): Promise<Series> {
  const own = join(folder, 'influxd');
  await mkdir(own);
  const [port, rpc] = [await freePort(), await freePort()];
  const config = join(own, 'influxdb.conf');
  await writeFile(
    config,
    `reporting-disabled = true\nbind-address = "127.0.0.1:${rpc}"\n[meta]\ndir = "${own}/meta"\n[data]\ndir = "${own}/data"\n` +
      `wal-dir = "${own}/wal"\n[http]\nbind-address = "127.0.0.1:${port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n`,
  );
  const url = `http://127.0.0.1:${port}`;
  const close = await started('influxd', ['-config', config], `${url}/ping`);
  const query = new URLSearchParams({ db: 'eunomia', q: 'SELECT sum("count") FROM eunomia_rollup_open' });
  const count = async (): Promise<number> => {
    const { results } = (await (await fetch(`${url}/query?${query.toString()}`)).json()) as {
      results: readonly { series?: readonly { values: readonly (readonly [string, number])[] }[] }[];
    };
    return results[0]?.series?.[0]?.values[0]?.[1] ?? 0;
  };
  return { name: 'InfluxDB 1.x', url, count, close };
}

async function victoriaMetrics(folder: string): Promise<Series> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const flags = [
    `-storageDataPath=${join(folder, 'victoria-metrics')}`,
    `-httpListenAddr=127.0.0.1:${port}`,
    '-dedup.minScrapeInterval=1ms',
    '-loggerLevel=ERROR',
  ];
  const close = await started('victoria-metrics', flags, `${url}/health`);
  const match = new URLSearchParams({ 'match[]': '{__name__="eunomia_rollup_open_count"}', reduce_mem_usage: '0' });
  const count = async (): Promise<number> => {
    await fetch(`${url}/internal/force_flush`);
    const text = await (await fetch(`${url}/api/v1/export?${match.toString()}`)).text();
    const series = text.split('\n').filter(Boolean);
    return series
      .flatMap((line) => (JSON.parse(line) as { readonly values: readonly number[] }).values)
      .reduce((sum, value) => sum + value, 0);
  };
  return { name: 'VictoriaMetrics', url, count, close };
}

/** Resolves when it responds. Ends with this process. */
async function started(command: string, args: readonly string[], url: string): Promise<() => Promise<void>> {
  const child: ChildProcess = spawn(command, args, { stdio: 'ignore' });
  let problem: Error | null = null;
  child.on('error', (error) => (problem = error));
  const end = (): void => void child.kill();
  process.on('exit', end);
  while (!(await fetch(url).catch(() => null))?.ok) {
    if (problem ?? child.exitCode !== null) throw new Error(`${command} does not run; it comes with Debian`);
    await sleep(50);
  }
  return async () => {
    process.off('exit', end);
    child.kill();
    await once(child, 'exit');
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
