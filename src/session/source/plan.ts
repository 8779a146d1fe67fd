import type { SharedSource } from './pool.js';
import type { TrackerRuntime } from '../../record/runtime.js';
import type { Sharing } from './sharing.js';
import type { SessionSpec } from '../spec.js';

/** How a session filters its events: the schema's type of that name. Filters are CEL. */
export interface FilterPlan {
  readonly where: string | null;
  readonly trackers: readonly TrackerPlan[];
  readonly notices: readonly string[];
  readonly sharing: { readonly sessions: number; readonly eventsPerSecond: number | null; readonly reason: string };
}

export interface TrackerPlan {
  readonly tracker: string;
  readonly inKernel: string | null;
  readonly inServer: string | null;
  readonly hooks: readonly string[];
  readonly captured: readonly string[];
}

const UNFILTERED =
  'it has no filter: sessions with equal trackers, options, target, ring and way of capturing share their programs';

/** `captured`: of all trackers. */
export function explain(
  { where, trackers }: SessionSpec,
  runtimes: readonly TrackerRuntime[],
  sharing: Sharing | null,
  source: SharedSource | null,
  captured: readonly string[],
): Omit<FilterPlan, 'notices'> {
  const facts = source?.facts() ?? null;
  const unloaded = source?.unloaded ?? [];
  const inServer = sharing?.pushed ? where?.rest : where?.whole;
  return {
    where: where?.text ?? null,
    trackers: runtimes.map(({ definition: { name }, hooksOf, onDemand }, i) => ({
      tracker: name,
      inKernel: sharing?.pushed ? (where?.inKernel(name) ?? null) : null,
      inServer: inServer?.textOf(name) ?? null,
      hooks: hooksOf(trackers[i]?.options ?? {}, unloaded[i]),
      captured: captured.filter((field) => onDemand.includes(field)),
    })),
    sharing: {
      sessions: facts?.sessions ?? 0,
      eventsPerSecond: facts?.eventsPerSecond ?? null,
      reason: sharing?.reason ?? UNFILTERED,
    },
  };
}
