import { LocalEunomia } from './batch.js';
import { buildPrograms } from './build.js';
import { measureCost } from './cost.js';
import type { Report } from './figure.js';
import { bestOf, describe, type Extent as Ladders } from './ladder.js';
import { measureLatency } from './latency.js';
import { bpftraceMissing, startBpftrace, startConsumer } from './peer.js';
import { ClientProcess, serve, ServerProcess } from './served.js';
import { Workload } from './workload.js';

const CLIENT_GOAL = 300_000;
/** Share by which the best rates of two equal programs differ between rounds. */
const NOISE = 0.05;

interface Extent extends Ladders {
  readonly costRounds: number;
  readonly cold: number;
  readonly warm: number;
}

const full: Extent = { stepMs: 1_000, ladders: 3, costRounds: 15, cold: 7, warm: 5 };
const quick: Extent = { stepMs: 250, ladders: 2, costRounds: 7, cold: 3, warm: 3 };

/** How many events a second go through without a loss, what a traced call costs, and how soon the first event is there. */
export async function throughput(report: Report, options: { readonly quick: boolean }): Promise<void> {
  const extent = options.quick ? quick : full;
  await buildPrograms();
  const workload = await Workload.start();
  try {
    await inProcess(report, workload, extent);
    await served(report, workload, extent);
    await withBpftrace(report, workload, extent);
  } finally {
    await workload.close();
  }
}

async function inProcess(report: Report, workload: Workload, extent: Extent): Promise<void> {
  const eunomia = await LocalEunomia.start();
  try {
    const from = 200_000;
    const starts = {
      paced: () => startConsumer(workload.pid, { program: 'whole', drain: 'paced' }),
      poll: () => startConsumer(workload.pid, { program: 'whole', drain: 'poll' }),
      batches: () => eunomia.trace(workload.pid, ['path']),
    };
    const rates = await bestOf(extent, workload, from, starts);
    const goal = Math.max(rates.paced.rate, rates.poll.rate);
    report.add('kernel to C consumer', rates.paced.rate, 'events/s', null, describe(rates.paced));
    report.add('kernel to C consumer, poll loop', rates.poll.rate, 'events/s', null, describe(rates.poll));
    report.add(
      'kernel to batches',
      rates.batches.rate,
      'events/s',
      { goal, better: 'higher', noise: NOISE },
      describe(rates.batches),
    );
    await measureCost(report, eunomia, extent.costRounds);
  } finally {
    await eunomia.close();
  }
}

async function served(report: Report, workload: Workload, extent: Extent): Promise<void> {
  const client = new ClientProcess();
  try {
    const server = await ServerProcess.start();
    try {
      const { client: reached } = await bestOf(extent, workload, 75_000, {
        client: () => serve(server, client, workload.pid),
      });
      report.add(
        'kernel to WebSocket client',
        reached.rate,
        'events/s',
        { goal: CLIENT_GOAL, better: 'higher' },
        describe(reached),
      );
    } finally {
      await server.close();
    }
    await measureLatency(report, workload, client, extent);
  } finally {
    await client.close();
  }
}

async function withBpftrace(report: Report, workload: Workload, extent: Extent): Promise<void> {
  const why = bpftraceMissing();
  if (why) return report.skip('kernel to bpftrace', why);
  const { bpftrace } = await bestOf({ ...extent, ladders: 1 }, workload, 50_000, {
    bpftrace: () => startBpftrace(workload.pid),
  });
  report.add('kernel to bpftrace', bpftrace.rate, 'events/s', null, describe(bpftrace));
}
