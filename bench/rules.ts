import { execFile } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { buildPrograms } from './build.js';
import { median, type Report } from './figure.js';
import { cpuNs } from './query/process.js';
import { ServerProcess, startSession } from './served.js';
import { Workload } from './workload.js';

const run = promisify(execFile);
const P50_MS = 5;
const P99_MS = 20;
const RATE = 300_000;
/** A hundred rules may cost so much more than ten. */
const MORE = 1.2;
/** Of the events of the rules' trackers, what may reach the server. */
const SHARE = 0.5;
/** Firings a second of one rule, and how long others may wait for a response meanwhile. */
const STORM = 100_000;
const OTHERS_P99_MS = 50;
const TRACKERS_OF_A_SESSION = 16;
const PROBE = '/no/such/eunomia-rule';

const RULES = '{ rules { evaluated missed rules { name } sessions { id trackers } } }';
const STATS = 'query ($id: ID!) { session(id: $id) { stats { produced lost } } }';

interface Rules {
  readonly evaluated: string;
  readonly missed: string;
  readonly rules: readonly { readonly name: string }[];
  readonly sessions: readonly { readonly id: string; readonly trackers: readonly string[] }[];
}

/** How soon rules raise their alerts, what many of them cost, and what the kernel keeps from them. */
export async function rules(report: Report, { quick }: { readonly quick: boolean }): Promise<void> {
  await buildPrograms();
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-bench-'));
  try {
    await measureDelay(report, folder, quick ? 100 : 1000);
    await measureMany(report, folder, quick ? 3000 : 10_000);
    await measureStorm(report, folder, quick ? 3000 : 10_000);
    await measureBuiltin(report, quick ? 1 : 5);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function withRules<Result>(rulesOf: string, use: (server: ServerProcess) => Promise<Result>): Promise<Result> {
  const server = await ServerProcess.start([], ['--rules', rulesOf]);
  try {
    return await use(server);
  } finally {
    await server.close();
  }
}

async function stateOf(server: ServerProcess): Promise<Rules> {
  return (await server.ask<{ rules: Rules }>(RULES, {})).rules;
}

const probing = `
  - name: probe
    description: A probe.
    severity: LOW
    trackers: open
    condition: path.startsWith("${PROBE}")
    message: '{path}'
    key: [path]
    interval: 0s
    throttle: { alerts: 10000, within: 1s }`;

/** From before the call that a rule looks for until a WebSocket client has the alert. */
async function measureDelay(report: Report, folder: string, count: number): Promise<void> {
  await writeFile(join(folder, 'rules.yaml'), `rules:${probing}`, { mode: 0o600 });
  const delays = await withRules(folder, async (server) => {
    const client = createClient({ url: server.url.replace('http', 'ws'), webSocketImpl: WebSocket, retryAttempts: 0 });
    const begun = new Map<string, number>();
    const found: number[] = [];
    client.subscribe<{ alerts: { message: string } }>(
      { query: 'subscription { alerts { message } }' },
      {
        next: ({ data }) => {
          const since = begun.get(data?.alerts.message ?? '');
          if (since !== undefined) found.push(performance.now() - since);
        },
        error: () => undefined,
        complete: () => undefined,
      },
    );
    await sleep(500);
    for (let i = 0; i < count; i++) {
      const path = `${PROBE}/${i}`;
      begun.set(path, performance.now());
      await open(path).catch(() => undefined);
      await sleep(20);
    }
    await sleep(500);
    await client.dispose();
    return found;
  });
  const note = `${delays.length} of ${count} alerts, worst ${Math.round(Math.max(...delays))} ms`;
  report.add('behaviour to alert, p50', median(delays), 'ms', { goal: P50_MS, better: 'lower' }, note);
  report.add('behaviour to alert, p99', percentile(delays, 0.99), 'ms', { goal: P99_MS, better: 'lower' });
}

/** Rules of which the kernel evaluates nothing, on a flood: each event reaches the server. */
async function measureMany(report: Report, folder: string, ms: number): Promise<void> {
  const workload = await Workload.start();
  const cost = async (count: number): Promise<number> => {
    const each = (i: number): string => `
  - name: r${i}
    description: A rule.
    severity: LOW
    trackers: open
    condition: path == "/no/such/${i}" && container.name == "none"
    message: m`;
    const all = `
  - name: all
    description: What the kernel cannot evaluate.
    severity: LOW
    trackers: open
    condition: container.name == "none"
    message: m`;
    const text = `rules:${all}${Array.from({ length: count - 1 }, (_, i) => each(i)).join('')}`;
    await writeFile(join(folder, 'rules.yaml'), text, { mode: 0o600 });
    return withRules(folder, async (server) => {
      const before = cpuNs(server.pid);
      const { calls } = await workload.paced('refused', RATE, ms);
      let state = await stateOf(server);
      for (let tries = 0; Number(state.evaluated) + Number(state.missed) < calls && tries < 100; tries++) {
        await sleep(100);
        state = await stateOf(server);
      }
      const used = cpuNs(server.pid) - before;
      const note = `of ${calls} in ${ms / 1000} s, ${Math.round(used / Number(state.evaluated))} ns of CPU each`;
      report.add(`${count} rules, events missed`, Number(state.missed), 'events', { goal: 0, better: 'lower' }, note);
      report.add(
        `${count} rules, events that nobody told of`,
        Math.max(0, calls - Number(state.evaluated) - Number(state.missed)),
        'events',
        { goal: 0, better: 'lower' },
      );
      return used / Number(state.evaluated);
    });
  };
  try {
    const [ten, hundred] = [await cost(10), await cost(100)];
    report.add('100 rules to 10, CPU an event', hundred / ten, 'ratio', { goal: MORE, better: 'lower' });
  } finally {
    await workload.close();
  }
}

/** A rule that fires on each event of a flood, and another client that asks all the time. */
async function measureStorm(report: Report, folder: string, ms: number): Promise<void> {
  const workload = await Workload.start();
  const storm = `rules:
  - name: storm
    description: Each event fires.
    severity: LOW
    trackers: open
    condition: process.pid == ${workload.pid}
    message: '{path}'
    key: [process.pid]
    interval: 1h`;
  await writeFile(join(folder, 'rules.yaml'), storm, { mode: 0o600 });
  try {
    await withRules(folder, async (server) => {
      const delays: number[] = [];
      let isOver = false;
      const asking = (async () => {
        while (!isOver) {
          const begun = performance.now();
          await server.ask('{ server { version } }', {});
          delays.push(performance.now() - begun);
          await sleep(10);
        }
      })();
      const { calls } = await workload.paced('refused', STORM, ms);
      const storms = async () => {
        const { rule } = await server.ask<{ rule: { stats: Record<'matched' | 'alerts' | 'repeated', string> } }>(
          '{ rule(name: "storm") { stats { matched alerts repeated } } }',
          {},
        );
        return { alerts: Number(rule.stats.alerts), repeated: Number(rule.stats.repeated) };
      };
      let counted = await storms();
      for (let tries = 0; counted.alerts + counted.repeated < calls && tries < 100; tries++) {
        await sleep(100);
        counted = await storms();
      }
      isOver = true;
      await asking;
      const { missed } = await stateOf(server);
      const note = `${calls} calls in ${ms / 1000} s: ${counted.alerts} alert, ${counted.repeated} repetitions, ${missed} events missed`;
      const uncounted = Math.max(0, calls - counted.alerts - counted.repeated);
      report.add('100,000 firings/s, not counted', uncounted, 'events', { goal: 0, better: 'lower' }, note);
      const worst = `${delays.length} requests, worst ${Math.round(Math.max(...delays))} ms`;
      const goal = { goal: OTHERS_P99_MS, better: 'lower' } as const;
      report.add('100,000 firings/s, response to another client, p99', percentile(delays, 0.99), 'ms', goal, worst);
    });
  } finally {
    await workload.close();
  }
}

/** Of all that the trackers of the built-in rules could tell of common work, what the kernel lets through. */
async function measureBuiltin(report: Report, rounds: number): Promise<void> {
  await withRules('builtin', async (server) => {
    const { rules: known, sessions } = await stateOf(server);
    const trackers = sessions.flatMap((session) => session.trackers);
    const others: string[] = [];
    for (let at = 0; at < trackers.length; at += TRACKERS_OF_A_SESSION)
      others.push(
        await startSession(server, 0, {
          trackers: trackers.slice(at, at + TRACKERS_OF_A_SESSION).map((name) => ({ [name]: {} })),
          target: null,
        }),
      );
    for (let i = 0; i < rounds; i++) {
      const work =
        'for i in 1 2 3 4 5 6 7 8 9 10; do ls -la /etc /usr/bin; cat /etc/passwd; done; find /usr/share -name "*.h"';
      await run('sh', ['-c', `{ ${work}; getent hosts localhost; } > /dev/null`]);
      await fetch(server.url).catch(() => undefined);
    }
    await sleep(1000);
    const { evaluated, missed } = await stateOf(server);
    let produced = 0;
    for (const id of others) {
      const { session } = await server.ask<{ session: { stats: { produced: string } } }>(STATS, { id });
      produced += Number(session.stats.produced);
    }
    const note = `${known.length} rules on ${trackers.length} trackers: ${evaluated} of ${produced} events, ${missed} missed`;
    report.add(
      'built-in rules, share of events that reach the server',
      Number(evaluated) / produced,
      'ratio',
      { goal: SHARE, better: 'lower' },
      note,
    );
  });
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
