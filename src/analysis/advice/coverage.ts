import type { Coverage, Observation, Span } from '../../event/advice.js';
import { nanosOf } from '../../record/nanos.js';
import { counted, listed } from '../../base/listed.js';

/** How far an observation can be trusted to be all that a container needs, and why not. */
export function coverageOf(observation: Observation): Coverage {
  const { spans, containers, programs, calls, lost, dropped, uncounted, truncated, excluded, unobserved } = observation;
  const firsts = new Map<string, string>();
  for (const { name, first, count, runtime } of calls) {
    const known = firsts.get(name);
    // What was in progress when the advice was made had begun before.
    if (!runtime && count > 0 && (known === undefined || first < known)) firsts.set(name, first);
  }
  const half = halfOf(observation);
  const newCalls = half === null ? 0 : [...firsts.values()].filter((first) => nanosOf(first) >= half).length;
  const startSeen = containers.length > 0 && containers.every(({ started }) => started !== null);
  const reasons = [
    ...(lost ? [`${counted(lost, 'event')} ${lost === 1 ? 'was' : 'were'} lost in the kernel`] : []),
    ...(dropped ? [`${counted(dropped, 'event')} ${dropped === 1 ? 'was' : 'were'} dropped`] : []),
    ...(uncounted ? ['events are missing that nobody counted'] : []),
    ...(truncated ? ['there were too many different entries: some were left out'] : []),
    ...(unobserved.length ? [`not observed at all times: ${listed(unobserved)}`] : []),
    ...excluded,
    ...(startSeen ? [] : ['the start of the container was not seen']),
    ...(newCalls ? [`${counted(newCalls, 'system call')} appeared first in the last half of the time`] : []),
  ];
  return {
    watchedNs: Number(lengthOf(spans)),
    from: spans[0]?.from ?? null,
    to: spans.at(-1)?.to ?? null,
    startSeen,
    programs: [...new Set(programs.filter(({ runtime }) => !runtime).map(({ path }) => path))].sort(),
    calls: firsts.size,
    newCalls,
    saturation: firsts.size ? newCalls / firsts.size : 0,
    lastNewCall: [...firsts.values()].sort().at(-1) ?? null,
    lost,
    dropped,
    complete: reasons.length === 0,
    reasons,
  };
}

/** How long these times are together, in nanoseconds. */
function lengthOf(spans: readonly Span[]): bigint {
  return spans.map(({ from, to }) => nanosOf(to) - nanosOf(from)).reduce((sum, length) => sum + length, 0n);
}

/** The moment at which half of the time had been watched in which there was a container, in nanoseconds since 1970. */
export function halfOf({ spans, containers }: Observation): bigint | null {
  const starts = containers.flatMap(({ started }) => started ?? []).sort();
  const start = starts.length < containers.length ? '' : (starts[0] ?? '');
  const lived = spans.flatMap(({ from, to }) => (to <= start ? [] : [{ from: from < start ? start : from, to }]));
  let rest = lengthOf(lived) / 2n;
  for (const span of lived) {
    const length = lengthOf([span]);
    if (rest < length) return nanosOf(span.from) + rest;
    rest -= length;
  }
  return null;
}
