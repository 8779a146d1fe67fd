import type { Workload } from './workload.js';

/** Running totals of what came through and what was lost on the way, in the kernel or at a slow reader. */
export interface Totals {
  readonly received: number;
  readonly lost: number;
  /** When the last of them had come, as performance.now() tells it. */
  readonly at: number;
}

/** Something that traces the workload. */
export interface Tracer {
  /** The totals once all that the workload made so far has come through; `expected` is what `received` will be if nothing is lost. */
  settle(expected: number): Promise<Totals>;
  /** How late it tells what it has, at most, where it tells that at an interval. */
  readonly graceMs?: number;
  close(): Promise<void>;
}

export interface Climb {
  /** Events a second of the best step with nothing lost; 0 when there was none. */
  readonly rate: number;
  /** Whether it could do what the workload could. */
  readonly boundedByWorkload: boolean;
}

/** How long to measure. */
export interface Extent {
  readonly stepMs: number;
  /** Ladders of each tracer; the best counts, of ours as of the peers'. */
  readonly ladders: number;
}

export interface LadderOptions {
  readonly from: number;
  readonly stepMs: number;
}

const FACTOR = 1.5;
/** Beyond it no machine's workload goes. */
const HIGHEST = 20e6;
const TRIES = 2;
/** Asking and answering; longer draining counts as time that the events took. */
const GRACE_MS = 20;
/** Of the rate that was asked for: below it the workload is at its end. */
const KEPT_UP = 0.9;

/** Raises the rate until something is lost, or the workload makes no more. */
export async function climb(workload: Workload, tracer: Tracer, { from, stepMs }: LadderOptions): Promise<Climb> {
  let best = 0;
  for (let rate = from; rate < HIGHEST; rate *= FACTOR) {
    const step = await takeStep(workload, tracer, rate, stepMs);
    if (!step.lossless) {
      // One more rung in the middle: the ladder's steps are wide.
      const between = best ? await takeStep(workload, tracer, rate / Math.sqrt(FACTOR), stepMs) : step;
      return { rate: between.lossless ? Math.max(best, between.rate) : best, boundedByWorkload: false };
    }
    best = Math.max(best, step.rate);
    if (!step.keptUp) return { rate: best, boundedByWorkload: true };
  }
  return { rate: best, boundedByWorkload: true };
}

interface Step {
  readonly lossless: boolean;
  /** Whether the workload was as fast as it was asked to be. */
  readonly keptUp: boolean;
  /** Events a second, until the last had come. */
  readonly rate: number;
}

/** The better of two tries, where the first was not perfect: others use the machine too. */
async function takeStep(workload: Workload, tracer: Tracer, rate: number, ms: number): Promise<Step> {
  let best: Step = { lossless: false, keptUp: false, rate: 0 };
  for (let tries = 0; tries < TRIES && !(best.lossless && best.keptUp); tries++) {
    const step = await tryStep(workload, tracer, rate, ms);
    if (step.lossless && step.rate > best.rate) best = step;
  }
  return best;
}

async function tryStep(workload: Workload, tracer: Tracer, rate: number, ms: number): Promise<Step> {
  const before = await tracer.settle(0);
  const start = performance.now();
  const work = await workload.paced('refused', rate, ms);
  const after = await tracer.settle(before.received + work.calls);
  const received = after.received - before.received;
  const lost = after.lost - before.lost;
  if (received + lost > work.calls)
    throw new Error(`${received} events received and ${lost} lost, of ${work.calls} calls`);
  const took = Math.max(work.ns / 1e6, after.at - start - GRACE_MS - (tracer.graceMs ?? 0));
  return {
    lossless: lost === 0 && received === work.calls,
    keptUp: (work.calls / work.ns) * 1e9 >= rate * KEPT_UP,
    rate: (work.calls / took) * 1000,
  };
}

/** Tracers take turns, so that what else the machine does hits all of them. */
export async function bestOf<Name extends string>(
  extent: Extent,
  workload: Workload,
  from: number,
  starts: Readonly<Record<Name, () => Promise<Tracer>>>,
): Promise<Record<Name, Climb>> {
  const best = {} as Record<Name, Climb>;
  const names = Object.keys(starts) as Name[];
  for (let i = 0; i < extent.ladders; i++) {
    for (const name of names) {
      const tracer = await starts[name]();
      try {
        const reached = await climb(workload, tracer, { from, stepMs: extent.stepMs });
        if (!best[name] || reached.rate > best[name].rate) best[name] = reached;
      } finally {
        await tracer.close();
      }
    }
  }
  return best;
}

/** What a rate was bound by, for a figure's note. */
export function describe({ boundedByWorkload }: Climb): string {
  return boundedByWorkload ? 'nothing lost, as fast as the traced process went' : 'a step further something was lost';
}
