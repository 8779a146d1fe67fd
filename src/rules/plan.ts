import type { Work } from '../base/turn.js';
import { compileField, type FieldReader } from '../catalog/catalog.js';
import type { TraceEvent } from '../event/event.js';
import type { Lineage } from '../event/lineage.js';
import { optimise, type Filter, type FilterFields } from '../filter/index.js';
import type { CompiledRule, CompiledStep } from './compile.js';

/** A step of a rule that looks for an event. */
export interface Candidate {
  readonly rule: CompiledRule;
  readonly step: CompiledStep;
  /** Place in `rule.steps`; that of an absence is `ABSENT`. */
  readonly index: number;
}
export const ABSENT = -1;

/** What an event must have to match a step: a field with one of these values, or that begins with one of these texts. */
export interface Requirement {
  readonly path: string;
  readonly kind: 'values' | 'prefixes';
  readonly values: readonly (string | number)[];
}

/** The steps that wait for values of one field. */
interface Group {
  readonly read: FieldReader;
  readonly byValue: ReadonlyMap<unknown, readonly Candidate[]>;
  /** By the length of the prefix. */
  readonly byPrefix: readonly (readonly [length: number, steps: ReadonlyMap<string, readonly Candidate[]>])[];
}

interface TrackerPlan {
  readonly groups: readonly Group[];
  /** What each event has to be compared with. */
  readonly rest: readonly Candidate[];
}

const COMPARED_BY_IDENTITY: ReadonlySet<string> = new Set(['string', 'enum', 'errno', 'int', 'uint32', 'address']);
/** Of a text that begins with one of many, a look-up for each length would cost more than it saves. */
const MAX_LENGTHS = 16;

/**
 * Finds the steps that an event can match without comparing it with all of them: by the tracker, and by a field that has to have a certain
 * value or prefix. A hundred rules on different programs cost little more than one.
 */
export class Plan {
  readonly #byTracker: ReadonlyMap<string, TrackerPlan>;
  /** Of each step, by tracker, what an event must have; for those who explain it. */
  readonly requirements: ReadonlyMap<CompiledStep, ReadonlyMap<string, Requirement | null>>;

  private constructor(byTracker: ReadonlyMap<string, TrackerPlan>, requirements: Plan['requirements']) {
    this.#byTracker = byTracker;
    this.requirements = requirements;
  }

  /** A piece is one step of a rule for one tracker. */
  static *of(rules: readonly CompiledRule[], fields: FilterFields): Work<Plan> {
    const candidates = rules.flatMap((rule): Candidate[] => [
      ...rule.steps.map((step, index) => ({ rule, step, index })),
      ...(rule.absence ? [{ rule, step: rule.absence.step, index: ABSENT }] : []),
    ]);
    const byTracker = new Map<string, TrackerPlan>();
    const requirements = new Map<CompiledStep, Map<string, Requirement | null>>();
    for (const tracker of new Set(candidates.flatMap(({ step }) => step.trackers))) {
      const all = new Map<Candidate, readonly Requirement[]>();
      for (const candidate of candidates) {
        const { step } = candidate;
        if (!step.trackers.includes(tracker)) continue;
        all.set(candidate, requirementsOf(optimise(step.filter.filter, fields, [tracker])));
        yield;
      }
      const chosen = chosenOf(all);
      for (const [{ step }, requirement] of chosen) {
        const ofStep = requirements.get(step) ?? new Map<string, Requirement | null>();
        requirements.set(step, ofStep.set(tracker, requirement));
      }
      yield;
      byTracker.set(tracker, yield* planOf(chosen, fields.lineage));
    }
    return new Plan(byTracker, requirements);
  }

