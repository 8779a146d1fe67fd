import type { Demand } from '../../event/event.js';
import { KernelFilter } from '../../filter/index.js';
import type { CompiledRule, OptionsOfTracker, RuleContext, Variant } from '../../rules/compile.js';
import type { Work } from '../../base/turn.js';

/**
 * A tracker with the options that some rules need of it. Rules that need others of the same tracker have them in a session beside: what a
 * rule gets does not depend on which other rules there are.
 */
export interface RulePart {
  readonly tracker: string;
  readonly variant: Variant;
  readonly options: OptionsOfTracker;
}

export function isSamePart(a: RulePart, b: RulePart): boolean {
  return a.tracker === b.tracker && a.variant === b.variant;
}

/** What rules need of these trackers. */
export function partsOf(rules: readonly CompiledRule[], trackers: readonly string[]): readonly RulePart[] {
  const parts = new Map<string, RulePart>();
  for (const { options: all, variants } of rules)
    for (const [tracker, options] of all) {
      const variant = variants.get(tracker) ?? null;
      if (trackers.includes(tracker)) parts.set(`${tracker} ${variant ?? ''}`, { tracker, variant, options });
    }
  return [...parts.values()];
}

/** Which of them one session has together: programs that aggregate keep their filter for as long as they run, and have none. */
export function inSessions(
  parts: readonly RulePart[],
  { catalog }: Pick<RuleContext, 'catalog'>,
): readonly (readonly RulePart[])[] {
  const usual = parts.filter(({ variant }) => variant === null);
  const aggregates = ({ tracker }: RulePart): boolean => catalog.need(tracker).kernelAggregate !== null;
  const others = parts.filter(({ variant }) => variant !== null);
  return [usual.filter((part) => !aggregates(part)), usual.filter(aggregates), ...others.map((part) => [part])].filter(
    (some) => some.length > 0,
  );
}

/** What rules read of the events of these parts. */
export function demandOf(rules: readonly CompiledRule[], parts: readonly RulePart[]): Demand {
  const demand = new Map<string, Set<string>>();
  for (const rule of rules)
    for (const [tracker, read] of rule.demand)
      if (isOf(rule, tracker, parts)) demand.set(tracker, new Set([...(demand.get(tracker) ?? []), ...read]));
  return demand;
}

/** What rules look for in events of these parts, as far as the kernel can tell. */
export function filterOf(
  rules: readonly CompiledRule[],
  parts: readonly RulePart[],
  { catalog, fields }: RuleContext,
): Work<KernelFilter> {
  const steps = rules.flatMap((rule) =>
    [...rule.steps, ...(rule.absence ? [rule.absence.step] : [])].map(({ filter: { filter }, trackers }) => ({
      filter,
      trackers: trackers.filter((tracker) => isOf(rule, tracker, parts)),
    })),
  );
  // The engine finds the rules that an event can match; comparing it with all of them before would cost more than that.
  return KernelFilter.of(
    steps,
    parts.map(({ tracker }) => catalog.need(tracker)),
    fields,
  );
}

function isOf({ variants }: CompiledRule, tracker: string, parts: readonly RulePart[]): boolean {
  const variant = variants.get(tracker);
  return parts.some((part) => part.tracker === tracker && part.variant === variant);
}
