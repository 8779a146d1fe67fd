import type { LocalEunomia } from './batch.js';
import { median, type Goal, type Report } from './figure.js';
import type { Tracer } from './ladder.js';
import { startConsumer } from './peer.js';
import { Workload } from './workload.js';

interface Way {
  readonly name: string;
  /** A refused open has no resolved path: that takes opens that succeed. */
  readonly kind: 'refused' | 'opened';
  start(pid: number): Promise<Tracer>;
}

const CALLS: Readonly<Record<'refused' | 'opened', number>> = { refused: 60_000, opened: 20_000 };
const WARM_UP_CALLS = 2_000;
/** Two medians of the same program differ by up to so much on the machines that we saw. */
const NOISE = 0.05;
const CPU = 1;
const C = 'C';
const EUNOMIA = 'Eunomia, path';

/**
 * What a traced call costs the process that makes it. All ways take turns in each round, so that what else the machine does
 * hits all of them; a sample is the time a call took less the one of no tracing in the same round.
 */
export async function measureCost(report: Report, eunomia: LocalEunomia, rounds: number): Promise<void> {
  const ways: readonly Way[] = [
    {
      name: 'empty program',
      kind: 'refused',
      start: (pid) => startConsumer(pid, { program: 'empty', drain: 'paced' }),
    },
    { name: 'C, poll loop', kind: 'refused', start: (pid) => startConsumer(pid, { program: 'whole', drain: 'poll' }) },
    { name: C, kind: 'refused', start: (pid) => startConsumer(pid, { program: 'whole', drain: 'paced' }) },
    {
      name: 'C, fixed record',
      kind: 'refused',
      start: (pid) => startConsumer(pid, { program: 'fixed', drain: 'paced' }),
    },
    { name: 'Eunomia, header', kind: 'refused', start: (pid) => eunomia.trace(pid, []) },
    { name: EUNOMIA, kind: 'refused', start: (pid) => eunomia.trace(pid, ['path']) },
    { name: 'Eunomia, header, opened', kind: 'opened', start: (pid) => eunomia.trace(pid, []) },
    { name: 'Eunomia, resolved path, opened', kind: 'opened', start: (pid) => eunomia.trace(pid, ['resolved']) },
  ];
  const untraced: Readonly<Record<'refused' | 'opened', number[]>> = { refused: [], opened: [] };
  const added = new Map(ways.map(({ name }): [string, number[]] => [name, []]));
  const workload = await Workload.start({ cpu: CPU, first: true });
  try {
    for (let round = 0; round < rounds; round++) {
      const base = { refused: await nsPerCall(workload, 'refused'), opened: await nsPerCall(workload, 'opened') };
      untraced.refused.push(base.refused);
      untraced.opened.push(base.opened);
      for (const { name, kind, start } of rotated(ways, round)) {
        const tracer = await start(workload.pid);
        try {
          const ns = await nsPerCall(workload, kind);
          const { lost } = await tracer.settle(0);
          // A full ring is cheaper to write to than one with room.
          if (lost === 0) added.get(name)?.push(ns - base[kind]);
        } finally {
          await tracer.close();
        }
      }
    }
  } finally {
    await workload.close();
  }

  const of = (name: string) => median(added.get(name) ?? []);
  report.add('hook: refused open, not traced', median(untraced.refused), 'ns/call');
  report.add('hook: open and close, not traced', median(untraced.opened), 'ns/call');
  for (const { name, kind } of ways) {
    const goal: Goal | null = name === EUNOMIA ? { goal: of(C), better: 'lower', noise: NOISE } : null;
    report.add(
      `hook: ${name}`,
      of(name),
      'ns/event',
      goal,
      kind === 'opened' ? 'added to open and close' : 'added to a refused open',
    );
  }
}

async function nsPerCall(workload: Workload, kind: 'refused' | 'opened'): Promise<number> {
  await workload.nsPerCall(kind, WARM_UP_CALLS);
  return workload.nsPerCall(kind, CALLS[kind]);
}

export function rotated<T>(list: readonly T[], by: number): readonly T[] {
  const at = by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}
