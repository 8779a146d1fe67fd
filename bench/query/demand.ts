import type { TrackerOptions } from '#eunomia/tracker/define.js';
import { LocalEunomia } from '../batch.js';
import { median, type Goal, type Report } from '../figure.js';
import type { CallKind, Workload } from '../workload.js';
import { programNs, withProgramStats } from './program.js';

interface Cost {
  readonly ns: number;
  readonly bytes: number;
}

interface Way {
  readonly tracker: string;
  readonly options: TrackerOptions;
  readonly kind: CallKind;
  readonly calls: number;
  readonly wholeMachine: boolean;
}

const ways: readonly Way[] = [
  // The workload's children execute. Failed execs take a hook that runs for each system call of the machine: its time is not an event's.
  { tracker: 'exec', options: { failed: false }, kind: 'executed', calls: 200, wholeMachine: true },
  { tracker: 'open', options: {}, kind: 'opened', calls: 20_000, wholeMachine: false },
  { tracker: 'tcp', options: {}, kind: 'connected', calls: 1_000, wholeMachine: false },
];
const APART = 3;

/** What an event costs in the kernel, and how large it is, when a reader selects `pid` alone and when it selects everything. */
export async function measureDemand(report: Report, workload: Workload, rounds: number): Promise<void> {
  const eunomia = await LocalEunomia.start();
  try {
    await withProgramStats(async () => {
      for (const way of ways) {
        const { tracker } = way;
        const least: Cost[] = [];
        const most: Cost[] = [];
        for (let round = 0; round < rounds; round++) {
          least.push(await costOf(eunomia, workload, way, 'DEMANDED'));
          most.push(await costOf(eunomia, workload, way, 'ALL'));
        }
        const of = (list: readonly Cost[], key: keyof Cost) => median(list.map((cost) => cost[key]));
        report.add(`${tracker}: hook, pid alone`, of(least, 'ns'), 'ns/event');
        report.add(`${tracker}: hook, everything`, of(most, 'ns'), 'ns/event');
        report.add(`${tracker}: record, pid alone`, of(least, 'bytes'), 'bytes/event');
        report.add(`${tracker}: record, everything`, of(most, 'bytes'), 'bytes/event');
        const goal: Goal | null = tracker === 'exec' ? { goal: APART, better: 'higher' } : null;
        report.add(`${tracker}: hook, everything to pid alone`, of(most, 'ns') / of(least, 'ns'), 'times', goal);
        report.add(
          `${tracker}: record, everything to pid alone`,
          of(most, 'bytes') / of(least, 'bytes'),
          'times',
          goal,
        );
      }
    });
  } finally {
    await eunomia.close();
  }
}

async function costOf(
  eunomia: LocalEunomia,
  workload: Workload,
  { tracker, options, kind, calls, wholeMachine }: Way,
  capture: 'DEMANDED' | 'ALL',
): Promise<Cost> {
  const session = await eunomia.session(tracker, wholeMachine ? null : workload.pid, capture, [], options);
  try {
    const before = { stats: await session.stats(), ns: programNs() };
    await workload.nsPerCall(kind, calls);
    const after = { stats: await session.stats(), ns: programNs() };
    const events = after.stats.produced - before.stats.produced;
    const received = after.stats.received - before.stats.received;
    if (events < calls) throw new Error(`${tracker}: ${events} events of ${calls} calls`);
    return {
      ns: (after.ns - before.ns) / events,
      bytes: (after.stats.receivedBytes - before.stats.receivedBytes) / received,
    };
  } finally {
    await eunomia.remove(session);
  }
}
