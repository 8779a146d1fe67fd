import { contractSchema } from '../../src/api/graphql/schema.js';
import { Catalog } from '../../src/catalog/catalog.js';
import { loadTrackers } from '../../src/catalog/load.js';
import type { TraceEvent } from '../../src/event/event.js';
import type { Lineage, ProcessAt } from '../../src/event/lineage.js';
import { FilterFields } from '../../src/filter/index.js';
import type { RuleAlert } from '../../src/rules/alert.js';
import { compileRules, type RuleContext, type RuleSet } from '../../src/rules/compile.js';
import { RuleEngine } from '../../src/rules/engine.js';
import { eventWith, type EventFields } from './event.js';

const schema = contractSchema();
const catalog = new Catalog(schema, await loadTrackers(), () => false);
/** What the table of processes has of an event: an object that the event carries as `known`. */
const lineage: Lineage = {
  of: (event) => (Reflect.get(event, 'known') as ProcessAt | undefined) ?? null,
  ready: () => null,
  problem: null,
  sinceNs: 0n,
};
catalog.lineage = lineage;
export const ruleContext: RuleContext = { catalog, fields: new FilterFields(schema, catalog) };

/** The rules of one file of this text. Throws BAD_RULES. */
export function rulesOf(text: string, ...more: readonly string[]): RuleSet {
  const sources = [text, ...more].map((each, i) => ({ name: i ? `rules${i}.yaml` : 'rules.yaml', text: each }));
  return compileRules(sources, ruleContext);
}

/** An engine with what it has raised. */
export function engineOf(set: RuleSet, before: RuleEngine | null = null) {
  const alerts: RuleAlert[] = [];
  const repeats: RuleAlert[] = [];
  const failures: [string, unknown][] = [];
  const engine = new RuleEngine(
    set.rules,
    ruleContext,
    {
      raise: (alert) => alerts.push(alert),
      repeat: (alert) => repeats.push(alert),
      failed: (rule, error) => failures.push([rule, error]),
    },
    before,
  );
  return { engine, alerts, repeats, failures, names: () => alerts.map(({ rule }) => rule) };
}

const START_MS = Date.parse('2026-01-31T08:15:30Z');

/** An event so many milliseconds after the first one. */
export function at(ms: number, tracker: string, fields: EventFields = {}): TraceEvent {
  return eventWith(tracker, {
    bootNs: String(BigInt(30_000 + ms) * 1_000_000n),
    time: new Date(START_MS + ms).toISOString(),
    ...fields,
  });
}

/** A process as the table of processes knows it. */
export function known(pid: number, comm: string, parent: ProcessAt | null = null): ProcessAt {
  return {
    pid,
    startNs: pid * 1000,
    ppid: parent?.pid ?? 1,
    uid: 0,
    gid: 0,
    comm,
    mountNs: '4026531841',
    executable: `/usr/bin/${comm}`,
    executableDeleted: false,
    args: [comm],
    cwd: '/',
    parent,
  };
}