  get trackers(): readonly string[] {
    return [...this.#byTracker.keys()];
  }

  /** Calls `visit` with each step that the event can match; each at most once. */
  visit(event: TraceEvent, visit: (candidate: Candidate) => void): void {
    const plan = this.#byTracker.get(event.tracker);
    if (!plan) return;
    for (const { read, byValue, byPrefix } of plan.groups) {
      const value = read(event);
      if (value === null) continue;
      const found = byValue.get(value);
      if (found) for (const candidate of found) visit(candidate);
      if (byPrefix.length === 0 || typeof value !== 'string') continue;
      let seen: Set<Candidate> | null = null;
      for (const [length, steps] of byPrefix) {
        if (length > value.length) break;
        const some = steps.get(value.slice(0, length));
        for (const candidate of some ?? []) {
          // Of two prefixes of one step, one may be a prefix of the other.
          if (seen?.has(candidate)) continue;
          (seen ??= new Set()).add(candidate);
          visit(candidate);
        }
      }
    }
    for (const candidate of plan.rest) visit(candidate);
  }
}

/** For each step, of what it requires the field that most others require too: its value is read once for all. */
function chosenOf(all: ReadonlyMap<Candidate, readonly Requirement[]>): ReadonlyMap<Candidate, Requirement | null> {
  const uses = new Map<string, number>();
  for (const [, requirements] of all)
    for (const path of new Set(requirements.map(({ path }) => path))) uses.set(path, (uses.get(path) ?? 0) + 1);
  const better = (a: Requirement, b: Requirement): number =>
    (uses.get(b.path) ?? 0) - (uses.get(a.path) ?? 0) ||
    Number(a.kind === 'prefixes') - Number(b.kind === 'prefixes') ||
    a.values.length - b.values.length;
  return new Map([...all].map(([candidate, requirements]) => [candidate, [...requirements].sort(better)[0] ?? null]));
}

function* planOf(chosen: ReadonlyMap<Candidate, Requirement | null>, lineage: Lineage | null): Work<TrackerPlan> {
  const paths = new Set([...chosen.values()].flatMap((requirement) => requirement?.path ?? []));
  const groups: Group[] = [];
  for (const path of paths) {
    const byValue = new Map<unknown, Candidate[]>();
    const byPrefix = new Map<number, Map<string, Candidate[]>>();
    for (const [candidate, requirement] of chosen) {
      if (requirement?.path !== path) continue;
      yield;
      for (const value of requirement.values) {
        if (requirement.kind === 'values') append(byValue, value, candidate);
        else {
          const text = String(value);
          const ofLength = byPrefix.get(text.length) ?? new Map<string, Candidate[]>();
          byPrefix.set(text.length, ofLength);
          append(ofLength, text, candidate);
        }
      }
    }
    groups.push({ read: compileField(path, lineage), byValue, byPrefix: [...byPrefix].sort(([a], [b]) => a - b) });
  }
  return { groups, rest: [...chosen].flatMap(([candidate, requirement]) => (requirement ? [] : [candidate])) };
}

function append<Key>(map: Map<Key, Candidate[]>, key: Key, candidate: Candidate): void {
  const before = map.get(key);
  if (before) before.push(candidate);
  else map.set(key, [candidate]);
}

/** All that an event must have for a filter to match, as far as a look-up can find it. Pure. */
export function requirementsOf(filter: Filter): readonly Requirement[] {
  if (filter.kind === 'and') return filter.filters.flatMap(requirementsOf);
  if (filter.kind === 'or') {
    const parts = filter.filters.map(requirementsOf);
    return (parts[0] ?? []).flatMap((first) => {
      const same = parts.map((part) => part.find(({ path, kind }) => path === first.path && kind === first.kind));
      const values = same.flatMap((one) => one?.values ?? []);
      return same.includes(undefined) ? [] : usable({ ...first, values: [...new Set(values)] });
    });
  }
  if (filter.kind !== 'comparison' || !COMPARED_BY_IDENTITY.has(filter.type)) return [];
  if (filter.path === 'tracker') return [];
  const values = (Array.isArray(filter.value) ? filter.value : [filter.value]) as readonly (string | number)[];
  if (filter.op === 'eq' || filter.op === 'in') return usable({ path: filter.path, kind: 'values', values });
  return filter.op === 'prefix' ? usable({ path: filter.path, kind: 'prefixes', values }) : [];
}

function usable(requirement: Requirement): readonly Requirement[] {
  if (requirement.kind === 'values') return [requirement];
  const texts = requirement.values.map(String);
  // One that begins as another does adds nothing. Sorted, it follows that one, or others that begin so.
  const shortest: string[] = [];
  for (const text of texts.sort()) {
    const last = shortest.at(-1);
    if (last === undefined || !text.startsWith(last)) shortest.push(text);
  }
  if (new Set(shortest.map(({ length }) => length)).size > MAX_LENGTHS || shortest.includes('')) return [];
  return [{ ...requirement, values: shortest }];
}
