import { formatDuration } from '../../base/duration.js';
import { counted, listed } from '../../base/listed.js';
import { compileFilter, optimise, print, type Filter, type FilterFields } from '../../filter/index.js';
import type { CompiledRule, CompiledStep } from '../compile.js';
import type { RuleCounts } from '../engine.js';
import type { WrittenEvent } from './file.js';

/** Events that are named at most. */
const NAMED = 5;

/** Why a rule raised nothing: what of its conditions does not hold for the event that comes nearest. Pure. */
export function missOf(
  rule: CompiledRule,
  events: readonly WrittenEvent[],
  counts: RuleCounts | null,
  fields: FilterFields,
): string {
  const { steps, definition } = rule;
  const found = steps.map((step) => matchesOf(step, events));
  const missing = found.findIndex((matches) => matches.length === 0);
  const step = steps[missing];
  const which = steps.length === 1 ? 'its condition' : `step ${missing + 1} of its sequence`;
  if (step) return `${which} matches none of the events: ${nearestOf(step, events, fields)}`;
  const { sequence, rate, absence, firstSeen } = definition;
  const all = found.map(
    (matches, i) => `${steps.length === 1 ? 'its condition' : `step ${i + 1}`} matches ${namesOf(matches)}`,
  );
  const matched = listed(all);
  if (counts && counts.suppressed > 0) return `${matched}, but it was throttled`;
  if (sequence)
    return `${matched}, but not in this order within ${formatDuration(sequence.withinMs)} in one ${bondText(sequence.by)}`;
  if (rate) {
    const what = rate.distinct === null ? 'events' : `different values of ${rate.distinct}`;
    const by = rate.by.length > 0 ? ` of the same ${listed(rate.by)}` : '';
    return `${matched}, but there are never ${rate.count} ${what}${by} within ${formatDuration(rate.withinMs)}`;
  }
  if (absence) {
    const followed = namesOf(rule.absence ? matchesOf(rule.absence.step, events) : []);
    return `${matched}; either it is followed (${followed}), or less than ${formatDuration(absence.withinMs)} pass: see \`for\``;
  }
  if (firstSeen)
    return (
      `${matched}, but the value was seen before, or ${listed(firstSeen.for) || 'the whole'} was not yet watched for ` +
      formatDuration(firstSeen.learnMs)
    );
  return `${matched}; its alerts are combined with those of an equal key`;
}

export function bondText(by: 'process' | 'tree' | 'container'): string {
  return by === 'tree' ? 'process tree' : by;
}

function matchesOf({ filter, trackers }: CompiledStep, events: readonly WrittenEvent[]): readonly number[] {
  return events.flatMap(({ event }, i) => (trackers.includes(event.tracker) && filter.matches(event) ? [i] : []));
}

function namesOf(matches: readonly number[]): string {
  const names = matches.slice(0, NAMED).map((i) => `events[${i}]`);
  const more = matches.length - names.length;
  return listed(more > 0 ? [...names, counted(more, 'more')] : names) || 'none';
}

/** The event of which most parts of the condition hold, and those that do not. */
function nearestOf({ filter, trackers }: CompiledStep, events: readonly WrittenEvent[], fields: FilterFields): string {
  let nearest: { readonly text: string; readonly held: number } | null = null;
  for (const [i, { event }] of events.entries()) {
    const { tracker } = event;
    if (!trackers.includes(tracker)) continue;
    const parts = partsOf(optimise(filter.filter, fields, [tracker]));
    const failed = parts.filter((part) => !compileFilter(part, fields, [tracker])(event));
    const held = parts.length - failed.length;
    if (nearest && nearest.held >= held) continue;
    nearest = {
      held,
      text: `of events[${i}] (${tracker}), ${listed(failed.map((part) => `\`${print(part)}\``))} is false`,
    };
  }
  return nearest?.text ?? `none of them is of ${listed(trackers) || 'a tracker whose events it can match'}`;
}

function partsOf(filter: Filter): readonly Filter[] {
  return filter.kind === 'and' ? filter.filters : [filter];
}
