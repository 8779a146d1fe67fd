import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DuckDBInstance } from '@duckdb/node-api';
import { adviceOptions, adviceTrackers } from '#eunomia/cli/advise.js';
import { buildPrograms } from './build.js';
import { LineProcess } from './child.js';
import { rotated } from './cost.js';
import { median, type Report } from './figure.js';
import { cpuNs } from './query/process.js';
import { ContainerCgroups } from './scale/cgroups.js';
import { ServerProcess, startSession } from './served.js';
import { Workload, type CallKind } from './workload.js';

const HOUR_S = 3600;
const ADVICE_GOAL_MS = 2000;
/** Two medians of the same program differ by up to so much on the machines that we saw. */
const NOISE = 0.1;
const CPU = 1;
/** Pipelines at once: what the server takes in any case is shared by many. */
const JOBS = 60;
/** Of the names of temporary files, which differ in each part of the hour. */
const JOB = '/job.';

const STOP = `mutation ($id: ID!) { stopSession(id: $id) { stats { lost } persistence { state written dropped problem } } }`;
const SESSION = 'query ($id: ID!) { session(id: $id) { id } }';
const ADVISE = `query ($input: AdviseInput!) {
  advise(input: $input) { remainingCalls coverage { calls lost dropped } files { name content } json } }`;

interface Stopped {
  readonly stopSession: {
    readonly stats: { readonly lost: string };
    readonly persistence: {
      readonly state: string;
      readonly written: string;
      readonly dropped: string;
      readonly problem: string | null;
    };
  };
}

interface Advised {
  readonly advise: {
    readonly remainingCalls: number;
    readonly coverage: { readonly calls: number };
    readonly json: { readonly observation: { readonly events: number } };
  };
}

const trackersOf = (names: readonly string[]) => names.map((name) => ({ [name]: adviceOptions[name] ?? {} }));

/** How soon an hour of a busy container becomes advice, and what the trackers of `eunomia advise` cost it. */
export async function advice(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  // What a server does ten seconds after its start, once for each build, is over when it is measured.
  const watching = await ServerProcess.start();
  try {
    await measureHour(report, quick ? { seconds: 3, asks: 2 } : { seconds: 20, asks: 3 });
    await measureWatching(report, watching, quick ? 2 : 9);
  } finally {
    await watching.close();
  }
}

/**
 * A part of the hour is recorded with all trackers that advice is made from, and stands for the rest: in the store, it is there as
 * often as it fits into the hour, each time later, of other processes, and with other temporary files.
 */
