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
  close(): Promise<void>;
}

export interface Climb {
  /** Events a second of the best step with nothing lost; 0 when there was none. */
  readonly rate: number;
  /** Whether it could do what the workload could. */
  readonly boundedByWorkload: boolean;
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
  if (received + lost > work.calls) throw new Error(`${received} events received and ${lost} lost, of ${work.calls} calls`);
  const took = Math.max(work.ns / 1e6, after.at - start - GRACE_MS);
  return { lossless: lost === 0 && received === work.calls, keptUp: (work.calls / work.ns) * 1e9 >= rate * KEPT_UP, rate: (work.calls / took) * 1000 };
}
