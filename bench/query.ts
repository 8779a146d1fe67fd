import { buildPrograms } from './build.js';
import type { Report } from './figure.js';
import { bestOf, describe, type Extent as Ladders } from './ladder.js';
import { bpftraceMissing, startBpftrace, startConsumer } from './peer.js';
import { aggregateLive } from './query/aggregate.js';
import { Audience } from './query/audience-process.js';
import { measureDelay } from './query/delay.js';
import { measureDemand } from './query/demand.js';
import { cpuMs, threadTimes } from './query/process.js';
import { measureFlight } from './query/flight.js';
import { measureSharing } from './query/share.js';
import { ClientProcess, ListenerProcess, serve, ServerProcess, type Client } from './served.js';
import { measureSyscount } from './syscount.js';
import { Workload } from './workload.js';

const STREAM_GOAL = 1_000_000;
const AGGREGATE_GOAL = 1_000_000;

interface Extent extends Ladders {
  readonly demandRounds: number;
  readonly syscountRounds: number;
  readonly share: { readonly rounds: number; readonly ms: number };
  readonly delayMs: number;
  readonly filters: number;
}

const full: Extent = {
  stepMs: 1_000,
  ladders: 3,
  demandRounds: 7,
  syscountRounds: 9,
  share: { rounds: 9, ms: 2_000 },
  delayMs: 20_000,
  filters: 10_000,
};
const quick: Extent = {
  stepMs: 200,
  ladders: 1,
  demandRounds: 3,
  syscountRounds: 3,
  share: { rounds: 7, ms: 300 },
  delayMs: 2_000,
  filters: 42,
};

/** What a query costs: events to clients, live aggregates, demand, sharing, delay, filters. */
export async function query(report: Report, options: { readonly quick: boolean }): Promise<void> {
  const extent = options.quick ? quick : full;
  await buildPrograms();
  const workload = await Workload.start();
  const audience = new Audience();
  try {
    await served(report, workload, audience, extent);
    await peers(report, workload, extent);
    await measureSyscount(report, extent.syscountRounds);
    await measureDemand(report, workload, extent.demandRounds);
    await measureSharing(report, audience, extent.share);
  } finally {
    await audience.close();
    await workload.close();
  }
  await measureFlight(report, extent.filters);
}

/** What clients of one server get: events, how late, and a live aggregate. */
async function served(report: Report, workload: Workload, audience: Audience, extent: Extent): Promise<void> {
  const server = await ServerProcess.start();
  try {
    const listener = new ListenerProcess();
    const client = new ClientProcess();
    try {
      const reached = await bestOf(extent, workload, 300_000, {
        listener: () => serve(server, listener, workload.pid),
        client: () => serve(server, client, workload.pid),
      });
      report.add(
        'kernel to WebSocket client, five fields',
        reached.listener.rate,
        'events/s',
        { goal: STREAM_GOAL, better: 'higher' },
        `a client in C that looks at each value; ${describe(reached.listener)}`,
      );
      await bound(report, workload, server, listener, reached.listener.rate);
      report.add(
        'kernel to graphql-ws client, five fields',
        reached.client.rate,
        'events/s',
        null,
        `in JavaScript, JSON.parse of each message; ${describe(reached.client)}`,
      );
      await bound(report, workload, server, client, reached.client.rate);
    } finally {
      await client.close();
      await listener.close();
    }
    await measureDelay(report, workload, server, audience, extent.delayMs);
    const { live } = await bestOf(extent, workload, 200_000, {
      live: () => aggregateLive(server, audience, workload.pid),
    });
    report.add(
      'live aggregate: container, comm, syscall; count and p99',
      live.rate,
      'events/s',
      { goal: AGGREGATE_GOAL, better: 'higher' },
      describe(live),
    );
  } finally {
    await server.close();
  }
}

/** What others make of the same events on the same hook. */
async function peers(report: Report, workload: Workload, extent: Extent): Promise<void> {
  const { json } = await bestOf(extent, workload, 300_000, {
    json: () => startConsumer(workload.pid, { program: 'whole', drain: 'json' }),
  });
  report.add('kernel to C consumer, five fields as JSON to /dev/null', json.rate, 'events/s', null, describe(json));
  const why = bpftraceMissing();
  if (why) return report.skip('kernel to bpftrace', why);
  const { bpftrace } = await bestOf({ ...extent, ladders: 1 }, workload, 75_000, {
    bpftrace: () => startBpftrace(workload.pid),
  });
  report.add('kernel to bpftrace printf, five fields', bpftrace.rate, 'events/s', null, describe(bpftrace));
}

/** Who used the two cores at that rate. */
async function bound(
  report: Report,
  workload: Workload,
  server: ServerProcess,
  client: Client,
  rate: number,
): Promise<void> {
  const tracer = await serve(server, client, workload.pid);
  try {
    const before = { threads: threadTimes(server.pid), client: cpuMs(client.pid), workload: cpuMs(workload.pid) };
    const { calls, ns } = await workload.paced('refused', rate, 1_000);
    const after = { threads: threadTimes(server.pid), client: cpuMs(client.pid), workload: cpuMs(workload.pid) };
    const share = (ms: number) => (ms / (ns / 1e6)) * 100;
    const used = [...after.threads].map(([tid, ms]) => ms - (before.threads.get(tid) ?? 0)).sort((a, b) => b - a);
    const [first = 0, second = 0, ...rest] = used;
    const whole = after.workload - before.workload + after.client - before.client + used.reduce((a, b) => a + b, 0);
    report.add(
      'at that rate, CPU of all',
      (whole * 1e6) / calls,
      'ns/event',
      null,
      'workload with its hooks, server and client; two cores have 2,000 ns an event for 1,000,000 events/s',
    );
    report.add('at that rate, CPU of the workload', share(after.workload - before.workload), '% of a core');
    report.add(
      "at that rate, CPU of the server's two busiest threads",
      share(first + second),
      '% of a core',
      null,
      `${Math.round(share(first))} and ${Math.round(share(second))}; its others ${Math.round(share(rest.reduce((a, b) => a + b, 0)))}`,
    );
    report.add('at that rate, CPU of the client', share(after.client - before.client), '% of a core');
  } finally {
    await tracer.close();
  }
}