async function measureHour(
  report: Report,
  { seconds, asks }: { readonly seconds: number; readonly asks: number },
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const cgroups = new ContainerCgroups();
  const from = new Date().toISOString();
  try {
    await cgroups.resize(1);
    const [container = ''] = cgroups.ids;
    const { id, events } = await recordPart(directory, cgroups, container, seconds);
    await repeat(join(directory, 'eunomia.duckdb'), seconds, HOUR_S / seconds);
    const stored = events * (HOUR_S / seconds);
    const server = await ServerProcess.start([], ['--data-dir', directory]);
    try {
      while ((await server.ask<{ session: object | null }>(SESSION, { id })).session === null) await sleep(50);
      const times: number[] = [];
      const cpu: number[] = [];
      let made: Advised['advise'] | null = null;
      for (let i = 0; i < asks; i++) {
        const start = performance.now();
        const before = cpuNs(server.pid);
        const input = { container, from };
        made = (await server.ask<Advised>(ADVISE, { input })).advise;
        times.push(performance.now() - start);
        cpu.push((cpuNs(server.pid) - before) / 1e6);
        if (made.json.observation.events !== stored)
          throw new Error(`the advice is of ${made.json.observation.events} events, and ${stored} are stored`);
      }
      const [first = 0, ...again] = times;
      const goal = { goal: ADVICE_GOAL_MS, better: 'lower' } as const;
      const note = `${stored} events, ${made?.coverage.calls} calls; ${seconds} s recorded, ${HOUR_S / seconds} times`;
      report.add('advice from an hour of history, first', first, 'ms', goal, note);
      report.add('advice from an hour of history, again', Math.min(...again), 'ms', goal);
      report.add('advice from an hour of history, CPU of the server', Math.min(...cpu), 'ms');
    } finally {
      await server.close();
    }
  } finally {
    await cgroups.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** A pipeline with a temporary file, as jobs and health checks of a container run. */
const jobIn = (directory: string): string =>
  `f=$(mktemp ${directory}${JOB}XXXXXX); date > $f; sort $f | wc -c > /dev/null; rm $f`;

async function recordPart(
  directory: string,
  cgroups: ContainerCgroups,
  container: string,
  seconds: number,
): Promise<{ readonly id: string; readonly events: number }> {
  const server = await ServerProcess.start([], ['--data-dir', directory]);
  const workloads = [await Workload.start(), await Workload.start(), await Workload.start()] as const;
  // It enters the cgroup before it starts anything.
  const jobs = spawn('sh', ['-c', `read go; while :; do ${jobIn(directory)}; sleep 0.1; done`], {
    stdio: ['pipe', 'ignore', 'inherit'],
    detached: true,
  });
  try {
    for (const { pid } of [...workloads, jobs]) cgroups.adopt(pid ?? 0);
    const id = await startSession(server, 0, {
      trackers: trackersOf(adviceTrackers),
      target: { containers: [{ id: container }] },
      capture: 'DEFAULT',
      persist: {},
    });
    jobs.stdin.write('go\n');
    const ms = seconds * 1000;
    const [opening, connecting, removing] = workloads;
    await Promise.all([
      opening.paced('opened', 200, ms),
      connecting.paced('connected', 50, ms),
      removing.paced('removed', 50, ms),
    ]);
    const { stopSession } = await server.ask<Stopped>(STOP, { id });
    const { state, written, dropped, problem } = stopSession.persistence;
    if (state !== 'DONE' || dropped !== '0' || stopSession.stats.lost !== '0')
      throw new Error(`the session was not stored to its end: ${JSON.stringify(stopSession)}, ${problem}`);
    return { id, events: Number(written) };
  } finally {
    const ended = once(jobs, 'exit');
    if (jobs.pid !== undefined) process.kill(-jobs.pid, 'SIGKILL');
    await ended;
    for (const workload of workloads) await workload.close();
    await server.close();
  }
}

/** What the file has of its only session is there `times` times. */
async function repeat(file: string, seconds: number, times: number): Promise<void> {
  const instance = await DuckDBInstance.create(file);
  const db = await instance.connect();
  const rows = async (sql: string): Promise<readonly (readonly unknown[])[]> => (await db.runAndReadAll(sql)).getRows();
  const tables = await rows(
    "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE starts_with(table_name, 'event_') " +
      'ORDER BY table_name, ordinal_position',
  );
  const [[number, next, ended] = []] = await rows('SELECT number, next_seq, ended FROM sessions');
  const [[processes] = []] = await rows('SELECT max(id) + 1 FROM processes');
  for (const table of new Set(tables.map(([name]) => String(name)))) {
    const columns = tables.filter(([name]) => name === table).map(([, column, type]) => [String(column), String(type)]);
    const values = columns.map(([column, type]) => {
      if (column === '_seq') return `_seq + k * ${String(next)}`;
      if (column === 'process') return `process + k * ${String(processes)}`;
      if (column === 'time') return `time + k * ${seconds}000000000`;
      if (column === 'bootNs') return `"bootNs" + (k * ${seconds}000000000)::UBIGINT`;
      return type === 'VARCHAR' ? `replace("${column}", '${JOB}', '${JOB}' || k || '.')` : `"${column}"`;
    });
    await db.run(
      `INSERT INTO "${table}" SELECT ${values.join(', ')} FROM "${table}", range(1, ${times}) r(k) WHERE _session = ${Number(number)}`,
    );
  }
  const columns = ['_session', `id + k * ${String(processes)}`, 'pid', 'tid', 'ppid', 'uid', 'gid', 'comm'];
  await db.run(
    `INSERT INTO processes SELECT ${columns.join(', ')}, "startTime" + k * ${seconds}000000000, "mountNs" ` +
      `FROM processes, range(1, ${times}) r(k)`,
  );
  const end = JSON.parse(String(ended)) as { stoppedAt: string };
  end.stoppedAt = new Date(Date.parse(end.stoppedAt) + seconds * (times - 1) * 1000).toISOString();
  await db.run(`UPDATE sessions SET next_seq = next_seq * ${times}, ended = $ended`, { ended: JSON.stringify(end) });
  db.closeSync();
  instance.closeSync();
}

interface Load {
  readonly kind: CallKind;
  readonly calls: number;
  readonly what: string;
}

const loads: readonly Load[] = [
  { kind: 'trivial', calls: 200_000, what: 'a call that no tracker but syscount looks at' },
  { kind: 'exchanged', calls: 20_000, what: 'data over a connection' },
  { kind: 'opened', calls: 20_000, what: 'open and close of a file' },
];
const ALONE = 'syscount alone';
const ALL = 'all trackers of advice';
/** As it was before opens were counted in the kernel. */
const EACH = 'the same, each open an event';

/** CPU that a call takes, of the process that makes it and of the server together. */
async function measureWatching(report: Report, server: ServerProcess, rounds: number): Promise<void> {
  const cgroups = new ContainerCgroups();
  const directory = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  const path = join(directory, 'file');
  await writeFile(path, '');
  const workload = await Workload.start({ cpu: CPU, first: true, path });
  const jobs = new LineProcess('sh', [
    '-c',
    `while read n; do for i in $(seq $n); do ${jobIn(directory)}; done; echo $n; done`,
  ]);
  const ways = [
    { name: ALONE, trackers: ['syscount'] },
    { name: ALL, trackers: adviceTrackers },
    { name: EACH, trackers: adviceTrackers.map((name) => (name === 'opencount' ? 'open' : name)) },
  ];
  const taken = new Map<string, number[]>();
  let isWarm = false; // the first round is not counted: V8 compiles what the others run
  const add = (key: string, ns: number): void => {
    if (isWarm) taken.set(key, [...(taken.get(key) ?? []), ns]);
  };
  try {
    await cgroups.resize(1);
    cgroups.adopt(workload.pid);
    cgroups.adopt(jobs.pid);
    for (let round = -1; round < rounds; round++) {
      isWarm = round >= 0;
      for (const { kind, calls } of loads) add(`${kind}, not traced`, await workload.nsPerCall(kind, calls));
      for (const { name, trackers } of rotated(ways, Math.max(0, round))) {
        const id = await startSession(server, 0, {
          trackers: trackersOf(trackers),
          target: { containers: [{ id: cgroups.ids[0] }] },
          capture: 'DEFAULT',
        });
        for (const { kind, calls } of loads) {
          await workload.nsPerCall(kind, calls / 10);
          const before = cpuNs(server.pid);
          const ns = await workload.nsPerCall(kind, calls);
          await sleep(300); // what is in the ring is read
          const served = (cpuNs(server.pid) - before) / calls;
          add(`${kind}, ${name}`, ns + served);
          add(`${kind}, ${name}, hook`, ns);
        }
        await jobs.ask('2');
        const before = { jobs: cgroups.cpuNs, server: cpuNs(server.pid) };
        await jobs.ask(String(JOBS));
        const inJobs = cgroups.cpuNs - before.jobs;
        await sleep(300);
        add(`jobs, ${name}`, (inJobs + cpuNs(server.pid) - before.server) / JOBS / 1e6);
        add(`jobs, ${name}, hook`, inJobs / JOBS / 1e6);
        await server.removeSession(id);
      }
    }
  } finally {
    await jobs.close();
    await workload.close();
    await rm(directory, { recursive: true, force: true });
    await cgroups.close();
  }
  const of = (key: string): number => median(taken.get(key) ?? []);
  const ratio = (what: string): void => {
    report.add(`watching: ${what}, ${EACH} to ${ALONE}`, of(`${what}, ${EACH}`) / of(`${what}, ${ALONE}`), 'times');
    report.add(`watching: ${what}, ${ALL} to ${ALONE}`, of(`${what}, ${ALL}`) / of(`${what}, ${ALONE}`), 'times', {
      goal: 1,
      better: 'lower',
      noise: NOISE,
    });
  };
  for (const { kind, what } of loads) {
    report.add(`watching: ${kind}, not traced`, of(`${kind}, not traced`), 'ns/call', null, what);
    for (const { name } of ways)
      report.add(
        `watching: ${kind}, ${name}`,
        of(`${kind}, ${name}`),
        'ns/call',
        null,
        `${Math.round(of(`${kind}, ${name}, hook`))} of them in the process, the rest in the server`,
      );
    ratio(kind);
  }
  for (const { name } of ways)
    report.add(
      `watching: jobs, ${name}`,
      of(`jobs, ${name}`),
      'ms of CPU',
      null,
      `a pipeline of five programs; ${of(`jobs, ${name}, hook`).toFixed(2)} of them in these, the rest in the server`,
    );
  ratio('jobs');
}
