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

const REPLAYED = 'it replays a recording: no programs are loaded';
const NOT_STARTED = 'its programs are not loaded yet';

/** What a session's plan is made of. */
export interface Planned {
  readonly spec: SessionSpec;
  readonly runtimes: readonly TrackerRuntime[];
  /** Null where it has no filter, and until its start. */
  readonly sharing: Sharing | null;
  /** What is attached for it; null while nothing is. */
  readonly programs: SharedSource | null;
  /** Of all trackers. */
  readonly captured: readonly string[];
  readonly replayed: boolean;
}

export function explain({
  spec: { where, trackers, asked },
  runtimes,
  sharing,
  programs,
  captured,
  replayed,
}: Planned): Omit<FilterPlan, 'notices'> {
  const facts = programs?.facts() ?? null;
  const inServer = sharing?.pushed ? where?.rest : where?.whole;
  return {
    where: (replayed ? asked?.where : where?.text) ?? null,
    trackers: runtimes.map((runtime, i) => ({
      tracker: runtime.definition.name,
      inKernel: sharing?.pushed ? (where?.inKernel(runtime.definition.name) ?? null) : null,
      inServer: inServer?.textOf(runtime.definition.name) ?? null,
      hooks: programs ? runtime.hooksOf(trackers[i]?.options ?? {}, programs.unloaded[i]) : [],
      captured: captured.filter((field) => runtime.onDemand.includes(field)),
    })),
    sharing: {
      sessions: facts?.sessions ?? 0,
      eventsPerSecond: facts?.eventsPerSecond ?? null,
      reason: replayed ? REPLAYED : (sharing?.reason ?? (where ? NOT_STARTED : UNFILTERED)),
    },
  };
}
