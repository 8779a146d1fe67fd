import type { AdviceEvidence, Observation, Phase, Seen } from '../../event/advice.js';
import { nanosOf } from '../../record/nanos.js';

/** What belongs to the start of a container, from the moment that it gets its root directory. */
const START_NS = 10_000_000_000n;

/** What an observation says of who and when. */
export interface Evidences {
  of(seen: readonly Seen[]): AdviceEvidence | null;
  /** Of entries that are not of the runtime. */
  phaseOf(seen: readonly Seen[]): Phase;
}

export function evidencesOf({ programs, containers }: Observation): Evidences {
  const paths = new Map<string, string>();
  for (const { comm, path, runtime } of programs) if (!runtime && !paths.has(comm)) paths.set(comm, path);
  // What happened within the start of one container may be long after that of another.
  const [started] = containers.length === 1 ? containers.map((container) => container.started) : [null];
  const startEnds = started == null ? null : nanosOf(started) + START_NS;
  return {
    of: (seen) => {
      const [first] = seen.map((one) => one.first).sort();
      const last = seen
        .map((one) => one.last)
        .sort()
        .at(-1);
      if (first === undefined || last === undefined) return null;
      const names = seen.flatMap(({ comms }) => comms.map((comm) => paths.get(comm) ?? comm));
      const count = seen.reduce((sum, one) => sum + one.count, 0);
      return { programs: [...new Set(names)].sort(), first, last, count };
    },
    phaseOf: (seen) => {
      if (startEnds === null) return 'RUN';
      return seen.every(({ last, count }) => count > 0 && nanosOf(last) < startEnds) ? 'START' : 'RUN';
    },
  };
}
